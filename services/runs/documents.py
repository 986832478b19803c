"""A run as one document: what the command line prints as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session, selectinload

import models
from models import ChangeState, RunState
from services.sync.words import number

_STATES = {ChangeState.APPLYING: "failed", ChangeState.UNCLEAR: "failed"}


def load_run(session: Session, run_id: int) -> models.SyncRun:
    """A run with its changes and findings."""
    return session.get_one(
        models.SyncRun,
        run_id,
        options=[selectinload(models.SyncRun.changes), selectinload(models.SyncRun.findings)],
    )


def run_document(run: models.SyncRun) -> dict[str, Any]:
    """The run with its changes and findings, as product.md lays it down. Quantities are numbers."""
    return {
        "run": run.id,
        "month": run.month,
        "state": run.state.value,
        "message": run.message,
        "changes": [_change(change) for change in run.changes],
        "findings": [_finding(finding) for finding in run.findings],
        "calls": {"sophos": run.sophos_calls, "connectwise": run.connectwise_calls},
    }


def failed(run: models.SyncRun) -> bool:
    """Whether the run failed, in whole or for any change. Held changes are no failure."""
    bad = {RunState.FAILED, RunState.INTERRUPTED, RunState.NOT_READY}
    unsettled = {ChangeState.FAILED, ChangeState.UNCLEAR, ChangeState.APPLYING}
    return run.state in bad or any(change.state in unsettled for change in run.changes)


def why(change: models.Change) -> str:
    """The reason of a change, with the reason for holding it while it waits."""
    if change.state is ChangeState.HELD:
        return f"{change.reason}. Held: {change.held}"
    return change.reason


def _change(change: models.Change) -> dict[str, Any]:
    return {
        "id": change.id,
        "kind": change.kind.value,
        "tenant_id": change.tenant_id,
        "agreement_id": change.agreement_id,
        "addition_id": change.addition_id,
        "catalog_item_id": change.catalog_item_id,
        "product": change.product_key,
        "before": _number(change.before),
        "after": _number(change.after),
        "effective_date": change.effective_date and change.effective_date.isoformat(),
        "cancelled_date": change.cancelled_date and change.cancelled_date.isoformat(),
        "held": change.state is ChangeState.HELD,
        "reason": why(change),
        "state": _STATES.get(change.state, change.state.value),
        "error": change.error,
        "explanation": change.explanation,
    }


def _number(value: Any) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(number(value))


def _finding(finding: models.Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind.value,
        "subject": finding.subject,
        "message": finding.message,
        "advice": finding.advice,
    }
