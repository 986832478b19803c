"""Retention, hurried: a run whose changes are removed as if nothing rested on them any more."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from services.settings import Retention
from services.upkeep import retention


def remove_details(engine: Engine, run_id: int) -> None:
    """Date one run six years back and purge, so that its changes and findings are gone."""
    with Session(engine) as session, session.begin():
        run = session.get_one(models.SyncRun, run_id)
        now = run.started_at
        run.started_at = now - dt.timedelta(days=2200)
        session.add(
            models.SyncRun(
                trigger="t",
                actor="a",
                state=models.RunState.NOT_READY,
                started_at=now,
                ended_at=now,
            )
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "_needed_runs", lambda _session: frozenset())
        done = retention.purge(engine, Retention(runs_months=3, usage_months=13), now=now)
    assert done.runs == 1
    with Session(engine) as session:
        count = sa.select(sa.func.count()).select_from(models.Change)
        assert session.scalar(count.where(models.Change.run_id == run_id)) == 0
