"""API tokens as a person makes and revokes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.web.api_client import token_of

Visit = Callable[..., Page]


def test_a_token_is_made_copied_and_revoked(site: Site, page: Page) -> None:
    page.goto("/settings/api-tokens")
    page.get_by_role("link", name="New token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Make token").click()
    expect(dialog.get_by_text("Enter a name.")).to_be_visible()
    dialog.get_by_label("Name").fill("nightly")
    dialog.get_by_label("Read and sync").check()
    dialog.get_by_label("365 days").check()
    dialog.get_by_role("button", name="Make token").click()
    expect(page.get_by_role("heading", name="Copy this token now")).to_be_visible()
    token = dialog.locator("code.token").inner_text()
    assert re.fullmatch(r"tb_[\w-]{43}", token)
    assert not axe(page)
    called = page.request.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"})
    assert called.status == 200

    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    row = page.get_by_role("row").filter(has_text="nightly")
    expect(row).to_contain_text("Read and sync")
    expect(row.get_by_role("link", name="Revoke nightly of admin")).to_be_visible()
    assert token not in page.content()

    row.get_by_role("link", name="Revoke nightly of admin").click()
    page.get_by_role("button", name="Revoke token").click()
    expect(page.get_by_text("No token yet")).to_be_visible()
    again = page.request.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"})
    assert again.status == 401


def test_a_cookie_of_the_browser_opens_no_api(page: Page) -> None:
    page.goto("/")
    assert page.request.get("/api/v1/status").status == 401


def test_the_list_and_both_dialogs_in_every_look(
    site: Site, visit: Visit, look: dict[str, Any]
) -> None:
    token_of(site.app, "operator", to="A rather long name of a program that runs every night")
    token_of(site.app, "admin", "read", days=30, to="report")
    page = visit("admin", site=site, **look)
    page.goto("/settings/api-tokens")
    for name in ("New token", "Revoke report of admin"):
        assert not axe(page)
        assert sideways(page) == 0
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert not axe(page)
        page.keyboard.press("Escape")
