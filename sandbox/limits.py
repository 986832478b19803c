"""Rate limits as sliding windows."""

from __future__ import annotations

import math
import threading
import time
from collections import deque


class SlidingWindow:
    """Lets a number of requests through in any stretch of so many seconds."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds
        self._times: deque[float] = deque()

    def wait_needed(self, now: float) -> float:
        """Seconds until one more request fits; 0 when it fits now."""
        while self._times and self._times[0] <= now - self.seconds:
            self._times.popleft()
        if len(self._times) < self.requests:
            return 0.0
        return self._times[0] + self.seconds - now

    def count(self, now: float) -> None:
        """One request went through."""
        self._times.append(now)


class Limiter:
    """Several windows at once; a refused request does not count."""

    def __init__(self, windows: tuple[tuple[int, float], ...]) -> None:
        self._windows = [SlidingWindow(requests, seconds) for requests, seconds in windows]
        self._lock = threading.Lock()

    def refuse_for(self) -> int:
        """0 when the request may pass, else the whole seconds to wait."""
        with self._lock:
            now = time.monotonic()
            wait = max((window.wait_needed(now) for window in self._windows), default=0.0)
            if wait > 0:
                return max(1, math.ceil(wait))
            for window in self._windows:
                window.count(now)
            return 0
