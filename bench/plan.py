"""The promise about planning: 2,000 customers with 20 products each."""

from __future__ import annotations

from statistics import median
from typing import Any

from bench.children import measure
from bench.table import Figure, at_most, spread, told

REPETITIONS = 7
CPU_SECONDS = 2.0
PEAK_MEGABYTES = 300.0
YARDSTICKS = 40.0
"""A ratio travels between machines: where planning takes 2 s by it, it is about this one."""
_LIMIT_SECONDS = 60.0


def figures() -> list[Figure]:
    """Plan several times, each in a process of its own."""
    runs = [measure("bench.planning", seconds=_LIMIT_SECONDS) for _ in range(REPETITIONS)]
    one = runs[0]
    cpu = [run["cpu"] for run in runs]
    peak = [run["peak_mb"] for run in runs]
    ratios = [run["cpu"] / run["yardstick_cpu"] for run in runs]
    size = f"{one['desired']:,} desired, {one['actual']:,} actual additions"
    return [
        at_most(f"CPU to plan {size}", median(cpu), CPU_SECONDS, " s", spread(cpu, " s")),
        at_most("peak memory of that process", median(peak), PEAK_MEGABYTES, " MB", _whole(peak)),
        at_most(
            "CPU of planning / of the yardstick", median(ratios), YARDSTICKS, "", spread(ratios, "")
        ),
        told("of it desired, plan, guard", _parts(runs)),
        told("changes made, additions already right", f"{one['changes']:,}, {one['right']:,}"),
        told("peak memory before planning", _whole([run["situation_mb"] for run in runs])),
    ]


def _whole(values: list[float]) -> str:
    return f"{median(values):.0f} ({min(values):.0f} to {max(values):.0f}) MB"


def _parts(runs: list[dict[str, Any]]) -> str:
    names = ("desired", "plan", "guard")
    return ", ".join(f"{median(run['parts'][name] for run in runs):.2f}" for name in names) + " s"
