"""What one scheduled slot does, against both vendors simulated, and what is said about it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography.fernet import Fernet
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import models
from config import load_config
from models import ChangeState, RunState, SlotState
from sandbox import Fault, Sandbox, start
from services.database import exclusive
from services.installation import Installation
from services.runs import sync_runs
from services.runs.jobs import Jobs
from services.scheduling import scheduled_run, slots
from services.secrets import Vault
from services.setting_changes import change_settings, fingerprint
from services.sync.model import FindingKind
from services.tenants.tenant_mappings import Author, switch_sync
from tests.services.workshop import context_for, options, take_over

HOUR = dt.timedelta(hours=1)


class World:
    """An installation, its jobs, and slots that are taken and settled as the scheduler does it."""

    def __init__(self, engine: Engine, sandbox: Sandbox, folder: Path, **changes: str) -> None:
        environment = {**sandbox.env(), **changes, "TALLYBRIDGE_DATA_DIR": str(folder)}
        vault = Vault([Fernet.generate_key().decode()])
        self.sandbox = sandbox
        self.installation = Installation(load_config(environment), engine, vault)
        self.jobs = Jobs(self.installation)
        self.days = 0

    def slot(self, when: str) -> models.ScheduledSlot:
        """Carry out a slot of today."""
        self.days += 1
        now = self.installation.now()
        with self.session() as session, session.begin():
            session.add(
                models.ScheduledSlot(
                    key=f"{when} {self.days}",
                    due_at=now,
                    state=SlotState.WAITING,
                    retry_at=now,
                    started_at=now,
                )
            )
        return self.again()

    def again(self) -> models.ScheduledSlot:
        with self.session() as session, session.begin():
            later = self.installation.now() + 24 * HOUR
            slot = slots.take(session, later)
        assert slot is not None
        outcome = scheduled_run.carry_out(self.installation, self.jobs, slot)
        with self.session() as session, session.begin():
            slots.settle(session, slot.id, outcome, self.installation.now())
        with self.session() as session:
            return session.get_one(models.ScheduledSlot, slot.id)

    def session(self) -> Session:
        return self.installation.session()

    def runs(self) -> list[models.SyncRun]:
        with self.session() as session:
            return list(session.query(models.SyncRun).order_by(models.SyncRun.id))

    def in_minutes(self, slot: models.ScheduledSlot) -> int:
        assert slot.retry_at is not None
        return round((slot.retry_at - self.installation.now()) / dt.timedelta(minutes=1))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(options(today=dt.datetime.now(dt.UTC).date(), report_ready=True)) as made:
        yield made


@pytest.fixture
def world(engine: Engine, sandbox: Sandbox, tmp_path: Path) -> World:
    document = yaml.safe_load(sandbox.sample_config())
    context = context_for(engine, sandbox, dt.datetime.now(dt.UTC))
    take_over(context, document, tmp_path / "sample.yaml")
    return World(engine, sandbox, tmp_path)


def calls(sandbox: Sandbox) -> list[str]:
    return [entry.vendor for entry in sandbox.log.entries()]


def test_a_daily_slot_is_a_run(world: World) -> None:
    slot = world.slot("daily")
    assert slot.state is SlotState.DONE
    (run,) = world.runs()
    assert (slot.run_id, run.trigger, run.actor) == (run.id, "schedule", "schedule")
    assert run.state is RunState.SUCCEEDED


def test_an_unchanged_invoice_is_only_looked_at(world: World) -> None:
    assert world.slot("invoice").state is SlotState.DONE
    world.sandbox.log.clear()
    slot = world.slot("invoice")
    assert slot.state is SlotState.DONE
    assert slot.run_id is None
    assert "unchanged since run 1 wrote it: nothing to do" in (slot.message or "")
    assert len(world.runs()) == 1
    assert set(calls(world.sandbox)) == {"sophos"}


def test_a_changed_invoice_is_run(world: World) -> None:
    world.slot("invoice")
    usage = world.sandbox.state()["usage"]
    month = max(usage)
    line = usage[month][0]
    world.sandbox.edit(
        {"action": "set_usage", "month": month, "tenant": line["accountId"],
         "product": line["productCode"], "quantity": 999}
    )  # fmt: skip
    slot = world.slot("invoice")
    assert (slot.state, slot.run_id) == (SlotState.DONE, 2)


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.INTERRUPTED, RunState.NOT_READY])
def test_an_unchanged_invoice_is_run_when_the_last_run_was_not_good(
    world: World, state: RunState
) -> None:
    world.slot("invoice")
    with world.session() as session, session.begin():
        session.get_one(models.SyncRun, 1).state = state
    assert world.slot("invoice").run_id == 2


def test_an_unchanged_invoice_is_run_when_something_was_left_out(world: World) -> None:
    world.slot("invoice")
    with world.session() as session, session.begin():
        change = session.query(models.Change).first()
        assert change is not None
        change.state, change.error = ChangeState.SKIPPED, "Skipped as stale: it was changed."
    assert world.slot("invoice").run_id == 2


def test_an_unchanged_invoice_is_run_for_a_customer_mapped_since(world: World) -> None:
    """What is to be written decides, and not only what the report says."""
    mapping = models.TenantMapping
    with world.session() as session, session.begin():
        row = session.query(mapping).filter(mapping.agreement_id.is_not(None)).first()
        assert row is not None
        tenant_id, sync = row.tenant_id, row.sync
        assert sync
        row.sync = False
    world.slot("invoice")
    with world.session() as session, session.begin():
        author = Author("anna", world.installation.now())
        switch_sync(session, tenant_id, author, on=True)
    slot = world.slot("invoice")
    assert slot.run_id == 2
    assert world.runs()[1].state is RunState.SUCCEEDED
    with world.session() as session:
        assert session.query(models.Change).filter_by(run_id=2, tenant_id=tenant_id).count()
    assert world.slot("invoice").run_id is None


def test_an_unchanged_invoice_is_run_when_settings_changed_since(world: World) -> None:
    world.slot("invoice")
    with world.session() as session, session.begin():
        seen = fingerprint(world.installation.settings(), ["usage_ended"])
        now = world.installation.now()
        change_settings(session, {"usage_ended": "cancel"}, seen=seen, actor="anna", now=now)
    assert world.slot("invoice").run_id == 2


def test_an_unchanged_invoice_is_run_while_connectwise_keeps_some_of_it_back(world: World) -> None:
    """Nobody tells us when the agreement is made good there."""
    world.slot("invoice")
    with world.session() as session, session.begin():
        session.add(
            models.Finding(
                run_id=1, kind=FindingKind.AGREEMENT_UNUSABLE, subject="7", message="", advice=""
            )
        )
    assert world.slot("invoice").run_id == 2
    assert world.slot("invoice").run_id is None


def test_a_preview_does_not_count_as_written(world: World) -> None:
    with world.session() as session, session.begin():
        session.add(models.Setting(name="read_only", value={"value": True}))
    first = world.slot("invoice")
    assert (first.state, first.run_id) == (SlotState.DONE, 1)
    assert "Read-only" in (first.message or "")
    assert world.sandbox.log.writes() == []
    assert world.slot("invoice").run_id == 2


@pytest.mark.parametrize("when", ["invoice", "daily"])
def test_no_report_is_waited_for(world: World, when: str) -> None:
    world.sandbox.sophos.usage.clear()
    slot = world.slot(when)
    assert slot.state is SlotState.WAITING
    assert "no billing report" in (slot.message or "")
    assert world.in_minutes(slot) == 60
    assert all(run.state is RunState.NOT_READY for run in world.runs())
    assert world.sandbox.log.writes() == []


@pytest.mark.parametrize("when", ["invoice", "daily"])
def test_refused_credentials_need_a_person(
    engine: Engine, sandbox: Sandbox, world: World, tmp_path: Path, when: str
) -> None:
    refused = World(engine, sandbox, tmp_path, TALLYBRIDGE_SOPHOS_CLIENT_SECRET="wrong-secret")
    slot = refused.slot(when)
    assert (slot.state, slot.retry_at) == (SlotState.FAILED, None)
    assert "Sophos" in (slot.message or "")
    assert "wrong-secret" not in (slot.message or "")


def test_what_is_not_configured_needs_a_person(engine: Engine, tmp_path: Path) -> None:
    vault = Vault([Fernet.generate_key().decode()])
    installation = Installation(load_config({}), engine, vault)
    now = installation.now()
    slot = models.ScheduledSlot(key="daily x", attempts=1, due_at=now, started_at=now)
    outcome = scheduled_run.carry_out(installation, Jobs(installation), slot)
    assert outcome.state is SlotState.FAILED
    assert (outcome.message or "").startswith("No run was made. ")


@pytest.mark.parametrize("error", [OperationalError("SELECT", {}, OSError()), OSError(28, "full")])
def test_a_database_that_went_away_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """PostgreSQL was restarted, or a volume was full; a monthly slot must not wait for a month."""

    def gone(*_args: object, **_named: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(sync_runs, "gather", gone)
        slot = world.slot("monthly")
    assert (slot.state, world.in_minutes(slot)) == (SlotState.WAITING, 5)
    assert "database" in (slot.message or "")
    assert world.again().state is SlotState.DONE


@pytest.mark.slow
def test_a_vendor_that_is_down_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    world.sandbox.faults.add(Fault("error_503", "connectwise", times=None))
    slot = world.slot("daily")
    assert (slot.state, world.in_minutes(slot)) == (SlotState.WAITING, 5)
    assert world.runs()[0].state is RunState.FAILED
    slot = world.again()
    assert world.in_minutes(slot) == 10
    world.sandbox.faults.clear()
    slot = world.again()
    assert (slot.state, slot.attempts, slot.run_id) == (SlotState.DONE, 3, 3)


def test_another_run_is_waited_for(world: World) -> None:
    with exclusive(world.installation.engine, "sync"):
        slot = world.slot("daily")
        assert (slot.state, slot.attempts) == (SlotState.WAITING, 0)
        assert "running already" in (slot.message or "")
        running = models.SyncRun(
            trigger="sync now", actor="anna", state=RunState.RUNNING, started_at=slot.due_at
        )
        with world.session() as session, session.begin():
            session.add(running)
        world.sandbox.log.clear()
        assert world.again().message == "Run 1 is under way."
        assert calls(world.sandbox) == []
    assert world.again().state is SlotState.DONE


def test_told_to_stop_it_begins_nothing(world: World) -> None:
    world.jobs.stop()
    slot = world.slot("daily")
    assert (slot.state, slot.attempts) == (SlotState.WAITING, 0)
    assert world.runs() == []
