"""A database that cannot be used just now: a page that says so, and nothing half-done."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import closing
from typing import Any

import pytest
import sqlalchemy as sa

from tests.databases import sqlite_only
from tests.web.client import Client
from tests.web.conftest import Make, sign_in
from tests.web.world import installation_of


@sqlite_only
def test_another_program_holds_the_database(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import services.database

    monkeypatch.setattr(services.database, "BUSY_TIMEOUT_MS", 100)
    app = make()
    admin = sign_in(app, "admin")
    before = installation_of(app).settings()
    page = admin.page("/settings/retention")
    token = {"csrf_token": admin.token(), "seen": page.all("input", name="seen")[0]["value"]}
    with closing(
        sqlite3.connect(str(installation_of(app).engine.url.database), isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        data = {**token, "runs_months": "12", "usage_months": "24", "keep": "14"}
        for htmx in (False, True):
            answer = admin.post("/settings/retention", data=data, csrf=False, htmx=htmx)
            assert answer.status_code == 503
            assert "locked by another program" in answer.text
            assert "Nothing was changed" in answer.text
        assert admin.get("/settings/retention").status_code == 200, "reading goes on"
    assert installation_of(app).settings() == before


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (sqlite3.OperationalError("database or disk is full"), 503, "no room left on the data"),
        (sqlite3.OperationalError("disk I/O error"), 503, "cannot be used: it is full, or it is"),
        (sqlite3.OperationalError("attempt to write a readonly database"), 503, "check the rights"),
        (sqlite3.OperationalError("server closed the connection"), 503, "server closed the conn"),
        (OSError(errno.ENOSPC, "No space left on device"), 503, "The data volume is full"),
        (OSError(errno.ENOENT, "our own fault"), 500, "Something went wrong here"),
        (sqlite3.IntegrityError("our own fault"), 500, "Something went wrong here"),
    ],
)
def test_what_the_page_says(
    admin: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    admin.expects_500 = True
    page = admin.page("/settings/retention")
    assert page

    def failing(*_: Any, **__: Any) -> Any:
        if isinstance(error, sqlite3.Error):
            kind = type(error).__name__
            raise getattr(sa.exc, kind)("INSERT", {}, error)
        raise error

    monkeypatch.setattr("blueprints.settings.change_settings", failing)
    answer = admin.fill("/settings/retention", {"keep": "3"}, button="Save")
    assert answer.status_code == status
    assert words in answer.text
    assert "INSERT" not in answer.text
