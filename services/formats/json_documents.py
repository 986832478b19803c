"""What the JSON API gives out, as plain values; `json_shapes.py` beside it says their shape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.formats.config_file import export_document
from services.installation import Installation
from services.monitoring import findings, overview
from services.runs import reconciliation as compared
from services.runs import reconciliation_pages as compared_pages
from services.runs import run_pages
from services.runs.reconciliation import Line
from services.runs.run_pages import RunLine
from services.scheduling.schedule import in_words
from services.sync.reconcile import Side
from services.sync.words import number

Document = dict[str, Any]
T = TypeVar("T")


def run_list(
    session: Session,
    *,
    state: RunState | None,
    month: str | None,
    page: int,
    size: int,
    now: dt.datetime,
) -> Document:
    """Some of the runs, the newest first; a page beyond the last one is empty."""
    query = sa.select(models.SyncRun).order_by(models.SyncRun.id.desc())
    if state is not None:
        query = query.where(models.SyncRun.state == state)
    if month is not None:
        query = query.where(models.SyncRun.month == month)
    show = lambda runs: [_run_line(line) for line in run_pages.lines_of(session, runs, now)]  # noqa: E731
    return _paged(session, query, show, page=page, size=size)


def product_list(session: Session, *, page: int, size: int) -> Document:
    """Some of the Sophos products, by code."""
    query = sa.select(models.ProductMapping).order_by(models.ProductMapping.product_key)
    return _paged(session, query, lambda rows: [_product(r) for r in rows], page=page, size=size)


def tenant_list(session: Session, *, page: int, size: int) -> Document:
    """Some of the customers, by name."""
    mapping = models.TenantMapping
    query = sa.select(mapping).order_by(mapping.tenant_name, mapping.tenant_id)
    return _paged(session, query, lambda rows: [_tenant(r) for r in rows], page=page, size=size)


def mappings(session: Session) -> Document:
    """All mappings in the shape that an import takes. Settings are not in it."""
    whole = export_document(session)
    return {"products": whole["products"], "tenants": whole["tenants"]}


def open_findings(session: Session) -> Document:
    """Everything that a person must look at."""
    found = findings.open_findings(session)
    return {
        "run": found.run.id if found.run else None,
        "open": found.open,
        "findings": [_finding(group, each) for group in found.groups for each in group.findings],
    }


def reconciliation(
    session: Session, *, month: str | None, show: str, page: int, size: int
) -> Document:
    """The newest comparison, of a month if asked: totals of all of it, and some of its lines."""
    comparison = compared.newest(session, month)
    found = compared.lines(session, comparison) if comparison else []
    lines = compared_pages.ordered(found, compared_pages.View(show=show, sort="customer"))
    totals = compared_pages.totals(found)
    part = lines[(page - 1) * size : page * size]
    return {
        "run": comparison.run_id if comparison else None,
        "month": comparison.month if comparison else None,
        "read_at": _instant(comparison.read_at) if comparison else None,
        "not_billed": _side(totals.not_billed),
        "overbilled": _side(totals.overbilled),
        "agree": totals.agree,
        "items": [_compared(line) for line in part],
        "page": page,
        "size": size,
        "pages": max(1, -(-len(lines) // size)),
        "total": len(lines),
    }


def status(installation: Installation, session: Session) -> Document:
    """Is it healthy, at a glance; no vendor is called."""
    settings = installation.settings()
    running, last = run_pages.running_run(session), overview.last_run(session)
    lines = run_pages.lines_of(session, [last] if last else [], installation.now())
    return {
        "read_only": settings.read_only,
        "schedule": in_words(settings.schedule),
        "timezone": settings.timezone,
        "connections": [_connection(each) for each in overview.connections(installation, session)],
        "running": running.id if running else None,
        "last_run": _run_line(lines[0]) if lines else None,
        "open_findings": findings.open_findings(session).open,
    }


def _paged(
    session: Session,
    query: sa.Select[T],
    show: Callable[[Sequence[T]], list[Document]],
    *,
    page: int,
    size: int,
) -> Document:
    """A page that does not exist is empty: whoever reads page after page comes to an end."""
    counted = sa.select(sa.func.count()).select_from(query.order_by(None).subquery())
    total = session.scalar(counted) or 0
    rows = session.scalars(query.limit(size).offset((page - 1) * size)).all()
    pages = max(1, -(-total // size))
    return {"items": show(rows), "page": page, "size": size, "pages": pages, "total": total}


def _run_line(line: RunLine) -> Document:
    run = line.run
    return {
        "run": run.id,
        "month": run.month,
        "state": run.state.value,
        "message": run.message,
        "trigger": run.trigger,
        "actor": run.actor,
        "undo_of": run.undo_of_id,
        "started_at": _instant(run.started_at),
        "ended_at": _instant(run.ended_at),
        "changes": {
            "planned": line.counts.get(ChangeState.PLANNED, 0),
            "held": line.held,
            "applied": line.applied,
            "skipped": line.skipped,
            "failed": line.failed,
        },
        "findings": line.findings,
    }


def _finding(group: findings.Group, each: findings.OpenFinding) -> Document:
    return {
        "kind": each.kind,
        "severe": group.kind.severe,
        "subject": each.subject,
        "message": each.message,
        "advice": each.advice,
        "tenant_id": each.tenant_id,
        "product": each.product_key,
        "change_id": each.change_id,
        "run": each.run_id,
        "serial": each.serial,
        "count": each.count,
        "settled": each.settled,
    }


def _side(side: Side) -> Document:
    return {
        "lines": side.rows,
        "quantity": number(side.seats),
        "money": number(side.money),
        "unpriced_lines": side.unpriced,
        "unpriced_quantity": number(side.unpriced_seats),
    }


def _compared(line: Line) -> Document:
    return {
        "tenant_ids": list(line.tenant_ids),
        "customer": line.customer or None,
        "serial": line.serial,
        "products": list(line.product_keys),
        "agreement_id": line.agreement_id,
        "catalog_item": line.item,
        "catalog_item_id": line.item_id,
        "sophos": number(line.sophos),
        "connectwise": number(line.connectwise),
        "difference": number(line.difference),
        "unit_price": None if line.unit_price is None else number(line.unit_price),
        "money": None if line.money is None else number(line.money),
        "verdict": line.verdict.value,
        "obstacles": [obstacle.value for obstacle in line.obstacles],
        "why": compared_pages.why(line),
    }


def _product(row: models.ProductMapping) -> Document:
    return {
        "code": row.product_key,
        "name": row.product_name,
        "group": row.product_group,
        "catalog_item": row.catalog_item_identifier,
        "catalog_item_id": row.catalog_item_id,
        "sync": row.sync,
        "last_month": row.last_month,
    }


def _tenant(row: models.TenantMapping) -> Document:
    return {
        "id": row.tenant_id,
        "name": row.tenant_name,
        "company": row.company_identifier,
        "company_id": row.company_id,
        "agreement": row.agreement_id,
        "agreement_name": row.agreement_name,
        "agreements": {each.product_key: each.agreement_id for each in row.overrides},
        "sync": row.sync,
    }


def _connection(each: overview.Connection) -> Document:
    return {
        "vendor": each.vendor,
        "configured": each.configured,
        "healthy": each.healthy,
        "good_at": _instant(each.good_at),
        "problem": each.problem or each.error,
    }


def _instant(value: dt.datetime | None) -> str | None:
    return None if value is None else value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
