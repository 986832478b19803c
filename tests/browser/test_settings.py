"""Settings and users as a person goes through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from sandbox import Fault, Sandbox
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.web.world import installation_of

Visit = Callable[..., Page]
Serve = Callable[[Flask], Site]
NEW = "a new long password"


@pytest.fixture
def stored(visit: Visit, serve: Serve, make: Callable[..., Flask]) -> Page:
    """An installation whose connections were typed in by a person."""
    return visit("admin", site=serve(make(stored=True)))


def test_from_settings_to_configure(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Settings").click()
    page.get_by_role("link", name="ConnectWise details").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("ConnectWise details")
    page.get_by_role("link", name="Configure").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Configure usage sync")


def test_the_lines_of_a_test_appear(page: Page, sandbox: Sandbox) -> None:
    sandbox.latency_ms = 150
    try:
        page.goto("/settings/psa")
        page.get_by_role("button", name="Test connection").click()
        expect(page.get_by_text("Asking ConnectWise")).to_be_visible()
        expect(page.get_by_text("9 of 9 answered")).to_be_visible()
    finally:
        sandbox.latency_ms = 0
    expect(page.get_by_role("listitem").filter(has_text="product catalog")).to_be_visible()
    assert not axe(page)


def test_a_failed_test_says_what_to_do(page: Page, sandbox: Sandbox, look: dict[str, Any]) -> None:
    sandbox.faults.add(Fault("forbidden", "connectwise", path="/finance/agreements", times=None))
    page.goto("/settings/psa")
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("2 of 9 failed")).to_be_visible()
    expect(page.get_by_text("The API member needs").first).to_be_visible()
    assert not axe(page)
    assert sideways(page) == 0


def test_a_wrong_site_is_refused_beside_its_field(stored: Page) -> None:
    stored.goto("/settings/psa")
    stored.get_by_label("Site").fill("evil.example")
    stored.get_by_label("Private key").fill("secret")
    stored.get_by_role("button", name="Save").click()
    site = stored.get_by_label("Site")
    expect(site).to_have_attribute("aria-invalid", "true")
    expect(site).to_have_value("evil.example")
    expect(stored.get_by_label("Private key")).to_have_value("")
    expect(stored.get_by_text("no credentials are sent there")).to_be_visible()
    assert not axe(stored)


def test_another_company_is_confirmed(stored: Page) -> None:
    stored.goto("/settings/psa")
    stored.get_by_label("Company id").fill("another")
    stored.get_by_role("button", name="Save").click()
    stored.get_by_label("It is the same ConnectWise company").check()
    stored.get_by_role("button", name="Save").click()
    expect(stored.get_by_text("Saved. Test the connection now.")).to_be_visible()


def test_the_names_of_connectwise_are_offered_after_the_page(page: Page) -> None:
    page.goto("/settings/default-product")
    page.get_by_text("The names that ConnectWise has").click()
    expect(page.get_by_text("Types")).to_be_visible()
    expect(page.locator("#type-names option")).not_to_have_count(0)
    assert not axe(page)


def test_safety_by_keyboard_alone(site: Site, page: Page) -> None:
    page.goto("/settings/safety")
    read_only = page.get_by_label("Read-only")
    for _ in range(40):
        page.keyboard.press("Tab")
        if read_only.evaluate("e => e === document.activeElement"):
            break
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    for _ in range(10):
        if page.get_by_role("button", name="Save").evaluate("e => e === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    settings = installation_of(site.app).settings()
    assert (settings.read_only, settings.usage_ended.value) == (True, "zero")


def test_a_user_is_added_in_a_dialog(page: Page) -> None:
    page.goto("/settings/users")
    page.get_by_role("link", name="Add a user").click()
    dialog = page.get_by_role("dialog", name="Add a user")
    dialog.get_by_role("button", name="Add user").click()
    expect(dialog.get_by_text("Enter a name.")).to_be_visible()
    dialog.get_by_label("Name").fill("Zoë <b>O'Brien</b> 🐾")
    dialog.get_by_label("Viewer").check()
    dialog.get_by_label("Password", exact=True).fill(NEW)
    dialog.get_by_label("The same password again").fill(NEW)
    dialog.get_by_role("button", name="Add user").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("row", name="Zoë <b>O'Brien</b> 🐾")).to_contain_text("Viewer")
    expect(page.get_by_role("status").filter(has_text="can sign in now")).to_be_visible()


def test_a_dialog_by_keyboard_alone(page: Page) -> None:
    page.goto("/settings/users")
    link = page.get_by_role("link", name="Change role of viewer")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Change role")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Viewer")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("row", name="viewer")).to_contain_text("Operator")


def test_the_last_word_of_a_refusal_is_in_the_dialog(site: Site, page: Page) -> None:
    page.goto("/settings/users/1/role")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Change role")
    page.get_by_label("Viewer").check()
    page.get_by_role("button", name="Change role").click()
    expect(page.get_by_role("alert").filter(has_text="your own account")).to_be_visible()


def test_everything_works_without_javascript(visit: Visit) -> None:
    page = visit("admin", javascript=False)
    page.goto("/settings/users")
    page.get_by_role("link", name="Delete viewer").click()
    page.get_by_role("button", name="Delete user").click()
    expect(page.get_by_text("viewer was deleted.")).to_be_visible()
    page.goto("/settings/sophos")
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("all good")).to_be_visible()


@pytest.mark.parametrize("path", ["/settings", "/settings/psa", "/settings/safety"])
def test_long_names_do_not_break_the_layout(
    visit: Visit, serve: Serve, make: Callable[..., Flask], path: str, look: dict[str, Any]
) -> None:
    name = "Aktiengesellschaft" * 12
    app = make(vendors=False, CONNECTWISE_COMPANY_ID=name, SOPHOS_CLIENT_ID="x" * 240)
    page = visit("admin", site=serve(app), **look)
    page.goto(path)
    assert sideways(page) == 0
    assert not axe(page)
