"""What retention removed is missed by no plan: the same world is planned and written alike."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.runs import sync_runs
from services.settings import Retention
from services.upkeep import retention
from tests.faults.harness import NOW, Installation, Prepared

SHORT = Retention(runs_months=3, usage_months=13)


def years_ago(one: Installation) -> None:
    """All that was done lies six years back, but one run that found all in order."""
    with one.engine.begin() as connection:
        for run_id, at in connection.execute(
            sa.select(models.SyncRun.id, models.SyncRun.started_at)
        ).all():
            connection.execute(
                sa.update(models.SyncRun)
                .where(models.SyncRun.id == run_id)
                .values(started_at=at - dt.timedelta(days=2200))
            )


def planned(
    moment: Prepared, folder: Any, between: Callable[[Installation], None]
) -> tuple[Any, Any]:
    with moment.copy(folder) as one:
        for _ in range(2):
            sync_runs.preview(one.context())
        years_ago(one)
        with Session(one.engine) as session, session.begin():
            session.add(
                models.SyncRun(
                    trigger="t", actor="a", state=models.RunState.NOT_READY, started_at=NOW
                )
            )
        between(one)
        told = sync_runs.preview(one.context())
        with Session(one.engine) as session:
            run = session.get_one(models.SyncRun, told.run_id)
            found = run.fingerprint, sorted((f.kind, f.subject) for f in run.findings)
        result = one.run(approve_all=True)
        one.finish_moves(result)
        one.oracle.check_final(one.state())
        assert one.wrote(one.run) == []
        return found


def test_the_same_plan_comes_out_and_the_same_is_written(
    moments: dict[str, Prepared],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "RUNS_ALWAYS_KEPT", 1)
    removed: list[retention.Purged] = []

    def purge(one: Installation) -> None:
        removed.append(retention.purge(one.engine, SHORT, now=NOW))

    one, other = (tmp_path_factory.mktemp(name) for name in ("kept", "purged"))
    kept = planned(moments["changed"], one, lambda _: None)
    assert planned(moments["changed"], other, purge) == kept
    assert removed[0].runs == 1, "the older preview; the newest one and the first run are needed"
    assert kept[0] is not None
