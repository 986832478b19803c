"""The first run in Chromium: by mouse, by keyboard alone, without JavaScript, and its looks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Locator, Page, expect

from sandbox import Fault, Sandbox
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site, Visit
from tests.web.first_run import ACCOUNT, hosts, settle, values, without_users

Serve = Callable[[Flask], Site]
MOST_CLICKS, MOST_SECONDS = 30, 60


@pytest.fixture
def fresh(make: Callable[..., Flask], serve: Serve, sandbox: Sandbox) -> Iterator[Site]:
    """An installation that was started for the first time."""
    site = serve(without_users(make(full=False, vendors=False, **hosts(sandbox))))
    yield site
    settle(site.app)


@dataclass
class Hand:
    """Clicks, and counts them; typing into a field takes one click to get there."""

    page: Page
    clicks: int = 0

    def press(self, name: str | re.Pattern[str], role: Any = "button") -> None:
        self.clicks += 1
        self.page.get_by_role(role, name=name).click()

    def type(self, label: str, text: str) -> None:
        self.clicks += 1
        self.page.get_by_label(label, exact=True).click()
        self.page.keyboard.insert_text(text)

    def tick(self, box: Locator) -> None:
        self.clicks += 1
        box.click()


def heading(page: Page, text: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(text)


def type_account(hand: Hand) -> None:
    hand.type("Set-up code", ACCOUNT["code"])
    hand.type("Name", ACCOUNT["name"])
    hand.type("Password", ACCOUNT["password"])
    hand.type("The same password again", ACCOUNT["again"])
    hand.press("Make the account and go on")


LABELS = {
    "sophos_client_id": "Client id",
    "sophos_client_secret": "Client secret",
    "connectwise_site": "Site",
    "connectwise_company_id": "Company id",
    "connectwise_client_id": "Client id",
    "connectwise_public_key": "Public key",
    "connectwise_private_key": "Private key",
}


def type_vendor(hand: Hand, sandbox: Sandbox, vendor: str) -> None:
    for name, value in values(sandbox, vendor).items():
        hand.type(LABELS[name], value)
    hand.press("Save and test")
    expect(hand.page.get_by_text("all good")).to_be_visible(timeout=20_000)


def test_the_whole_way_by_mouse(
    visit: Visit, fresh: Site, sandbox: Sandbox, record_property: Callable[[str, object], None]
) -> None:
    page = visit(None, site=fresh)
    hand, started = Hand(page), time.monotonic()
    page.goto("/")
    type_account(hand)
    heading(page, "Connect Sophos")
    type_vendor(hand, sandbox, "sophos")
    hand.press("Next", "link")
    type_vendor(hand, sandbox, "connectwise")
    hand.press("Next", "link")
    hand.press("Save and go on")
    heading(page, "Products")
    expect(page.get_by_role("heading", name=re.compile("suggestion"))).to_be_visible(timeout=20_000)
    for box in page.get_by_role("checkbox").all()[:4]:
        if not box.is_checked():
            hand.tick(box)
    hand.press("Accept and switch sync on")
    expect(page.get_by_text(re.compile(r"^\d+ mapped\.$"))).to_be_visible()
    hand.press("Next", "link")
    heading(page, "Customers")
    hand.press("Accept and switch sync on")
    hand.press("Next", "link")
    heading(page, "Preview")
    hand.press("Make a preview")
    expect(page.get_by_text("planned only")).to_be_visible(timeout=20_000)
    hand.press("Finish the set-up")
    heading(page, "Overview")
    expect(page.get_by_text("Set-up:")).to_have_count(0)
    seconds = time.monotonic() - started
    record_property("clicks", hand.clicks)
    record_property("seconds", round(seconds, 1))
    assert hand.clicks <= MOST_CLICKS
    assert seconds <= MOST_SECONDS


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the focus is there; it must come, and be visible."""
    for _ in range(80):
        if target.evaluate("e => e === document.activeElement"):
            expect(target).to_be_in_viewport()
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"the focus never comes to {target}")


def typed(page: Page, label: str, text: str) -> None:
    tab_to(page, page.get_by_label(label, exact=True))
    page.keyboard.insert_text(text)


def enter(page: Page, name: str | re.Pattern[str], role: Any = "button") -> None:
    tab_to(page, page.get_by_role(role, name=name))
    page.keyboard.press("Enter")


def test_the_whole_way_by_keyboard_alone(visit: Visit, fresh: Site, sandbox: Sandbox) -> None:
    page = visit(None, site=fresh)
    page.goto("/")
    for label, name in (
        ("Set-up code", "code"),
        ("Name", "name"),
        ("Password", "password"),
        ("The same password again", "again"),
    ):
        typed(page, label, ACCOUNT[name])
    page.keyboard.press("Enter")
    for vendor, title in (("sophos", "Connect Sophos"), ("connectwise", "Connect ConnectWise")):
        heading(page, title)
        form = page.get_by_role("form").or_(page.locator("form", has_text="Save and test"))
        for field in form.locator("input:not([type=hidden])").all():
            tab_to(page, field)
            page.keyboard.insert_text(values(sandbox, vendor)[field.get_attribute("name") or ""])
        page.keyboard.press("Enter")
        expect(page.get_by_text("all good")).to_be_visible(timeout=20_000)
        enter(page, "Next", "link")
    heading(page, "Default product")
    enter(page, "Save and go on")
    heading(page, "Products")
    expect(page.get_by_role("heading", name=re.compile("suggestion"))).to_be_visible(timeout=20_000)
    box = page.get_by_role("checkbox").first
    tab_to(page, box)
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    enter(page, "Accept and switch sync on")
    expect(page.get_by_text("1 mapped.")).to_be_visible()
    enter(page, "Next", "link")
    heading(page, "Customers")
    enter(page, "Accept and switch sync on")
    expect(page.get_by_text(re.compile(r"^\d+ mapped\.$"))).to_be_visible()
    enter(page, "Next", "link")
    enter(page, "Make a preview")
    expect(page.get_by_text("planned only")).to_be_visible(timeout=20_000)
    enter(page, "Finish the set-up")
    heading(page, "Overview")


def test_every_step_is_accessible_and_fits(
    visit: Visit, fresh: Site, sandbox: Sandbox, look: dict[str, Any]
) -> None:
    page = visit(None, site=fresh, **look)
    hand = Hand(page)
    found: list[str] = []

    def judge(where: str, title: str) -> None:
        heading(page, title)
        page.wait_for_load_state()
        found.extend(f"{where}: {line}" for line in axe(page))
        found.extend([f"{where} is {sideways(page)} pixels too wide"] if sideways(page) else [])

    page.goto("/")
    judge("administrator", "Welcome to Tallybridge")
    hand.press("Make the account and go on")
    judge("administrator, refused", "Welcome to Tallybridge")
    type_account(hand)
    judge("sophos", "Connect Sophos")
    type_vendor(hand, sandbox, "sophos")
    judge("sophos, tested", "Connect Sophos")
    hand.press("Next", "link")
    type_vendor(hand, sandbox, "connectwise")
    hand.press("Next", "link")
    judge("default product", "Default product")
    hand.press("Save and go on")
    expect(page.get_by_role("heading", name=re.compile("suggestion"))).to_be_visible(timeout=20_000)
    judge("products", "Products")
    hand.press("Next", "link") if page.get_by_role("link", name="Next").count() else hand.press(
        "Skip for now", "link"
    )
    judge("customers", "Customers")
    hand.press("Skip for now", "link")
    judge("preview, empty", "Preview")
    hand.press("Make a preview")
    expect(page.get_by_text("planned only")).to_be_visible(timeout=20_000)
    judge("preview", "Preview")
    page.goto("/")
    judge("overview", "Overview")
    assert not found, "\n".join(found)


def test_a_failed_test_is_told_in_the_step(visit: Visit, fresh: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("unauthorized", "sophos", times=None))
    page = visit(None, site=fresh)
    hand = Hand(page)
    page.goto("/")
    type_account(hand)
    for name, value in values(sandbox, "sophos").items():
        hand.type(LABELS[name], value)
    hand.press("Save and test")
    expect(page.get_by_text("1 of 1 failed")).to_be_visible(timeout=20_000)
    heading(page, "Connect Sophos")
    expect(page.get_by_role("link", name="Skip for now")).to_be_visible()
    assert not axe(page)
    sandbox.faults.clear()
    hand.press("Test connection")
    expect(page.get_by_text("all good")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("link", name="Next")).to_be_visible()
    steps = page.get_by_role("list", name="Steps of the set-up")
    expect(steps.get_by_role("img", name="Done:")).to_have_count(2)


def test_left_and_taken_up_again_from_another_page(
    visit: Visit, fresh: Site, sandbox: Sandbox
) -> None:
    page = visit(None, site=fresh)
    hand = Hand(page)
    page.goto("/")
    type_account(hand)
    hand.press("Leave, and go on later", "link")
    expect(page.get_by_text("Set-up: 1 of 7 done")).to_be_visible()
    page.get_by_role("link", name="Customers").first.click()
    hand.press("Back to the set-up", "link")
    heading(page, "Connect Sophos")
    hand.press("Skip for now", "link")
    heading(page, "Connect ConnectWise")
    hand.press("Back", "link")
    heading(page, "Connect Sophos")


def test_without_javascript(visit: Visit, fresh: Site, sandbox: Sandbox) -> None:
    page = visit(None, site=fresh, javascript=False)
    hand = Hand(page)
    page.goto("/")
    type_account(hand)
    for name, value in values(sandbox, "sophos").items():
        hand.type(LABELS[name], value)
    hand.press("Save and test")
    settle(fresh.app)
    hand.press("Test connection")
    expect(page.get_by_text("all good")).to_be_visible(timeout=20_000)
    hand.press("Back to the set-up", "link")
    heading(page, "Connect ConnectWise")
