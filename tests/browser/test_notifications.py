"""Notifications by mouse and keyboard: a target is added in a dialog, tested and removed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.services.test_notifications import Receiver

Make = Callable[..., Flask]
PAGE = "/settings/notifications"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def site(make: Make, serve: Callable[[Flask], Site], receiver: Receiver) -> Site:
    return serve(make(ALLOWED_NOTIFICATION_HOSTS=receiver.place))


def test_a_target_is_added_tested_and_removed(
    visit: Callable[..., Page], receiver: Receiver, look: dict[str, Any]
) -> None:
    page = visit("admin", **look)
    page.goto(PAGE)
    assert not axe(page)
    page.get_by_role("link", name="Add a target").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Billing channel")
    dialog.get_by_label("Address").fill("file:///etc/passwd")
    dialog.get_by_role("button", name="Add target").click()
    expect(dialog.get_by_text("those of this machine cannot")).to_be_visible()
    assert not axe(page)
    expect(dialog.get_by_label("Name")).to_have_value("Billing channel")
    dialog.get_by_label("Address").fill(receiver.url)
    dialog.get_by_role("button", name="Add target").click()
    expect(dialog).to_have_count(0)
    row = page.get_by_role("row", name=re.compile("Billing channel"))
    row.get_by_role("button", name="Send a test to Billing channel").click()
    expect(row.get_by_text("sent")).to_be_visible(timeout=15_000)
    receiver.status = 401
    row.get_by_role("button", name="Send a test to Billing channel").click()
    expect(row.get_by_text("401 (Unauthorized)")).to_be_visible(timeout=15_000)
    assert not axe(page)
    assert sideways(page) == 0
    row.get_by_role("link", name="Remove Billing channel").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove target").click()
    expect(page.get_by_text("Nobody is told anything yet")).to_be_visible()
