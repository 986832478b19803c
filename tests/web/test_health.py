"""/healthz: what a container platform asks, without a name and without a password."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from models import RunState
from services.monitoring import health
from services.monitoring.health import DEAD_AFTER, HEARTBEAT, HealthChecks
from services.settings import Schedule, load_settings, store_settings
from tests.databases import sqlite_only
from tests.web.client import Client
from tests.web.world import Clock, clock_of, installation_of

Make = Callable[..., Flask]


@pytest.fixture(autouse=True)
def fresh(app: Flask) -> None:
    """Every question is looked into."""
    app.extensions["health"]._keep_for = 0


def asked(app: Flask) -> tuple[int, dict[str, Any]]:
    answer = app.test_client().get("/healthz")
    assert answer.mimetype == "application/json"
    document: dict[str, Any] = answer.get_json()
    assert (document["status"] == "ok") is (answer.status_code == 200) is not document["problems"]
    return answer.status_code, document


def beat(app: Flask, **ago: float) -> None:
    """The scheduler's sign of life, so long ago."""
    here = installation_of(app)
    at = here.now() - dt.timedelta(**ago)
    with here.session() as session, session.begin():
        session.merge(models.Marker(name=HEARTBEAT, at=at))


def started_long_ago(app: Flask) -> None:
    app.extensions["health"]._started -= DEAD_AFTER.total_seconds() + 1


# --- good ---------------------------------------------------------------------------------------


def test_everything_is_told_in_one_document(app: Flask) -> None:
    beat(app, seconds=40)
    status, document = asked(app)
    assert (status, document["database"], document["schema"]) == (200, "ok", "ok")
    assert document["version"] == "0.1.0"
    assert document["scheduler"]["state"] == "running"
    assert document["scheduler"]["age_seconds"] == 40
    assert document["last_good_run"] == {"at": "2026-11-26T12:00:00Z", "age_seconds": 0}


def test_a_run_long_ago_is_told_and_no_failure(app: Flask, clock: Clock) -> None:
    clock.forward(days=400)
    beat(app)
    status, document = asked(app)
    assert (status, document["last_good_run"]["age_seconds"]) == (200, 400 * 86_400)


def test_without_any_run_there_is_no_instant(make: Make) -> None:
    _, document = asked(make(full=False))
    assert document["last_good_run"] == {"at": None, "age_seconds": None}


def test_it_is_not_kept_and_has_no_cookie(anonymous: Client) -> None:
    answer = anonymous.get("/healthz")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers
    assert anonymous.head("/healthz").status_code == 200


def test_it_answers_under_any_host_and_nothing_else_does(make: Make) -> None:
    client = make(TRUSTED_HOSTS="billing.example").test_client()
    here = "http://127.0.0.1:8000"
    assert client.get("/healthz", base_url=here).status_code == 200
    assert client.head("/healthz", base_url=here).status_code == 200
    assert client.get("/metrics", base_url=here).status_code == 400
    assert client.get("/healthz/", base_url=here).status_code == 400
    assert client.post("/healthz", base_url=here, csrf=False).status_code == 400


# --- bad ----------------------------------------------------------------------------------------


@sqlite_only
def test_a_locked_database_is_told_after_two_seconds(app: Flask) -> None:
    file = installation_of(app).engine.url.database
    app.extensions["tallybridge"].engine.dispose()
    with closing(sqlite3.connect(str(file), isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = DELETE")  # in WAL nobody can lock readers out
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        status, document = asked(app)
        took = time.monotonic() - began
        other.execute("ROLLBACK")
    assert (status, document["database"]) == (503, "unusable")
    assert 1.5 < took < 3.5


@sqlite_only
def test_a_database_that_is_gone_is_not_made_anew(app: Flask) -> None:
    file = Path(str(installation_of(app).engine.url.database))
    app.extensions["tallybridge"].engine.dispose()
    file.rename(file.with_suffix(".away"))
    status, document = asked(app)
    assert (status, document["database"]) == (503, "unusable")
    assert not file.exists()


@pytest.mark.parametrize("revision", ["9999", "0001", None])
def test_a_schema_of_another_version(app: Flask, revision: str | None) -> None:
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.text("DELETE FROM alembic_version"))
        if revision:
            session.execute(sa.text(f"INSERT INTO alembic_version VALUES ('{revision}')"))
    status, document = asked(app)
    assert (status, document["schema"]) == (503, "foreign")
    assert "another version" in document["problems"][0]


def test_a_full_volume(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LEAST_SPACE", 1 << 62)
    status, document = asked(app)
    assert (status, document["problems"]) == (503, ["The data directory is almost full."])


def test_a_volume_that_takes_nothing(app: Flask, tmp_path: Path) -> None:
    here = installation_of(app)
    app.extensions["health"] = HealthChecks(here.engine, tmp_path / "unmounted")
    status, document = asked(app)
    assert status == 503
    assert "cannot be written" in document["problems"][0]
    assert str(tmp_path) not in str(document)


# --- the scheduler ------------------------------------------------------------------------------


def test_a_scheduler_that_stopped(app: Flask) -> None:
    started_long_ago(app)
    beat(app, minutes=9)
    assert asked(app)[0] == 200
    beat(app, minutes=11)
    status, document = asked(app)
    assert (status, document["scheduler"]["state"]) == (503, "stopped")


def test_a_scheduler_that_never_began(app: Flask) -> None:
    assert asked(app)[1]["scheduler"]["state"] == "starting"
    started_long_ago(app)
    assert asked(app)[0] == 503


def test_after_a_start_an_old_sign_of_life_is_no_failure(app: Flask) -> None:
    beat(app, days=3)
    assert asked(app)[1]["scheduler"]["state"] == "starting"


def test_without_a_schedule_nobody_misses_it(app: Flask) -> None:
    started_long_ago(app)
    with installation_of(app).session() as session, session.begin():
        by_hand = Schedule(when="by_hand")
        store_settings(session, load_settings(session).model_copy(update={"schedule": by_hand}))
    status, document = asked(app)
    assert (status, document["scheduler"]["state"]) == (200, "off")


# --- many ask -----------------------------------------------------------------------------------


def test_an_answer_serves_everybody_for_a_moment(app: Flask) -> None:
    here, clock = installation_of(app), clock_of(app)
    now = [0.0]
    checks = HealthChecks(here.engine, here.config.data_dir, monotonic=lambda: now[0])
    first = checks.health(clock.moment, {})
    assert checks.health(clock.moment, {}) is first
    now[0] = 3
    assert checks.health(clock.moment, {}) is not first


def test_a_failed_run_is_no_good_one(app: Flask) -> None:
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.update(models.SyncRun).values(state=RunState.FAILED))
    assert asked(app)[1]["last_good_run"]["at"] is None
