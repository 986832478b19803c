"""Death at every point of a run, and the run after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import models
from models import ChangeState, RunState
from services.clients.connectwise import ConnectWiseClient
from services.journal import Journal
from tests.databases import url_of
from tests.faults.harness import Installation, check_requests

ROOT = Path(__file__).resolve().parents[2]
WRITES = 13
"""How many a run of the changed world sends."""


class Death(BaseException):
    """The process is gone: nothing of ours catches this."""


def _die_at(monkeypatch: pytest.MonkeyPatch, place: str, k: int) -> Callable[[], int]:
    """Raise Death at the k-th write, `before` its call or `after` its effect."""
    seen = 0

    def counted() -> bool:
        nonlocal seen
        seen += 1
        return seen >= k  # whoever comes later is dead as well

    if place == "before":
        intend = Journal.intend

        def intend_and_die(self: Journal, *args: Any) -> None:
            intend(self, *args)
            if counted():
                raise Death

        monkeypatch.setattr(Journal, "intend", intend_and_die)
    else:
        for name in ("create_addition", "update_addition", "create_catalog_item"):
            _die_after(monkeypatch, name, counted)
    return lambda: seen


def _die_after(monkeypatch: pytest.MonkeyPatch, name: str, counted: Callable[[], bool]) -> None:
    call = getattr(ConnectWiseClient, name)

    def call_and_die(self: ConnectWiseClient, *args: Any, **kwargs: Any) -> Any:
        made = call(self, *args, **kwargs)
        if counted():
            raise Death
        return made

    monkeypatch.setattr(ConnectWiseClient, name, call_and_die)


def _as_if_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed does not record how its run ended."""
    monkeypatch.setattr("services.runs.sync_runs._finish", lambda *_args, **_kwargs: None)


def _run_until_death(
    one: Installation, monkeypatch: pytest.MonkeyPatch, place: str, k: int, *, workers: int = 1
) -> bool:
    with monkeypatch.context() as patch:
        _die_at(patch, place, k)
        _as_if_killed(patch)
        try:
            one.run(workers=workers)
        except Death:
            return True
    return False


def _check_recovered(one: Installation) -> None:
    one.oracle.check_safe(one.state())
    recovered = one.run()
    assert any("was interrupted" in note for note in recovered.notes), recovered.notes
    recovered = one.finish_moves(recovered)
    assert recovered.state is RunState.SUCCEEDED, recovered
    one.oracle.check_final(one.state())
    check_requests(one.sandbox.log.writes())
    one.check_named(one.sandbox.log.writes())
    assert one.wrote(one.run) == []
    dead = one.told(recovered.id - 1)
    assert dead.state is RunState.INTERRUPTED
    settled = {ChangeState.APPLIED, ChangeState.FAILED, ChangeState.SKIPPED, ChangeState.HELD}
    assert {c.state for c in dead.changes} <= settled
    one.check_words(dead)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("k", range(1, WRITES + 1))
def test_death_at_every_write(
    changed: Installation, monkeypatch: pytest.MonkeyPatch, place: str, k: int
) -> None:
    assert _run_until_death(changed, monkeypatch, place, k)
    _check_recovered(changed)


def test_every_write_was_died_at(changed: Installation) -> None:
    assert len(changed.wrote(changed.run)) == WRITES


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("k", [1, 4, 9])
def test_death_with_several_workers(
    changed: Installation, monkeypatch: pytest.MonkeyPatch, place: str, k: int
) -> None:
    assert _run_until_death(changed, monkeypatch, place, k, workers=4)
    _check_recovered(changed)


@pytest.mark.parametrize("place", ["before", "after"])
def test_death_again_and_again(
    changed: Installation, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Every run dies at its second write; all of it gets done in the end."""
    for _ in range(2 * WRITES):
        died = _run_until_death(changed, monkeypatch, place, 2)
        changed.oracle.check_safe(changed.state())
        if not died:
            break
    last = changed.finish_moves(changed.run())
    assert last.state is RunState.SUCCEEDED
    changed.oracle.check_final(changed.state())
    assert changed.wrote(changed.run) == []


@pytest.mark.parametrize("k", [1, 3])
def test_death_while_recovering(
    changed: Installation, monkeypatch: pytest.MonkeyPatch, k: int
) -> None:
    """The settling of what an earlier crash left open can be cut short as well."""
    assert _run_until_death(changed, monkeypatch, "after", k, workers=4)
    with monkeypatch.context() as patch:
        patch.setattr("services.runs.recovery.resolve", _raise_death)
        with pytest.raises(Death):
            changed.run()
    changed.oracle.check_safe(changed.state())
    told = changed.finish_moves(changed.run())
    assert told.state is RunState.SUCCEEDED
    changed.oracle.check_final(changed.state())
    assert changed.wrote(changed.run) == []


def _raise_death(*_args: object) -> None:
    raise Death


def test_death_of_a_first_run_that_adopts(
    new: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in (1, 5, 9):
        with monkeypatch.context() as patch:
            _die_at(patch, "after", k)
            _as_if_killed(patch)
            with contextlib.suppress(Death):
                new.run(approve_all=True)
        new.run()
    told = new.run(approve_all=True)
    assert told.state is RunState.SUCCEEDED
    state = new.state()
    for place, quantity in new.oracle.expected.items():
        rows = [r for r in state["additions"][str(place[0])]
                if r["product"]["identifier"] == place[1]]  # fmt: skip
        assert [r["quantity"] for r in rows] == [quantity], place
    assert new.wrote(new.run) == []


# --- real processes ------------------------------------------------------------------------------


def _environment(one: Installation) -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.startswith("TALLYBRIDGE_")}
    return {
        **kept,
        **one.sandbox.env(),
        "TALLYBRIDGE_DATA_DIR": str(one.folder),
        "TALLYBRIDGE_DATABASE_URL": url_of(one.engine),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def start_cli(one: Installation, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.at",
            one.now.isoformat(),
            "flask",
            "--app",
            "app",
            *arguments,
        ],
        cwd=ROOT,
        env=_environment(one),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def cli(one: Installation, *arguments: str) -> tuple[int, str, str]:
    process = start_cli(one, *arguments)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in err, err
    return process.returncode, out, err


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the run never came so far"
        time.sleep(0.005)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("k", "when"), [(1, "before"), (4, "after"), (8, "before"), (12, "after")])
def test_killed_process(changed: Installation, k: int, when: str) -> None:
    """Killed while the k-th write hangs in ConnectWise, which has done it or never will."""
    changed.fault("timeout", "connectwise", path=_ADDITION_WRITES,
                  at=k, when=when, seconds=20)  # fmt: skip
    process = start_cli(changed, "sync", "run")
    try:
        _wait_for(lambda: not changed.sandbox.faults.pending(), process)
        time.sleep(0.1)
    finally:
        _kill(process)
    changed.sandbox.faults.clear()
    changed.oracle.check_safe(changed.state())

    code, _, err = cli(changed, "sync", "run")
    assert code == 0, err
    assert "was interrupted" in err
    last = changed.told(_newest_run(changed))
    changed.finish_moves(last)
    changed.oracle.check_final(changed.state())

    changed.sandbox.log.clear()
    code, _, err = cli(changed, "sync", "run")
    assert code == 0, err
    assert changed.sandbox.log.writes() == []


# Lists are read with a query, so a path that ends here is a write.
_ADDITION_WRITES = r"^/[^?]*/additions(/\d+)?$"


def _newest_run(one: Installation) -> int:
    with one.engine.connect() as connection:
        return connection.scalars(sa.select(sa.func.max(models.SyncRun.id))).one()
