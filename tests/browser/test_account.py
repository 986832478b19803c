"""The second factor as a person goes through it, in both colours and both widths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyotp
from playwright.sync_api import Page, expect

from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.web.client import PASSWORD
from tests.web.world import clock_of

Visit = Callable[..., Page]


def test_a_second_factor_from_beginning_to_end(
    site: Site, visit: Visit, look: dict[str, Any]
) -> None:
    clock, page, found = clock_of(site.app), visit("viewer", **look), list[str]()

    def judge() -> None:
        found.extend(f"{page.url}: {line}" for line in axe(page))
        assert sideways(page) == 0, page.url

    page.goto("/settings/account")
    page.get_by_role("link", name="Set up a second factor").click()
    page.get_by_label("Your present password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("textbox", name="Code")).to_be_visible()
    one_time = pyotp.TOTP(page.locator("code").inner_text().replace(" ", ""))
    judge()
    page.get_by_role("textbox", name="Code").fill("000000")
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_text("This code is wrong.")).to_be_visible()
    page.get_by_role("textbox", name="Code").fill(one_time.at(clock.moment))
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Second factor is on")
    expect(page.get_by_role("button", name="Print")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has=page.locator("code"))).to_have_count(10)
    judge()
    page.get_by_role("link", name="I have kept them").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
    judge()

    clock.forward(minutes=1)
    page.context.clear_cookies(name="session")
    page.goto("/settings/account")
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Enter the code")
    judge()
    page.get_by_label("Code").fill(one_time.at(clock.moment))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your account")
    assert not found, "\n".join(found)


def test_recovery_codes_are_copied(page: Page, site: Site) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/settings/account/second-factor")
    page.get_by_label("Your present password").fill(PASSWORD)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("textbox", name="Code")).to_be_visible()
    secret = page.locator("code").inner_text().replace(" ", "")
    page.get_by_role("textbox", name="Code").fill(pyotp.TOTP(secret).at(clock_of(site.app).moment))
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Second factor is on")
    shown = page.get_by_role("list").locator("code").all_inner_texts()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").split("\n") == shown
