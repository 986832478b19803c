"""The promise about our own work for a change: little beside what ConnectWise lets through."""

from __future__ import annotations

from statistics import median

from bench.children import measure
from bench.table import Figure, at_most, spread, told
from bench.vendors import CALLS_PER_MINUTE

REPETITIONS = 3
SHARE_OF_LIMIT = 0.1
TRANSACTIONS = 2.01
"""The intent and the outcome; beside them a run reads its rows once."""
_LIMIT_SECONDS = 60.0


def figures() -> list[Figure]:
    """Apply a plan to a ConnectWise that answers at once."""
    runs = [measure("bench.journalled", seconds=_LIMIT_SECONDS) for _ in range(REPETITIONS)]
    changes = runs[0]["changes"]
    apply_ms = [run["apply_cpu"] / changes * 1000 for run in runs]
    store_ms = [run["store_cpu"] / changes * 1000 for run in runs]
    transactions = runs[0]["transactions"] / changes
    share = median(apply_ms) / (60_000 / CALLS_PER_MINUTE)
    pace = median(changes / run["apply_wall"] for run in runs)
    return [
        at_most("database transactions for a change", transactions, TRANSACTIONS, ""),
        at_most("CPU for a change / time that the limit gives it", share, SHARE_OF_LIMIT, ""),
        told("CPU to journal a change", spread(apply_ms, " ms")),
        told("CPU to plan and store it beforehand", spread(store_ms, " ms")),
        told(
            "changes journalled a second", f"{pace:,.0f} (the limit: {CALLS_PER_MINUTE / 60:.0f})"
        ),
    ]
