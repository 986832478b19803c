"""Real processes that want to lead the schedule: killed, cut off from the database, stopped."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

import models
from models import RunState, SlotState
from services.database import READING, configure, exclusive, upgrade
from services.scheduling.scheduler import BEAT
from services.scheduling.slots import LOOKED
from services.settings import AppSettings, Schedule, store_settings
from tests.faults import harness
from tests.faults.harness import Installation
from tests.faults.test_crash import ROOT, _environment
from tests.postgres import Server, free_port

pytestmark = pytest.mark.slow
BEGAN = dt.datetime(2026, 3, 26, 12, 0, tzinfo=dt.UTC)
DAY_LASTS = 0.6
"""Seconds. The nights of the clock changes of Berlin lie within what the tests live through."""
BEAT_HERE = 0.05


@dataclass
class Crew:
    """Several processes over one database and one quick clock."""

    folder: Path
    url: str
    began: dt.datetime = BEGAN
    crew: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        configure(engine)
        return engine

    def prepare(self) -> None:
        upgrade(self.engine)
        schedule = Schedule(when="daily", time="02:30")
        settings = AppSettings(timezone="Europe/Berlin", schedule=schedule)
        with sa.orm.Session(self.engine) as session, session.begin():
            store_settings(session, settings)

    def start(self, count: int = 1) -> None:
        kept = {n: v for n, v in os.environ.items() if not n.startswith("TALLYBRIDGE_")}
        environment = {
            **kept,
            "TALLYBRIDGE_DATA_DIR": str(self.folder),
            "TALLYBRIDGE_DATABASE_URL": self.url,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        script = str(ROOT / "tests" / "faults" / "scheduler_process.py")
        speed = 86_400 / DAY_LASTS
        words = [self.began.isoformat(), str(self.go), str(speed), str(BEAT_HERE)]
        for _ in range(count):
            self.crew.append(
                subprocess.Popen([sys.executable, script, *words], env=environment, cwd=ROOT)
            )

    @property
    def go(self) -> Path:
        return self.folder / "go"

    def let_time_run(self) -> None:
        """From the moment that one of them leads."""
        wait_until(self._leads, "a leader")
        whole = self.folder / "go.part"
        whole.write_text(str(time.monotonic()), encoding="ascii")
        whole.rename(self.go)

    def _leads(self) -> bool:
        with sa.orm.Session(self.engine) as session:
            return session.get(models.Marker, LOOKED) is not None

    def ran(self) -> list[tuple[str, int]]:
        """The key of each run in order, and the process that did it."""
        with sa.orm.Session(self.engine.execution_options(**{READING: True})) as session:
            told = session.scalars(sa.select(models.SyncRun.message).order_by(models.SyncRun.id))
            parts = [(message or "").rpartition(" ") for message in told]
        return [(key, int(pid)) for key, _, pid in parts]

    def wait_for(self, count: int) -> None:
        """Until so many runs were made."""
        wait_until(lambda: len(self.ran()) >= count, f"run {count}")

    def leader(self) -> subprocess.Popen[bytes]:
        pid = self.ran()[-1][1]
        return next(each for each in self.crew if each.pid == pid)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait(timeout=30)
        self.crew.remove(process)

    def end(self) -> None:
        """Ask all of them to end, and see that they do."""
        for process in self.crew:
            process.terminate()
        for process in self.crew:
            try:
                code = process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGUSR1)
                time.sleep(1)
                raise
            # One that was started a moment ago has not come so far as to end in order.
            assert code in (0, -signal.SIGTERM)

    def check(self) -> int:
        """No day was left out in silence and none came twice; returns how many runs there were.

        On a machine so busy that nobody looks for a whole day, half a second here, one may be
        missed, and is recorded as such.
        """
        keys = [key for key, _ in self.ran()]
        assert [key for key, n in Counter(keys).items() if n > 1] == []
        with sa.orm.Session(self.engine) as session:
            rows = {row.key: row.state for row in session.scalars(sa.select(models.ScheduledSlot))}
        days = sorted(dt.date.fromisoformat(key[6:]) for key in rows)
        assert days == [days[0] + n * dt.timedelta(days=1) for n in range(len(days))]
        assert {key for key, state in rows.items() if state is SlotState.DONE} == set(keys)
        missed = list(rows.values()).count(SlotState.MISSED)
        print(f"{len(keys)} runs, {missed} missed, 0 doubled")  # noqa: T201
        return len(keys)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> float:
    """Returns for how many seconds it waited."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"{what} never came"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture(params=["sqlite", "postgresql"])
def crew(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crew]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tallybridge.db'}"
    else:
        postgres = request.getfixturevalue("postgres")
        url = postgres.create(f"crew_{time.monotonic_ns()}")
    made = Crew(tmp_path, url)
    made.prepare()
    yield made
    for process in made.crew:
        process.kill()
        process.wait(timeout=30)


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_make_each_run_once(crew: Crew, count: int) -> None:
    """Six days and the night in which Berlin sets its clocks forward, at 02:30, which it skips."""
    crew.start(count)
    crew.let_time_run()
    crew.wait_for(6)
    crew.end()
    assert crew.check() >= 6


def test_back_through_the_other_night(crew: Crew) -> None:
    """02:30 comes twice."""
    crew.began = dt.datetime(2026, 10, 23, 12, 0, tzinfo=dt.UTC)
    crew.start(2)
    crew.let_time_run()
    crew.wait_for(4)
    crew.end()
    crew.check()
    assert "daily 2026-10-25" in [key for key, _ in crew.ran()]


def test_a_killed_leader_is_replaced(crew: Crew) -> None:
    crew.start(3)
    crew.let_time_run()
    crew.wait_for(2)
    for _ in range(2):
        before, leader = len(crew.ran()), crew.leader()
        crew.kill(leader)
        crew.start()
        crew.wait_for(before + 2)
        assert crew.ran()[-1][1] != leader.pid
    crew.end()
    crew.check()


def test_a_lost_connection_is_noticed(crew: Crew, request: pytest.FixtureRequest) -> None:
    """The lock of PostgreSQL lives with its connection: who loses it leads no longer."""
    if crew.url.startswith("sqlite"):
        pytest.skip("a file lock needs no connection")
    postgres: Server = request.getfixturevalue("postgres")
    crew.start(2)
    crew.let_time_run()
    crew.wait_for(2)
    for _ in range(3):
        postgres.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        )
        crew.wait_for(len(crew.ran()) + 1)
    postgres.crash()
    time.sleep(0.5)
    postgres.restart()
    crew.wait_for(len(crew.ran()) + 2)
    crew.end()
    keys = [key for key, _ in crew.ran()]
    assert [key for key, n in Counter(keys).items() if n > 1] == []


def test_the_lock_says_when_it_is_lost(postgres: Server) -> None:
    url = postgres.create("lost")
    engine = sa.create_engine(url)
    with exclusive(engine, "sync") as held:
        assert held()
        postgres.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        )
        assert not held()
        with exclusive(engine, "sync") as other:  # the server has given it to somebody else
            assert other()
            assert not held()
        assert not held()
    with exclusive(engine, "sync") as again:
        assert again()
    engine.dispose()


# --- the web process ----------------------------------------------------------------------------


@dataclass
class Web:
    """gunicorn as people start it, over an installation with much to write."""

    one: Installation
    port: int
    process: subprocess.Popen[bytes]

    def end(self) -> float:
        """SIGTERM; returns the seconds until it was gone."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(timeout=70) == 0
        return time.monotonic() - began

    def kill(self) -> None:
        """The arbiter and its worker, as when the machine dies."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        for each in (pid, *map(int, children.split())):
            os.kill(each, signal.SIGKILL)
        self.process.wait(timeout=30)


@pytest.fixture
def web(changed: Installation) -> Iterator[Callable[[], Web]]:
    started: list[Web] = []

    def start() -> Web:
        port = free_port()
        command = [sys.executable, "-m", "tests.at", changed.now.isoformat()]
        command += ["gunicorn", "-c", "gunicorn.conf.py"]
        command += ["-b", f"127.0.0.1:{port}", "app:create_app()"]
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(changed))
        started.append(Web(changed, port, process))
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            os.kill(each.process.pid, signal.SIGKILL)
        each.process.wait(timeout=30)


def slot_of(one: Installation) -> models.ScheduledSlot:
    with sa.orm.Session(one.engine) as session:
        return session.scalars(sa.select(models.ScheduledSlot)).one()


def due_now(one: Installation) -> None:
    """A slot of the schedule as it is set that waits to be taken."""
    due = one.now
    schedule = {"when": "daily", "time": f"{due:%H:%M}"}
    harness.store_settings(one, timezone="Etc/UTC", schedule=schedule)
    slot = models.ScheduledSlot(
        key=f"daily {due.date()}",
        due_at=due,
        state=SlotState.WAITING,
        retry_at=due,
        started_at=due,
    )
    with sa.orm.Session(one.engine) as session, session.begin():
        session.add(slot)


def writes(one: Installation) -> int:
    return len(one.sandbox.log.writes())


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_web_process_ends_in_the_middle_of_a_run(
    changed: Installation, web: Callable[[], Web], how: str
) -> None:
    """Nothing is doubled, nothing is lost, and the next start makes the run again."""
    changed.sandbox.latency_ms = 120
    changed.sandbox.log.clear()
    due_now(changed)
    first = web()
    wait_until(lambda: writes(changed) >= 3, "the third write")
    if how == "stopped":
        took = first.end()
        print(f"gone {took:.1f} s after SIGTERM")  # noqa: T201
        assert took < 20
        run = changed.told(slot_of(changed).run_id or 0)
        assert run.state is RunState.INTERRUPTED
        assert run.message is not None
        assert run.message.startswith("Tallybridge was stopped.")
        changed.check_words(run)
        assert slot_of(changed).state is SlotState.WAITING
    else:
        first.kill()
    changed.sandbox.latency_ms = 0
    changed.oracle.check_safe(changed.state())

    second = web()
    wait_until(lambda: slot_of(changed).state is SlotState.DONE, "the run that was made again")
    assert second.end() < 20
    slot = slot_of(changed)
    assert slot.attempts == 2
    last = changed.told(slot.run_id or 0)
    assert last.state is RunState.SUCCEEDED
    changed.finish_moves(last)
    changed.oracle.check_final(changed.state())
    assert changed.wrote(changed.run) == []


def test_an_idle_web_process_ends_soon(changed: Installation, web: Callable[[], Web]) -> None:
    one = web()
    log = changed.folder / "tallybridge.log"
    wait_until(lambda: log.exists() and "leads the schedule" in log.read_text(), "the scheduler")
    assert one.end() < BEAT + 5
