"""Two at once: one works, the other says so and leaves everything alone."""

from __future__ import annotations

import json
import threading
import time

import pytest
import sqlalchemy as sa

import models
from models import RunState
from services.runs import sync_runs
from tests.faults.harness import NOW, Installation
from tests.faults.test_crash import start_cli


@pytest.mark.slow
def test_two_command_lines_at_once(changed: Installation) -> None:
    changed.sandbox.latency_ms = 60  # so that they certainly meet
    both = [start_cli(changed, "sync", "run", "--json") for _ in range(2)]
    try:
        told = [process.communicate(timeout=60) for process in both]
    finally:
        for process in both:
            process.kill()
    changed.sandbox.latency_ms = 0
    codes = sorted(process.returncode for process in both)
    assert codes == [0, 1], told
    winner = next(t for p, t in zip(both, told, strict=True) if p.returncode == 0)
    loser = next(t for p, t in zip(both, told, strict=True) if p.returncode == 1)
    assert json.loads(winner[0])["state"] == "succeeded"
    assert "running already" in json.loads(loser[0])["error"]
    assert "Traceback" not in loser[1] + winner[1]
    changed.oracle.check_final(changed.state())
    assert changed.wrote(changed.run) == []


def test_the_second_in_one_process_is_refused(changed: Installation) -> None:
    """Threads of one process exclude each other like processes do."""
    changed.fault("slow", "connectwise", path=r"/additions\?", seconds=0.25)
    first = threading.Thread(target=changed.run)
    first.start()
    try:
        end = time.monotonic() + 10
        while changed.sandbox.faults.pending() and time.monotonic() < end:
            time.sleep(0.005)
        with pytest.raises(sync_runs.RunRefusedError, match="running already"):
            changed.run()
        with pytest.raises(sync_runs.RunRefusedError, match="running already"):
            changed.undo(1)
        with pytest.raises(sync_runs.RunRefusedError, match="running already"):
            changed.approve(1)
    finally:
        first.join()
    changed.oracle.check_final(changed.state())


def test_a_row_of_a_dead_process_does_not_block(changed: Installation) -> None:
    with sa.orm.Session(changed.engine) as session, session.begin():
        session.add(
            models.SyncRun(trigger="test", actor="someone", state=RunState.RUNNING, started_at=NOW)
        )
    told = changed.run()
    assert told.state is RunState.SUCCEEDED
    assert any("was interrupted" in note for note in told.notes)
    changed.oracle.check_final(changed.state())


def test_many_threads_make_one_run_at_a_time(changed: Installation) -> None:
    outcomes: list[str] = []

    def attempt() -> None:
        try:
            changed.run(workers=2)
            outcomes.append("ran")
        except sync_runs.RunRefusedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 6
    assert "ran" in outcomes
    changed.oracle.check_final(changed.state())
