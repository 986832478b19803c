"""The child that does one `sync run` and prints what it took: python -m bench.synced MONTH.

It is put together as the command line does it, with a stop-watch where the progress bar would be.
The day is the sandbox's day, so that the same month means the same work whenever it is repeated.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from app import create_app
from bench.machine import cpu_seconds, peak_megabytes
from cli.support import sync_context
from services.context import SyncContext
from services.runs import sync_runs
from services.runs.documents import load_run, run_document
from services.sync.model import Month


@dataclass(slots=True)
class StopWatch:
    """When each stage of a run told of itself first and last, in seconds since the start."""

    start: float = field(default_factory=time.monotonic)
    stages: dict[str, list[float]] = field(default_factory=dict)

    def __call__(self, what: str, done: int, total: int) -> None:  # noqa: ARG002
        """Note the moment; called as a `Progress`."""
        seconds = self.seconds
        self.stages.setdefault(what, [seconds, seconds])[1] = seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start


def main(month: Month, today: dt.date, *, approve_all: bool) -> None:
    """Run, and print the run's document with the figures."""
    with create_app().app_context():
        cpu, watch = cpu_seconds(), StopWatch()
        context = replace(sync_context("benchmark", quiet=True), now=_clock(today), progress=watch)
        result = sync_runs.run(context, month, approve_all=approve_all)
        found = {
            "wall": watch.seconds,
            "cpu": cpu_seconds() - cpu,
            "peak_mb": peak_megabytes(),
            "stages": watch.stages,
            "run": _document(context, result.run_id),
        }
    print(json.dumps(found))


def _clock(today: dt.date) -> Callable[[], dt.datetime]:
    shift = dt.timedelta(days=(today - dt.datetime.now(dt.UTC).date()).days)
    return lambda: dt.datetime.now(dt.UTC) + shift


def _document(context: SyncContext, run_id: int) -> dict[str, Any]:
    with context.session() as session:
        return run_document(load_run(session, run_id))


if __name__ == "__main__":
    main(
        Month.parse(sys.argv[1]),
        dt.date.fromisoformat(sys.argv[2]),
        approve_all=sys.argv[3] == "all",
    )
