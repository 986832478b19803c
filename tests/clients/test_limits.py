from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.clients.limits import RateLimiter
from tests.clients.doubles import Clock


def limiter(clock: Clock, *windows: tuple[int, float]) -> RateLimiter:
    return RateLimiter(windows, monotonic=clock.monotonic, sleep=clock.sleep)


def test_a_small_run_never_waits(clock: Clock) -> None:
    limit = limiter(clock, (1000, 60.0))
    for _ in range(1000):
        limit.acquire()
    assert clock.slept == []
    limit.acquire()
    assert clock.slept == [60.0]


@given(
    gaps=st.lists(st.floats(0, 3, allow_subnormal=False), max_size=80),
    windows=st.lists(
        st.tuples(st.integers(1, 12), st.floats(0.5, 20)), min_size=1, max_size=3, unique=True
    ),
)
def test_no_window_ever_holds_more_than_its_limit(
    gaps: list[float], windows: list[tuple[int, float]]
) -> None:
    clock = Clock()
    limit = limiter(clock, *windows)
    sent = []
    for gap in gaps:
        clock.now += gap
        limit.acquire()
        sent.append(clock.now)
    for most, period in windows:
        for first, beyond in zip(sent, sent[most:], strict=False):
            assert beyond - first >= period - 1e-6


def test_a_pause_holds_everyone_back(clock: Clock) -> None:
    limit = limiter(clock, (10, 1.0))
    limit.pause(30)
    limit.pause(5)
    limit.acquire()
    assert clock.slept == [30.0]
    limit.acquire()
    assert clock.slept == [30.0]


def test_a_pause_that_comes_while_waiting_is_kept_too(clock: Clock) -> None:
    pauses = [30.0]

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if pauses:
            limit.pause(pauses.pop())

    limit = RateLimiter(((1, 10.0),), monotonic=clock.monotonic, sleep=sleep)
    limit.acquire()
    limit.acquire()
    assert clock.slept == [10.0, 30.0]


def test_a_sleep_that_does_nothing_does_not_spin() -> None:
    naps: list[float] = []
    limit = RateLimiter(((1, 60.0),), sleep=naps.append)
    limit.pause(30)
    for _ in range(3):
        limit.acquire()
    assert len(naps) == 3


def test_threads_share_one_limit() -> None:
    clock = Clock()
    lock = threading.Lock()
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(seconds)

    limit = RateLimiter(((10, 1.0),), monotonic=clock.monotonic, sleep=sleep)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(40):
            pool.submit(limit.acquire)
    assert sorted(waits) == [1.0] * 10 + [2.0] * 10 + [3.0] * 10


@pytest.mark.parametrize("windows", [(), ((0, 1.0),), ((1, 0.0),)])
def test_senseless_windows_are_refused(windows: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ValueError, match="window"):
        RateLimiter(windows)
