"""Keeping below the vendors' request limits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

_log = logging.getLogger("tallybridge.vendor")
_WORTH_A_LOG_LINE = 5.0


class RateLimiter:
    """Lets requests through so that no sliding window holds more than its limit.

    `windows` are pairs of (requests, seconds), all kept at the same time. A caller that must wait
    gets its place at once and sleeps until then, so threads are served in the order they came.
    Safe for use by several threads.
    """

    def __init__(
        self,
        windows: Sequence[tuple[int, float]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not windows or any(limit < 1 or period <= 0 for limit, period in windows):
            raise ValueError("each window needs at least one request and a positive time")
        self._windows = tuple(windows)
        self._monotonic = monotonic
        self._sleep = sleep
        self._lock = threading.Lock()
        self._slots: deque[float] = deque(maxlen=max(limit for limit, _ in windows))
        self._paused_until = float("-inf")

    def acquire(self) -> None:
        """Return when one more request may go out."""
        while True:
            with self._lock:
                now = self._monotonic()
                slot = self._next_slot(now)
                self._slots.append(slot)
            self._wait(slot - now)
            with self._lock:
                if self._paused_until <= slot:
                    return
            # Someone was told to wait while we slept: take a new place after the pause.

    def pause(self, seconds: float) -> None:
        """Let nothing through for `seconds`: the vendor said so (`Retry-After`)."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._monotonic() + seconds)

    def _next_slot(self, now: float) -> float:
        slot = max(now, self._paused_until)
        for limit, period in self._windows:
            if len(self._slots) >= limit:
                slot = max(slot, self._slots[-limit] + period)
        return slot

    def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        if seconds >= _WORTH_A_LOG_LINE:
            _log.info("waiting %.1f s to keep below a request limit", seconds)
        self._sleep(seconds)
