"""How the last run went for each customer: successful, failed, held or not billed, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.sync.model import FindingKind


class Standing(StrEnum):
    """The sync status of a customer."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    HELD = "held"
    NOT_BILLED = "not billed"
    DISMISSED = "dismissed"
    PLANNED = "planned"
    NO_USAGE = "no usage"
    OFF = "off"
    NEVER = "not run yet"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that stands in the way: what it is, and what to do about it."""

    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class TenantStatus:
    """The standing of one customer, and what is behind it."""

    standing: Standing
    problems: tuple[Problem, ...] = ()
    applied: int = 0


_FAILED = (ChangeState.FAILED, ChangeState.UNCLEAR, ChangeState.SKIPPED)
_BY_A_PERSON = ("Dismissed by ", "Not chosen.")
"""How the journal begins when a person decided that a change is not applied."""
_BLOCKING = (
    FindingKind.AGREEMENT_UNUSABLE,
    FindingKind.AMBIGUOUS_ADDITION,
    FindingKind.NEGATIVE_USAGE,
)


def last_planned_run(session: Session) -> models.SyncRun | None:
    """The newest run that made a plan; undoing is not one."""
    return session.scalar(
        sa.select(models.SyncRun)
        .where(
            models.SyncRun.fingerprint.is_not(None),
            models.SyncRun.undo_of_id.is_(None),
            models.SyncRun.state != RunState.RUNNING,
        )
        .order_by(models.SyncRun.id.desc())
        .limit(1)
    )


def by_a_person() -> sa.ColumnElement[bool]:
    """Of skipped changes those that a person decided about; the others the next run plans anew."""
    return sa.or_(*(models.Change.error.startswith(begins) for begins in _BY_A_PERSON))


def statuses(
    session: Session, run: models.SyncRun | None, rows: Iterable[models.TenantMapping]
) -> dict[str, TenantStatus]:
    """The status of every customer after a run, by tenant id."""
    if run is None:
        return {row.tenant_id: TenantStatus(Standing.NEVER) for row in rows}
    changes = _changes_of(session, run.id)
    findings = _findings_of(session, run.id)
    used = _tenants_with_usage(session, run)
    return {
        row.tenant_id: _status(row, changes, findings, used=row.tenant_id in used) for row in rows
    }


def _status(
    row: models.TenantMapping,
    changes: Mapping[str, list[models.Change]],
    findings: Mapping[str, list[models.Finding]],
    *,
    used: bool,
) -> TenantStatus:
    own = changes.get(row.tenant_id, [])
    told = findings.get(row.tenant_id, [])
    left_out = [c for c in own if _left_out(c)]
    failed = [c for c in own if c.state in _FAILED and c not in left_out]
    held = [c for c in own if c.state is ChangeState.HELD]
    problems = (
        *(Problem(f.message, f.advice) for f in told),
        *(_failure(c) for c in failed),
        *(_waiting(c) for c in held),
        *(_decided(c) for c in left_out),
    )
    applied = sum(1 for c in own if c.state is ChangeState.APPLIED)
    if failed or any(f.kind in _BLOCKING for f in told):
        return TenantStatus(Standing.FAILED, problems, applied)
    if any(f.kind is FindingKind.UNMAPPED_TENANT for f in told):
        return TenantStatus(Standing.NOT_BILLED, problems, applied)
    if held:
        return TenantStatus(Standing.HELD, problems, applied)
    if left_out:
        return TenantStatus(Standing.DISMISSED, problems, applied)
    if not row.sync:
        return TenantStatus(Standing.NOT_BILLED if used else Standing.OFF, _off(row, used=used))
    if any(c.state is ChangeState.PLANNED for c in own):
        return TenantStatus(Standing.PLANNED, problems, applied)
    standing = Standing.SUCCESSFUL if used or own else Standing.NO_USAGE
    return TenantStatus(standing, problems, applied)


def _off(row: models.TenantMapping, *, used: bool) -> tuple[Problem, ...]:
    if not used:
        return ()
    return (
        Problem(
            f"{row.tenant_name} had usage in this month, but its usage sync is off: nothing was "
            "written for it.",
            "Switch its usage sync on, or leave it off if it is billed in another way.",
        ),
    )


def _failure(row: models.Change) -> Problem:
    what = row.product_name or row.reason
    if row.state is ChangeState.SKIPPED:
        return Problem(f"{what}: {row.error or 'skipped'}", "Run the sync again; it plans anew.")
    advice = "Correct what ConnectWise names, then run the sync again."
    if row.state is ChangeState.UNCLEAR:
        advice = "The next run reads in ConnectWise what really happened, and goes on from there."
    return Problem(f"{what}: {row.error or 'it failed without a word'}", advice)


def _left_out(row: models.Change) -> bool:
    return row.state is ChangeState.SKIPPED and (row.error or "").startswith(_BY_A_PERSON)


def _decided(row: models.Change) -> Problem:
    return Problem(
        f"{row.reason}: {row.error}", "The next run plans it again if usage still asks for it."
    )


def _waiting(row: models.Change) -> Problem:
    return Problem(
        f"{row.reason}: {row.held}", "Look at the change in the run, then approve or dismiss it."
    )


def _changes_of(session: Session, run_id: int) -> dict[str, list[models.Change]]:
    """The changes of a run by every tenant whose usage they stand for."""
    found: defaultdict[str, list[models.Change]] = defaultdict(list)
    for row in session.scalars(sa.select(models.Change).where(models.Change.run_id == run_id)):
        tenants = {source[0] for source in row.sources} | {row.tenant_id}
        for tenant_id in tenants - {None}:
            found[str(tenant_id)].append(row)
    return found


def _findings_of(session: Session, run_id: int) -> dict[str, list[models.Finding]]:
    found: defaultdict[str, list[models.Finding]] = defaultdict(list)
    for row in session.scalars(sa.select(models.Finding).where(models.Finding.run_id == run_id)):
        found[row.subject].append(row)
    return found


def _tenants_with_usage(session: Session, run: models.SyncRun) -> frozenset[str]:
    report = session.get(models.UsageReport, run.report_id) if run.report_id else None
    return frozenset(report.tenant_ids if report else ())
