"""What only a browser shows: words that fit, tables that fit, targets that a finger hits."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

import models
from models import Role
from tests.browser.conftest import Site, Visit, Watch
from tests.browser.test_customers import ready
from tests.web.client import PASSWORD
from tests.web.world import installation_of

__all__ = ["ready"]

HIDDEN_ASIDE = """() => [...document.querySelectorAll(".table")]
  .filter(table => table.scrollWidth > table.clientWidth + 1).length"""
BROKEN = """() => [...document.querySelectorAll("main button, main .button")]
  .filter(each => each.checkVisibility() && each.innerText.trim())
  .filter(each => each.getClientRects()[0].height > 38).map(each => each.innerText)"""
WIDE = ["/", "/customers", "/runs", "/runs/1", "/findings", "/audit", "/settings/psa/products"]
NARROW = [*WIDE, "/customers/exact-matches", "/settings/users"]


@pytest.mark.parametrize(("width", "paths"), [(1280, WIDE), (390, NARROW)])
def test_nothing_is_hidden_aside_and_no_button_breaks(
    visit: Visit, ready: Site, width: int, paths: list[str]
) -> None:
    page = visit("admin", width=width)
    for path in paths:
        page.goto(path)
        assert not page.evaluate(HIDDEN_ASIDE), path
        assert not page.evaluate(BROKEN), path


def test_a_finger_hits_every_button(site: Site, visit: Visit, browser: Browser) -> None:
    cookies = visit("operator", width=390).context.cookies()
    context = browser.new_context(base_url=site.url, has_touch=True, is_mobile=True)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    for path in ("/", "/customers", "/settings/psa/products", "/runs/1?state=held"):
        page.goto(path)
        small = page.evaluate(
            """() => [...document.querySelectorAll("main button:not(.switch, .link), main .button")]
            .filter(each => each.checkVisibility())
            .map(each => each.getBoundingClientRect())
            .filter(box => box.height < 36 || box.width < 36).length"""
        )
        assert not small, path
    context.close()


def test_an_ended_session_leads_to_the_sign_in_and_back(
    operator_page: Page, ready: Site, watch: Watch
) -> None:
    page = operator_page
    page.goto("/customers?show=unmapped")
    page.context.clear_cookies(name="session")
    watch.allow(401)
    page.get_by_role("switch").first.click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    page.get_by_label("Name").fill("operator")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile(r"/customers\?show=unmapped"))


def test_a_refusal_is_seen_in_the_dialog_and_far_down_the_page(
    operator_page: Page, ready: Site, watch: Watch
) -> None:
    page = operator_page
    page.goto("/customers")
    page.get_by_role("link", name=re.compile("^Change company")).last.click()
    installation = installation_of(ready.app)
    with installation.session() as session, session.begin():
        session.execute(sa.update(models.User).values(role=Role.VIEWER))
    watch.allow(403)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Your role does not allow this")
    page.keyboard.press("Escape")
    page.get_by_role("switch").last.click()
    expect(page.locator("#notices")).to_contain_text("Your role does not allow this")
    expect(page.locator("#notices > p")).to_be_in_viewport()
