"""What pages say about the schedule: the next run, how the last went, and that nobody is there."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Flask

import models
from models import SlotState
from services.scheduling.slots import HEARTBEAT
from tests.web.client import Client
from tests.web.world import NOW, installation_of

PAGES = ("/", "/runs", "/settings", "/settings/schedule")
HOUR = dt.timedelta(hours=1)


def beat(app: Flask, at: dt.datetime = NOW) -> None:
    add(app, models.Marker(name=HEARTBEAT, at=at))


def slot(app: Flask, state: SlotState, **values: Any) -> None:
    due = NOW - 6 * HOUR
    add(app, models.ScheduledSlot(key="x", due_at=due, started_at=due, state=state, **values))


def add(app: Flask, row: object) -> None:
    with installation_of(app).session() as session, session.begin():
        session.add(row)


def text(client: Client, path: str) -> str:
    return client.page(path).one("main").text


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_the_same_next_run(app: Flask, viewer: Client, path: str) -> None:
    beat(app)
    assert "Fri 27 Nov 2026 06:00 (UTC)" in text(viewer, path)
    assert "not running" not in text(viewer, path)


@pytest.mark.parametrize("path", PAGES)
def test_every_page_says_when_nobody_is_there(app: Flask, viewer: Client, path: str) -> None:
    beat(app, NOW - HOUR)
    assert "not running" in text(viewer, path)


def test_by_hand_needs_nobody(app: Flask, viewer: Client) -> None:
    add(app, models.Setting(name="schedule", value={"value": {"when": "by_hand"}}))
    for path in ("/", "/runs", "/settings/schedule"):
        assert "Only by hand, with Sync now" in text(viewer, path)
        assert "not running" not in text(viewer, path)


@pytest.mark.parametrize("path", ["/", "/runs", "/settings/schedule"])
def test_what_waits_says_why_and_until_when(app: Flask, viewer: Client, path: str) -> None:
    slot(app, SlotState.WAITING, attempts=2, retry_at=NOW + HOUR, message="No report yet.")
    shown = text(viewer, path)
    assert "waiting Thu 26 Nov 2026 06:00 (UTC)" in shown
    assert "No report yet." in shown
    assert "Next try: Thu 26 Nov 2026 13:00 (UTC)" in shown


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (SlotState.RUNNING, "running"),
        (SlotState.DONE, "done"),
        (SlotState.FAILED, "failed"),
        (SlotState.MISSED, "missed"),
    ],
)
def test_how_the_last_one_went(app: Flask, viewer: Client, state: SlotState, word: str) -> None:
    slot(app, state, attempts=1, run_id=1, message="<b>of a vendor</b>")
    page = viewer.page("/")
    assert f"{word} Thu 26 Nov 2026 06:00 (UTC)" in page.one("main").text
    assert "<b>of a vendor</b>" in page.one("main").text
    assert "/runs/1" in [a.get("href") for a in page.all("a")]


def test_a_claimed_slot_that_has_not_begun(app: Flask, viewer: Client) -> None:
    slot(app, SlotState.WAITING, retry_at=NOW)
    assert "about to start" in text(viewer, "/")
