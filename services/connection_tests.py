"""Tests of a connection that run beside the page: each line shows as soon as it is there."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.connections import Check


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """A test as it stands: its lines so far, and whether there will be more."""

    vendor: str
    started_at: dt.datetime
    lines: tuple[Check, ...]
    running: bool
    broken: bool

    @property
    def ok(self) -> bool:
        """Whether it is over and nothing was wrong."""
        return not (self.running or self.broken) and all(line.ok for line in self.lines)

    @property
    def failed(self) -> int:
        """How many rights are missing."""
        return sum(1 for line in self.lines if not line.ok)


class ConnectionTests:
    """The last test of each vendor since the start of this process. Safe for several threads."""

    def __init__(self) -> None:
        self._tests: dict[str, ConnectionTest] = {}
        self._lock = threading.Lock()

    def find(self, vendor: str) -> ConnectionTest | None:
        """The last test, or the one that is running."""
        with self._lock:
            return self._tests.get(vendor)

    def found(self) -> dict[str, ConnectionTest]:
        """The last test of each vendor that had one."""
        with self._lock:
            return dict(self._tests)

    def begin(
        self, vendor: str, checks: Callable[[], Iterable[Check]], *, now: dt.datetime
    ) -> None:
        """Start a test in the background; one that is running already goes on instead."""
        with self._lock:
            last = self._tests.get(vendor)
            if last is not None and last.running:
                return
            self._tests[vendor] = ConnectionTest(vendor, now, (), running=True, broken=False)
        threading.Thread(
            target=self._run, args=(vendor, checks), name=f"test {vendor}", daemon=True
        ).start()

    def forget(self, vendor: str) -> None:
        """Drop a result that says nothing any more, because what it tested was changed."""
        with self._lock:
            last = self._tests.get(vendor)
            if last is not None and not last.running:
                del self._tests[vendor]

    def _run(self, vendor: str, checks: Callable[[], Iterable[Check]]) -> None:
        broken = True
        try:
            for line in checks():
                self._add(vendor, line)
            broken = False
        finally:
            self._end(vendor, broken=broken)

    def _add(self, vendor: str, line: Check) -> None:
        with self._lock:
            now = self._tests[vendor]
            self._tests[vendor] = ConnectionTest(
                vendor, now.started_at, (*now.lines, line), running=True, broken=False
            )

    def _end(self, vendor: str, *, broken: bool) -> None:
        with self._lock:
            now = self._tests[vendor]
            self._tests[vendor] = ConnectionTest(
                vendor, now.started_at, now.lines, running=False, broken=broken
            )
