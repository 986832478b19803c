"""Measure what is promised: python -m bench [plan | journal | pages | run]."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from bench import journal, pages, plan, run
from bench.children import BenchError
from bench.machine import facts
from bench.table import Figure, print_table

Part = Callable[[], Iterable[tuple[str, list[Figure]]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each part. Exit code 1 when a promise was not kept."""
    chosen = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends with us
    parts: dict[str, Part] = {
        "plan": _plan,
        "journal": _journal,
        "pages": pages.figures,
        "run": lambda: run.figures(customers=chosen.customers, latency=chosen.latency),
    }
    print(facts(), flush=True)
    kept = True
    try:
        for name in [chosen.part] if chosen.part else parts:
            for title, figures in parts[name]():
                print_table(title, figures)
                kept = kept and all(figure.met is not False for figure in figures)
    except BenchError as error:
        print(f"Not measured: {error}", file=sys.stderr)
        return 1
    return 0 if kept else 1


def _plan() -> Iterator[tuple[str, list[Figure]]]:
    yield f"Planning ({plan.REPETITIONS} processes, median and range)", plan.figures()


def _journal() -> Iterator[tuple[str, list[Figure]]]:
    yield f"Our own work for a change ({journal.REPETITIONS} processes)", journal.figures()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "part", nargs="?", choices=("plan", "journal", "pages", "run"), help="default: all"
    )
    parser.add_argument("--customers", type=_positive, default=run.CUSTOMERS, metavar="N")
    parser.add_argument("--latency", type=float, default=run.LATENCY, metavar="MS")
    return parser


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of customers")
    return number


if __name__ == "__main__":
    sys.exit(main())
