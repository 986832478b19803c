"""Sophos' reports as we keep them: what was read, which tenants and products it showed."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.sync.model import FindingKind, Month, Tenant, UsageLine

_SAY_NOTHING = (RunState.PLANNED, RunState.RUNNING)
_DECIDES = (
    "settings.", "product.", "customer.", "serial.", "config.", "connection.", "backup.restore"
)  # fmt: skip
"""Beginnings of what the audit calls changes after which the same report is planned otherwise."""
_MENDED_ELSEWHERE = (
    FindingKind.AGREEMENT_UNUSABLE,
    FindingKind.AMBIGUOUS_ADDITION,
    FindingKind.CATALOG_ITEM_UNUSABLE,
    FindingKind.DEFAULT_PRODUCT_CONFLICT,
    FindingKind.UNASSIGNED_LINE,
)
"""Usage that was not billed; whether a vendor's data let it by now, only another run can tell."""


def store_report(
    session: Session, month: Month, lines: Sequence[UsageLine], *, now: dt.datetime
) -> models.UsageReport:
    """Keep a complete report; the one kept last is returned again when nothing changed in it."""
    fingerprint = _fingerprint(lines)
    latest = session.scalar(
        sa.select(models.UsageReport)
        .where(models.UsageReport.month == str(month))
        .order_by(models.UsageReport.id.desc())
        .limit(1)
    )
    if latest is not None and latest.fingerprint == fingerprint:
        return latest
    report = models.UsageReport(
        month=str(month), fingerprint=fingerprint, read_at=now, tenant_ids=[]
    )
    session.add(report)
    session.flush()
    if lines:
        session.execute(sa.insert(models.UsageLine), [_row(report.id, line) for line in lines])
    return report


def trusted_tenants(session: Session, month: Month) -> frozenset[str]:
    """The tenants of the last trusted report of this month, else of the month before."""
    for candidate in (month, month.previous):
        ids = session.scalar(
            sa.select(models.UsageReport.tenant_ids)
            .where(models.UsageReport.month == str(candidate), models.UsageReport.trusted)
            .order_by(models.UsageReport.id.desc())
            .limit(1)
        )
        if ids is not None:
            return frozenset(ids)
    return frozenset()


def newest_written_month(session: Session) -> Month | None:
    """The newest month that was brought into ConnectWise, or found to be there already."""
    applied = sa.exists().where(
        models.Change.run_id == models.SyncRun.id, models.Change.state == ChangeState.APPLIED
    )
    newest = session.scalar(
        sa.select(sa.func.max(models.SyncRun.month)).where(
            models.SyncRun.undo_of_id.is_(None),
            sa.or_(models.SyncRun.state == RunState.SUCCEEDED, applied),
        )
    )
    return Month.parse(newest) if newest else None


def restored_unseen(session: Session) -> bool:
    """Whether a backup was put back, and no run since was approved by a person or had no changes.

    The database then remembers less than stands in ConnectWise.
    """
    run, change, event = models.SyncRun, models.Change, models.AuditEvent
    at = session.scalar(sa.select(sa.func.max(event.at)).where(event.action == "backup.restore"))
    if at is None:
        return False
    of_run = change.run_id == run.id
    seen = sa.or_(
        sa.exists().where(of_run, change.approved_by.is_not(None)), ~sa.exists().where(of_run)
    )
    since = sa.exists().where(
        run.started_at >= at, run.state == RunState.SUCCEEDED, run.undo_of_id.is_(None), seen
    )
    return not session.scalar(sa.select(since))


def written_already(session: Session, month: Month, lines: Sequence[UsageLine]) -> int | None:
    """The run after which this very report asks for nothing more.

    A report differs from another of its month when any line's customer, serial, product, order or
    quantity does. Previews and ways back say nothing about what was written. A run that left
    something out which nobody dismissed has not brought all of it, nor has one that could not bill
    some of it; and what was mapped or set since it began is not in it.
    """
    run, report = models.SyncRun, models.UsageReport
    newest = session.execute(
        sa.select(run.id, run.state, run.started_at, report.fingerprint)
        .join(report, report.id == run.report_id, isouter=True)
        .where(run.month == str(month), run.undo_of_id.is_(None), run.state.not_in(_SAY_NOTHING))
        .order_by(run.id.desc())
        .limit(1)
    ).first()
    if newest is None or newest.state is not RunState.SUCCEEDED:
        return None
    if newest.fingerprint != _fingerprint(lines) or _more_to_do(session, newest.id):
        return None
    return None if decided_otherwise(session, newest.started_at) else newest.id


def _more_to_do(session: Session, run_id: int) -> bool:
    """Whether a run that succeeded left something out."""
    skipped = sa.exists().where(
        models.Change.run_id == run_id,
        models.Change.state == ChangeState.SKIPPED,
        models.Change.error.not_like("Dismissed by %"),
    )
    not_billed = sa.exists().where(
        models.Finding.run_id == run_id, models.Finding.kind.in_(_MENDED_ELSEWHERE)
    )
    return bool(session.scalar(sa.select(sa.or_(skipped, not_billed))))


def decided_otherwise(session: Session, since: dt.datetime) -> bool:
    """Whether mappings, settings or connections were changed; the audit knows of every way."""
    event = models.AuditEvent
    changed = sa.exists().where(
        event.at >= since,
        sa.or_(*(event.action.startswith(name, autoescape=True) for name in _DECIDES)),
    )
    return bool(session.scalar(sa.select(changed)))


def register_tenants(session: Session, tenants: Iterable[Tenant], *, now: dt.datetime) -> None:
    """Make a row for every tenant seen first, and keep the newest names. Sync starts off."""
    known = {row.tenant_id: row for row in session.scalars(sa.select(models.TenantMapping))}
    for tenant in tenants:
        row = known.get(tenant.id)
        if row is None:
            row = models.TenantMapping(tenant_id=tenant.id, first_seen_at=now, tenant_name="")
            session.add(row)
        row.tenant_name = tenant.name
        row.billing_type = tenant.billing_type
        row.status = tenant.status


def register_products(
    session: Session,
    month: Month,
    lines: Iterable[UsageLine],
    *,
    sync_new: bool,
    now: dt.datetime,
) -> None:
    """Make a row for every Sophos product seen first, and keep the newest name of each.

    The code is the product's identity, names change: older ones are remembered. An older month
    never brings an older name back.
    """
    known = {row.product_key: row for row in session.scalars(sa.select(models.ProductMapping))}
    newest: dict[str, UsageLine] = {}
    for line in sorted(lines, key=lambda each: (each.product_key, each.product_name)):
        newest.setdefault(line.product_key, line)
    for key, line in newest.items():
        row = known.get(key)
        if row is None:
            session.add(
                models.ProductMapping(
                    product_key=key,
                    product_name=line.product_name,
                    product_group=line.product_group,
                    earlier_names=[],
                    last_month=str(month),
                    sync=sync_new,
                    first_seen_at=now,
                )
            )
        elif row.last_month <= str(month):
            row.last_month = str(month)
            _rename(row, line.product_name)


def _rename(row: models.ProductMapping, name: str) -> None:
    if name != row.product_name:
        row.earlier_names = [*(n for n in row.earlier_names if n != name), row.product_name]
        row.product_name = name


def _fingerprint(lines: Iterable[UsageLine]) -> str:
    rows = sorted(
        json.dumps([line.tenant_id, line.serial, line.product_key, line.order, str(line.quantity)])
        for line in lines
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _row(report_id: int, line: UsageLine) -> dict[str, object]:
    return {
        "report_id": report_id,
        "tenant_id": line.tenant_id,
        "product_key": line.product_key,
        "product_name": line.product_name,
        "quantity": line.quantity,
        "serial": line.serial,
        "account_name": line.account_name,
        "order": line.order,
        "unit_price": line.unit_price,
        "currency": line.currency,
    }
