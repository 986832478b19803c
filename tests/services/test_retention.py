"""What is removed is what nobody needs: planning before and after it is the same."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.database import AlreadyLockedError, exclusive
from services.runs import doubts
from services.runs.approvals import _wish
from services.runs.gather import owned_additions
from services.runs.reports import (
    _fingerprint,
    newest_written_month,
    trusted_tenants,
    written_already,
)
from services.settings import Retention
from services.sync.model import ChangeKind, Month
from services.upkeep import retention
from services.upkeep.retention import RUNS_ALWAYS_KEPT, months_before, purge
from tests.faults.harness import NOW

FOREVER = Retention(runs_months=None, usage_months=None)
SHORT = Retention(runs_months=3, usage_months=13)
MONTHS = 40
FIRST = Month.of((NOW - dt.timedelta(days=30 * MONTHS)).date())


def rows(engine: Engine, model: type[models.Base]) -> int:
    with Session(engine) as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


# --- generated histories ------------------------------------------------------------------------


def history(engine: Engine, seed: int) -> None:
    """Years of runs with every state, reports read several times, and additions of ours."""
    dice = random.Random(seed)
    with Session(engine) as session, session.begin():
        month = FIRST
        for number in range(MONTHS):
            for _ in range(dice.randint(0, 3)):
                one_run(session, dice, month, NOW - dt.timedelta(days=30 * (MONTHS - number)))
            month = following(month)
        additions = session.scalars(
            sa.select(models.Change.addition_id).where(
                models.Change.state == ChangeState.APPLIED, models.Change.addition_id.is_not(None)
            )
        )
        for addition in sorted({a for a in additions if a is not None and dice.random() < 0.8}):
            session.add(
                models.OwnedAddition(
                    addition_id=addition, agreement_id=1, catalog_item_id=1, quantity=Decimal(1),
                    sources=[["t", "p"]], updated_at=NOW,
                )
            )  # fmt: skip


def following(month: Month) -> Month:
    first = dt.date.fromisoformat(f"{month}-01")
    return Month.of(first + dt.timedelta(days=32))


def one_run(session: Session, dice: random.Random, month: Month, at: dt.datetime) -> None:
    report = None
    if dice.random() < 0.8:
        report = models.UsageReport(
            month=str(month), fingerprint=dice.choice([_fingerprint([]), "other"]), read_at=at,
            trusted=dice.random() < 0.6, tenant_ids=[f"t{dice.randint(1, 9)}"],
        )  # fmt: skip
        session.add(report)
        session.flush()
        for _ in range(3):
            session.add(
                models.UsageLine(
                    report_id=report.id, tenant_id="t", product_key="p", product_name="P",
                    quantity=Decimal(1), serial=None,
                )
            )  # fmt: skip
    earlier = session.scalars(sa.select(models.SyncRun.id)).all()
    run = models.SyncRun(
        month=str(month),
        trigger="test",
        actor="anna",
        state=dice.choice([s for s in RunState if s is not RunState.RUNNING]),
        fingerprint=dice.choice([None, "f"]),
        report_id=report.id if report else None,
        undo_of_id=dice.choice(earlier) if earlier and dice.random() < 0.2 else None,
        started_at=at,
        ended_at=at,
    )
    session.add(run)
    session.flush()
    for _ in range(dice.randint(0, 4)):
        change(session, run.id, dice)
    session.add(
        models.AuditEvent(at=at, actor="a", action="x", subject="s", before=None, after=None,
                          run_id=run.id)
    )  # fmt: skip
    session.add(
        models.ScheduledSlot(
            key=f"slot {run.id}", due_at=at, state=models.SlotState.DONE, run_id=run.id,
            started_at=at,
        )
    )  # fmt: skip


def change(session: Session, run_id: int, dice: random.Random) -> None:
    common = [ChangeState.APPLIED] * 6 + [ChangeState.SKIPPED, ChangeState.FAILED]
    state = dice.choice([*common, *(list(ChangeState) if dice.random() < 0.1 else [])])
    session.add(
        models.Change(
            run_id=run_id, kind=ChangeKind.UPDATE, state=state, tenant_id="t",
            agreement_id=dice.randint(1, 5), addition_id=dice.randint(1, 30),
            catalog_item_id=dice.randint(1, 5), before=Decimal(1), after=Decimal(2),
            reason="because", sources=[], explanation=[], known_additions=[],
        )
    )  # fmt: skip


def what_planning_reads(engine: Engine) -> dict[str, Any]:
    """Everything of our own tables that decides a plan, its guards and what may be approved."""
    with Session(engine) as session:
        run, change_ = models.SyncRun, models.Change
        month, every = FIRST, [FIRST]
        while len(every) < MONTHS + 2:
            month = following(month)
            every.append(month)
        newest = session.scalar(
            sa.select(sa.func.max(run.id)).where(
                run.fingerprint.is_not(None), run.undo_of_id.is_(None)
            )
        )
        return {
            "yardsticks": {str(m): trusted_tenants(session, m) for m in every},
            "open": doubts.open_places(session),
            "owned": owned_additions(session),
            "newest month": newest_written_month(session),
            "newest plan": sorted(
                repr(_wish(row))
                for row in session.scalars(sa.select(change_).where(change_.run_id == newest))
            ),
            "waiting": session.scalars(
                sa.select(change_.id).where(
                    change_.state.in_((ChangeState.HELD, *models.OPEN_INTENTS))
                ).order_by(change_.id)
            ).all(),
            "explained": session.execute(
                sa.select(change_.addition_id, sa.func.max(change_.id))
                .where(
                    change_.state == ChangeState.APPLIED,
                    change_.addition_id.in_(sa.select(models.OwnedAddition.addition_id)),
                )
                .group_by(change_.addition_id)
                .order_by(change_.addition_id)
            ).all(),
            "runs": session.execute(
                sa.select(run.id, run.state, run.month, run.undo_of_id).order_by(run.id)
            ).all(),
            "audit": session.execute(
                sa.select(models.AuditEvent.id, models.AuditEvent.run_id).order_by(
                    models.AuditEvent.id
                )
            ).all(),
        }  # fmt: skip


def proofs(engine: Engine) -> dict[str, int | None]:
    """The run, by month, because of which the schedule has nothing to do."""
    with Session(engine) as session:
        months = session.scalars(sa.select(models.SyncRun.month).distinct()).all()
        return {m: written_already(session, Month.parse(m), []) for m in months if m}


@pytest.mark.parametrize("seed", range(25))
def test_planning_reads_the_same_before_and_after(engine: Engine, seed: int) -> None:
    history(engine, seed)
    before, written = what_planning_reads(engine), proofs(engine)
    settings = Retention(
        runs_months=random.Random(seed).choice([3, 12, 24]),
        usage_months=random.Random(seed).choice([13, 24]),
    )
    done = purge(engine, settings, now=NOW)
    assert what_planning_reads(engine) == before
    newest = str(before["newest month"])
    for month, proof in proofs(engine).items():
        # What was forgotten is written again at worst; nothing becomes proof that was none.
        assert proof == written[month] or (proof is None and month != newest)
    assert done.runs
    assert done.lines or settings.usage_months == 24
    assert purge(engine, settings, now=NOW) == retention.Purged(), "twice is once"
    with Session(engine) as session:
        for run in session.scalars(sa.select(models.SyncRun)):
            if run.changes:
                report = session.get(models.UsageReport, run.report_id or 0)
                assert (report is None) == (run.report_id is None)


def test_nothing_is_removed_when_all_is_kept(engine: Engine) -> None:
    history(engine, 1)
    counts = {model: rows(engine, model) for model in (models.Change, models.UsageLine)}
    assert purge(engine, FOREVER, now=NOW).changes == 0
    assert {model: rows(engine, model) for model in counts} == counts


def test_a_clock_in_the_future_removes_nothing_more(engine: Engine) -> None:
    """Age is counted from the newest run: a wrong clock must not empty the database."""
    history(engine, 2)
    purge(engine, SHORT, now=NOW)
    left = rows(engine, models.Change), rows(engine, models.UsageLine)
    assert purge(engine, SHORT, now=NOW + dt.timedelta(days=20_000)).changes == 0
    assert (rows(engine, models.Change), rows(engine, models.UsageLine)) == left


def test_a_purged_run_says_so(engine: Engine) -> None:
    history(engine, 3)
    with Session(engine) as session:
        [first, *_] = retention.runs_to_purge(session, 3, now=NOW)
    purge(engine, SHORT, now=NOW)
    with Session(engine) as session:
        run = session.get_one(models.SyncRun, first)
        assert "Its changes and findings were removed on 2026-11-26" in (run.message or "")
        assert run.changes == []


def test_a_report_that_is_read_again_gets_its_lines_back(engine: Engine) -> None:
    from services.runs.reports import store_report
    from services.sync.model import UsageLine

    month = Month.parse("2020-01")
    line = UsageLine(tenant_id="t", product_key="p", product_name="P", quantity=Decimal(1))
    with Session(engine) as session, session.begin():
        store_report(session, month, [line], now=NOW).trusted = True
        for number in range(1, 14):
            later = Month.parse(f"2021-{number:02}" if number < 13 else "2022-01")
            store_report(session, later, [], now=NOW)
    assert purge(engine, SHORT, now=NOW).lines == 1
    with Session(engine) as session, session.begin():
        report = store_report(session, month, [line], now=NOW)
        session.flush()
        lines = sa.select(sa.func.count()).where(models.UsageLine.report_id == report.id)
        assert session.scalar(lines) == 1


def test_not_while_a_run_goes_on(engine: Engine) -> None:
    history(engine, 4)
    before = rows(engine, models.Change)
    with exclusive(engine, "sync"), pytest.raises(AlreadyLockedError):
        purge(engine, SHORT, now=NOW)
    assert rows(engine, models.Change) == before


def test_the_newest_runs_keep_everything_however_old(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        dice = random.Random(5)
        for number in range(RUNS_ALWAYS_KEPT + 5):
            at = NOW - dt.timedelta(days=2000 - number)
            one_run(session, dice, Month.parse("2021-01"), at)
        one_run(session, dice, Month.parse("2021-01"), NOW)
    with Session(engine) as session:
        newest = session.scalar(sa.select(sa.func.max(models.SyncRun.id)))
        assert newest is not None
        old = retention.runs_to_purge(session, 3, now=NOW)
    assert max(old, default=0) <= newest - RUNS_ALWAYS_KEPT


@pytest.mark.parametrize(
    ("months", "expected"),
    [(1, "2024-02-29"), (3, "2023-12-31"), (13, "2023-02-28"), (24, "2022-03-31")],
)
def test_months_before(months: int, expected: str) -> None:
    instant = dt.datetime(2024, 3, 31, 12, tzinfo=dt.UTC)
    assert months_before(instant, months).date().isoformat() == expected


def test_what_lives_shortly_goes(engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        user = models.User(name="a", role=models.Role.VIEWER, password_hash="x", created_at=NOW)
        session.add(user)
        session.flush()
        for name, age in (("old", 40), ("new", 1)):
            at = NOW - dt.timedelta(days=age)
            session.add(
                models.LoginSession(
                    token_hash=name, user_id=user.id, created_at=at, last_seen_at=at
                )
            )
            session.add(models.LoginAttempt(at=at, account=name, address="x"))
        for key, days, state in (
            ("old", 500, "done"), ("waits", 500, "waiting"), ("new", 300, "done"),
        ):  # fmt: skip
            at = NOW - dt.timedelta(days=days)
            session.add(
                models.ScheduledSlot(
                    key=key, due_at=at, started_at=at, state=models.SlotState(state)
                )
            )
            sent = at if state == "done" else None
            run = models.SyncRun(
                trigger="t", actor="a", state=RunState.SUCCEEDED, started_at=at, ended_at=at
            )
            session.add(run)
            session.flush()
            for kind, run_id in (("run", run.id), ("lasting", None)):
                session.add(
                    models.Notice(
                        at=at, kind=kind, key=f"{kind} {key}", message="m", sent_at=sent,
                        run_id=run_id,
                    )
                )  # fmt: skip
    purge(engine, FOREVER, now=NOW)
    with Session(engine) as session:
        assert session.scalars(sa.select(models.LoginSession.token_hash)).all() == ["new"]
        assert session.scalars(sa.select(models.LoginAttempt.account)).all() == ["new"]
        assert set(session.scalars(sa.select(models.ScheduledSlot.key))) == {"waits", "new"}
        assert set(session.scalars(sa.select(models.Notice.key))) == {
            "run waits", "run new", "lasting old", "lasting waits", "lasting new",
        }  # fmt: skip


@pytest.mark.parametrize("why", ["held", "open", "newest plan", "newest month", "nothing"])
def test_one_old_run_that_is_still_needed(engine: Engine, why: str) -> None:
    """Years of runs without a plan follow; what is needed keeps its report's lines too."""
    at = NOW - dt.timedelta(days=2000)
    state = {"held": ChangeState.HELD, "open": ChangeState.UNCLEAR}.get(why, ChangeState.APPLIED)
    with Session(engine) as session, session.begin():
        report = models.UsageReport(
            month="2021-01", fingerprint="f", read_at=at, trusted=False, tenant_ids=[]
        )
        session.add(report)
        session.flush()
        session.add(
            models.UsageLine(
                report_id=report.id, tenant_id="t", product_key="p", product_name="P",
                quantity=Decimal(1),
            )
        )  # fmt: skip
        old = models.SyncRun(
            month="2021-01", trigger="t", actor="a", state=RunState.FAILED, started_at=at,
            fingerprint="f" if why == "newest plan" else None, report_id=report.id,
            undo_of_id=None,
        )  # fmt: skip
        session.add(old)
        session.flush()
        change(session, old.id, random.Random(1))
        session.flush()
        session.execute(sa.update(models.Change).values(state=state))
        if why == "nothing":
            newer = models.SyncRun(
                month="2021-02", trigger="t", actor="a", state=RunState.SUCCEEDED, started_at=at
            )
            session.add(newer)
        for number in range(20):
            later = NOW - dt.timedelta(days=20 - number)
            session.add(
                models.SyncRun(
                    trigger="t", actor="a", state=RunState.NOT_READY, started_at=later
                )
            )  # fmt: skip
        for number in range(1, 14):
            month = f"2022-{number:02}" if number < 13 else "2023-01"
            session.add(
                models.UsageReport(
                    month=month, fingerprint="f", read_at=NOW, trusted=True, tenant_ids=[]
                )
            )
        if why == "newest plan":
            session.execute(sa.update(models.Change).values(state=ChangeState.SKIPPED))
        run_id = old.id
    before = what_planning_reads(engine)
    done = purge(engine, SHORT, now=NOW)
    assert what_planning_reads(engine) == before
    with Session(engine) as session:
        left = len(session.get_one(models.SyncRun, run_id).changes)
    assert (left, rows(engine, models.UsageLine)) == ((0, 0) if why == "nothing" else (1, 1))
    assert (done.runs, done.lines) == ((1, 1) if why == "nothing" else (0, 0))
