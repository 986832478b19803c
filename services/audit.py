"""The audit: who did what, when, before and after. It is only ever added to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

import models


def record(
    session: Session,
    *,
    at: dt.datetime,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    run_id: int | None = None,
) -> None:
    """Add one event within the caller's transaction, so that neither stands without the other."""
    session.add(
        models.AuditEvent(
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
            run_id=run_id,
        )
    )
