"""A run that is asked to stop: it finishes the change it is at, and begins nothing more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models import ChangeState, RunState
from tests.databases import sqlite_only
from tests.faults.harness import Installation, check_requests
from tests.faults.test_crash import WRITES

WHY = "Tallybridge was stopped."


def stop_after(one: Installation, count: int) -> Callable[[], str | None]:
    """Asks to stop as soon as so many writes have reached ConnectWise."""
    one.sandbox.log.clear()
    return lambda: WHY if len(one.sandbox.log.writes()) >= count else None


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("k", range(WRITES + 1))
def test_stopped_after_every_write(changed: Installation, k: int, workers: int) -> None:
    told = changed.run(why_stop=stop_after(changed, k), workers=workers)
    wrote = len(changed.sandbox.log.writes())
    assert k <= wrote < k + workers
    changed.oracle.check_safe(changed.state())
    changed.check_words(told)
    ended = told.state is RunState.INTERRUPTED
    assert ended == (wrote < WRITES)
    assert not {c.state for c in told.changes} & {ChangeState.PLANNED, ChangeState.APPLYING}
    if ended:
        assert told.message is not None
        assert told.message.startswith(WHY)

    again = changed.finish_moves(changed.run())
    assert again.state is RunState.SUCCEEDED
    changed.oracle.check_final(changed.state())
    check_requests(changed.sandbox.log.writes())
    assert changed.wrote(changed.run) == []


def test_stopped_while_it_reads(changed: Installation) -> None:
    asked: list[int] = []

    def third_time() -> str | None:
        asked.append(1)
        return WHY if len(asked) >= 3 else None

    told = changed.run(why_stop=third_time)
    assert (told.state, told.changes) == (RunState.INTERRUPTED, ())
    assert changed.sandbox.log.writes() == []
    assert changed.run().state is RunState.SUCCEEDED


def test_an_approval_can_be_stopped_too(new: Installation) -> None:
    first = new.run()
    held = first.held()
    new.sandbox.log.clear()
    with new.using(why_stop=lambda: WHY) as context:
        from services.runs import sync_runs

        sync_runs.approve(context, first.id, None)
    told = new.told(first.id)
    assert new.sandbox.log.writes() == []
    assert told.state is RunState.INTERRUPTED
    stopped = [c for c in told.changes if c.id in {row.id for row in held}]
    assert {c.state for c in stopped} == {ChangeState.SKIPPED}
    assert all(WHY in (c.error or "") for c in stopped)
    assert new.run(approve_all=True).state is RunState.SUCCEEDED


@sqlite_only
def test_a_run_whose_lock_is_lost_stops(changed: Installation) -> None:
    """With SQLite it is a file, which somebody may delete; another run could then begin."""
    lock = changed.folder / "tallybridge.db.sync.lock"

    def lose_it(what: str, done: int, _total: int) -> None:
        if what.startswith("Writing") and done == 2:
            lock.unlink()

    told = changed.run(progress=lose_it)
    assert told.state is RunState.INTERRUPTED
    assert "lock" in (told.message or "")
    changed.oracle.check_safe(changed.state())
    changed.finish_moves(changed.run())
    changed.oracle.check_final(changed.state())
