"""A short table: what is promised, the aim, the figure, whether it is met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `met` is None for what is told but not promised."""

    promise: str
    aim: str
    figure: str
    met: bool | None = None


def at_most(
    promise: str, value: float, limit: float, unit: str, shown: str | None = None
) -> Figure:
    """A promise that a value stays at or below its limit."""
    aim = f"<= {limit:,g}{unit}"
    return Figure(promise, aim, shown or f"{value:.3g}{unit}", value <= limit)


def told(name: str, figure: str) -> Figure:
    """A figure without an aim."""
    return Figure(name, "", figure)


def spread(values: Sequence[float], unit: str) -> str:
    """Median, least and most of several repetitions."""
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}){unit}"


def print_table(title: str, figures: Sequence[Figure]) -> None:
    """Print the lines under each other."""
    verdict = {True: "yes", False: "NO", None: ""}
    rows = [("promise", "aim", "figure", "met?")]
    rows += [(f.promise, f.aim, f.figure, verdict[f.met]) for f in figures]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    print(f"\n{title}")
    for row in rows:
        print(
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        )
