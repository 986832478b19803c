"""The promise about whole runs: no call that is not needed, within ConnectWise's rate limit."""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.children import measure, run_child
from bench.floor import Floor, floor_of
from bench.table import Figure, at_most, told
from bench.vendors import CALLS_PER_MINUTE, TODAY, Vendors, vendors

CALLS_OVER_FLOOR = 1.05
CUSTOMERS = 500
LATENCY = 50.0
_WINDOW = 60.5
_WORKERS = 4
SYNCED = 51 / 60
"""Of sixty simulated customers, so many are mapped with their sync on."""
_RUNS = (
    ("First month, everything is made or adopted", "2026-10", "all"),
    ("Next month, some quantities moved", "2026-11", "none"),
    ("The same month once more, nothing to write", "2026-11", "none"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: what its process measured, what the vendors saw, what would have been enough."""

    child: dict[str, Any]
    log: list[dict[str, Any]]
    floor: Floor

    @property
    def calls(self) -> int:
        return sum(entry["vendor"] == "connectwise" for entry in self.log)

    @property
    def sophos_calls(self) -> int:
        return len(self.log) - self.calls

    @property
    def writes(self) -> int:
        return sum(
            entry["vendor"] == "connectwise" and entry["method"] != "GET" for entry in self.log
        )

    @property
    def too_many(self) -> int:
        return sum(entry["status"] == 429 for entry in self.log)

    @property
    def limit_seconds(self) -> float:
        """The least time in which the rate limit lets so many calls through."""
        return (self.calls - 1) // CALLS_PER_MINUTE * _WINDOW

    @property
    def steady_seconds(self) -> float:
        """The time of so many calls at an even pace."""
        return self.calls / CALLS_PER_MINUTE * 60


def figures(
    *, customers: int = CUSTOMERS, latency: float = LATENCY
) -> Iterator[tuple[str, list[Figure]]]:
    """Three runs one after the other, each with its figures as soon as they are known."""
    with tempfile.TemporaryDirectory(prefix="tallybridge-bench-") as name:
        bench = _Bench(Path(name), customers, latency)
        bench.take_over_mappings()
        with bench.vendors(latency) as found:
            for title, month, approve in _RUNS:
                bench.people_work(found, month)
                measured = bench.run(found, month, approve)
                yield f"{title} ({bench.customers}, {latency:g} ms latency)", _figures(measured)


class _Bench:
    """A Tallybridge of its own in an empty folder."""

    def __init__(self, folder: Path, customers: int, latency: float) -> None:
        self.folder = folder
        self.tenants = math.ceil(customers / SYNCED)
        # Twice what the limit and the latency demand of six calls a customer.
        calls = 6 * self.tenants + 200
        seconds = calls * (60 / CALLS_PER_MINUTE + latency / 1000 / _WORKERS)
        self.limit = 2 * (seconds + 2 * _WINDOW)
        self.customers = ""
        self.mapped: set[int] = set()
        self.refused: list[dict[str, Any]] = []
        self._quiet_from = 0.0

    def vendors(self, latency: float) -> Any:
        return vendors(self.folder, tenants=self.tenants, latency=latency, lifetime=4 * self.limit)

    def take_over_mappings(self) -> None:
        """Against vendors of their own, so that its calls are not within the minute of a run."""
        with self.vendors(0) as found:
            run_child(
                *("flask", "--app", "app", "config", "import", str(found.mappings)),
                seconds=self.limit,
                environment=self._environment(found),
            )
            customers = yaml.safe_load(found.mappings.read_text(encoding="utf-8"))["tenants"]
        on = [customer for customer in customers if customer["sync"]]
        self.customers = f"{len(on)} customers"
        self.mapped = {customer["agreement"] for customer in on}

    def people_work(self, found: Vendors, month: str) -> None:
        """The report appears, and what ConnectWise refused us before is entered by hand.

        Some simulated additions are too old for any change through the API, as real ones are.
        """
        found.edit(action="month_ready", month=month)
        for change in self.refused:
            found.edit(action="addition", id=change["addition_id"], quantity=change["after"])

    def run(self, found: Vendors, month: str, approve: str) -> Measured:
        """One run, when ConnectWise has been left alone for a minute as before a monthly run."""
        time.sleep(max(0.0, self._quiet_from - time.monotonic()))
        before = found.state("agreements", "catalog")
        found.clear_log()
        child = measure(
            *("bench.synced", month, str(TODAY), approve),
            seconds=self.limit,
            environment=self._environment(found),
        )
        floor = floor_of(child["run"], self.mapped, before)
        measured = Measured(child, found.log(), floor)
        self.refused = [c for c in child["run"]["changes"] if c["state"] == "failed"]
        # No later run makes more calls than the first: a few fit into the same minute.
        if 2 * measured.calls > CALLS_PER_MINUTE:
            self._quiet_from = time.monotonic() + _WINDOW
        return measured

    def _environment(self, found: Vendors) -> dict[str, str]:
        return {**found.environment, "TALLYBRIDGE_DATA_DIR": str(self.folder / "data")}


# --- what is shown ------------------------------------------------------------------------------


def _figures(measured: Measured) -> list[Figure]:
    child, calls = measured.child, measured.calls
    ratio = calls / measured.floor.calls
    wall = child["wall"]
    return [
        at_most(
            "ConnectWise calls / floor", ratio, CALLS_OVER_FLOOR, "", f"{calls:,} = {ratio:.3f}"
        ),
        at_most(
            "writes to ConnectWise",
            measured.writes,
            measured.floor.changes,
            "",
            f"{measured.writes:,}",
        ),
        at_most("answers 429 (both vendors)", measured.too_many, 0, ""),
        told("floor", str(measured.floor)),
        *_changes(child["run"]),
        told("wall time", f"{wall:.1f} s"),
        told(
            "of it the rate limit alone",
            f"{measured.limit_seconds:.1f} s in bursts ({measured.steady_seconds:.1f} s evenly)",
        ),
        told("of it beyond the rate limit", f"{wall - measured.limit_seconds:.1f} s"),
        *_stages(child),
        told("CPU, peak memory", f"{child['cpu']:.1f} s, {child['peak_mb']:.0f} MB"),
        told("Sophos calls", str(measured.sophos_calls)),
    ]


def _changes(run: dict[str, Any]) -> list[Figure]:
    counted = Counter((change["kind"], change["state"]) for change in run["changes"])
    return [
        told(f"changes: {kind}, {state}", f"{number:,}")
        for (kind, state), number in sorted(counted.items())
    ]


def _stages(child: dict[str, Any]) -> list[Figure]:
    """How long each stage took until the next one began."""
    begun = [(first, what) for what, (first, _) in child["stages"].items()]
    ends = [first for first, _ in begun[1:]] + [child["wall"]]
    return [
        told(f"stage: {what}", f"{end - first:.1f} s")
        for (first, what), end in zip(begun, ends, strict=True)
    ]
