"""The audit: everything that was done, found again by who, what, subject, day and run."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from services import audit, audit_pages
from tests.web.client import Client
from tests.web.dom import Element
from tests.web.world import NOW, installation_of

HOSTILE = '=HYPERLINK("http://x")<b>"' + "x" * 200


@pytest.fixture
def events(app: Flask) -> None:
    with installation_of(app).session() as session, session.begin():
        for n, actor in enumerate(("ada", "bob")):
            audit.record(
                session,
                at=NOW + dt.timedelta(days=n + 1),
                actor=actor,
                action="settings.change",
                subject=f"setting {n} {HOSTILE}",
                before={f"name{i}": i for i in range(5)},
                after={f"name{i}": i + 1 for i in range(5)},
            )


def _rows(page: Element) -> list[Element]:
    return [row for row in page.all("tr") if row.all("td")]


def _subjects(client: Client, query: str) -> list[str]:
    return [row.all("td")[3].text for row in _rows(client.page(f"/audit{query}"))]


def test_a_viewer_sees_who_did_what_before_and_after(viewer: Client, events: None) -> None:
    page = viewer.page("/audit")
    assert "made an addition" in page.text
    assert "name0: 0" in page.text
    assert "2 more values" in page.text
    assert HOSTILE in page.text
    assert page.all("a", href="/runs/1")


def test_filters_by_person_action_subject_day_and_run(viewer: Client, events: None) -> None:
    assert [s[:9] for s in _subjects(viewer, "?actor=bob")] == ["setting 1"]
    assert len(_subjects(viewer, "?action=settings.change")) == 2
    assert len(_subjects(viewer, "?subject=SETTING+0")) == 1
    assert not _subjects(viewer, "?subject=%25%25")
    assert len(_subjects(viewer, "?since=2026-11-27&until=2026-11-27")) == 1
    assert len(_subjects(viewer, "?since=2026-11-27")) == 2
    assert len(_subjects(viewer, "?run=1")) == 50, "a page"
    assert "Nothing fits" in viewer.page("/audit?actor=nobody").text


def test_days_are_those_of_the_billing_time_zone(viewer: Client, app: Flask) -> None:
    with installation_of(app).session() as session, session.begin():
        at = dt.datetime(2026, 12, 1, 23, 30, tzinfo=dt.UTC)
        audit.record(session, at=at, actor="ada", action="a", subject="late")
    assert _subjects(viewer, "?until=2026-12-01&subject=late")
    assert not _subjects(viewer, "?since=2026-12-02&subject=late")


def test_a_day_that_is_none_is_said_and_passed_over(viewer: Client) -> None:
    page = viewer.page("/audit?since=yesterday")
    assert "yesterday is not a day" in page.text
    assert page.all("tbody")


def test_pages_keep_the_filters(viewer: Client) -> None:
    page = viewer.page("/audit?action=sync.create")
    following = [a["href"] for a in page.all("a") if a.get("rel") == "next"]
    assert following == ["/audit?page=2&action=sync.create"] or "action=sync.create" in following[0]
    assert "51–" in viewer.page(following[0]).text


def test_the_first_entry_is_who_signed_in(empty_admin: Client) -> None:
    (row,) = _rows(empty_admin.page("/audit"))
    assert "admin signed in user admin way: password address: 127.0.0.1" in row.text


def test_guesses_that_were_stopped_stand_there_in_words(
    app: Flask, admin: Client, anonymous: Client
) -> None:
    for _ in range(12):
        anonymous.fill("/sign-in", {"name": "admin", "password": "not the right one"})
    (row,) = _rows(admin.page("/audit?action=sign_in.locked"))
    assert "Tallybridge stopped guesses user admin" in row.text
    assert "refused: from 127.0.0.1" in row.text
    log = (installation_of(app).config.data_dir / "tallybridge.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines()]
    failed = [line for line in lines if line["event"] == "sign-in failed"]
    assert [(line["account"], line["address"]) for line in failed] == [("admin", "127.0.0.1")] * 10
    refused = [line for line in lines if line["event"] == "too many failed attempts"]
    assert [line["address"] for line in refused] == ["127.0.0.1"] * 2
    assert "not the right one" not in log


def test_nothing_can_be_changed(admin: Client) -> None:
    assert admin.post("/audit").status_code == 405
    assert admin.delete("/audit").status_code == 405


def test_every_action_has_words() -> None:
    """What is written into the audit stands in the code as a word with a full stop in it."""
    root = Path(__file__).resolve().parents[2]
    source = "".join(f.read_text(encoding="utf-8") for f in (root / "services").rglob("*.py"))
    subjects = "catalog_item|change|config|connection|customer|directory|keys|notification"
    subjects += "|product|serial|settings|setup|token|user"
    written = set(re.findall(rf'"((?:{subjects})\.[a-z_]+)"', source))
    assert len(written) > 20
    assert written <= set(audit_pages.ACTIONS)
