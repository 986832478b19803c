"""Customers, Findings and Overview in a real Chromium, by role and name, and by keyboard alone."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

import models
from services.tenants import company_directory
from tests.browser.axe import axe, sideways
from tests.browser.conftest import LOOKS, Site, Visit
from tests.web.world import installation_of

PATHS = ["/", "/customers", "/findings"]


@pytest.fixture
def ready(site: Site) -> Site:
    """The installation after customers, companies and agreements were read."""
    thread = company_directory.start_refresh(installation_of(site.app), actor="operator")
    assert thread is not None
    thread.join(30)
    return site


def customer(site: Site, *, mapped: bool) -> models.TenantMapping:
    with installation_of(site.app).reading() as session:
        column = models.TenantMapping.company_id
        row = session.scalars(
            sa.select(models.TenantMapping)
            .where(column.is_not(None) if mapped else column.is_(None))
            .order_by(models.TenantMapping.tenant_name.desc())
        ).first()
    assert row is not None
    return row


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_the_pages_are_accessible_and_never_scroll_sideways(
    visit: Visit, ready: Site, theme: str, width: int
) -> None:
    page = visit("operator", theme=theme, width=width)
    for path in PATHS:
        page.goto(path)
        assert not axe(page), path
        assert sideways(page) == 0, path


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_the_dialogs_are_accessible(visit: Visit, ready: Site, theme: str, width: int) -> None:
    page = visit("operator", theme=theme, width=width)
    page.goto("/customers")
    names = [r"^Change company", r"^Agreements by product", r"^Held: why", r"^Accept \d+ exact"]
    for name in names:
        page.get_by_role("link", name=re.compile(name)).first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert not axe(page), name
        assert sideways(page) == 0, name
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_customer_is_mapped_by_keyboard_alone(operator_page: Page, ready: Site) -> None:
    page, row = operator_page, customer(ready, mapped=True)
    page.goto(f"/customers?q={row.tenant_id}")
    change = page.get_by_role("link", name=f"Change company and agreement of {row.tenant_name}")
    change.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("link", name="Another company").focus()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("combobox", name="Company")).to_be_focused()
    page.keyboard.type("b", delay=10)
    page.wait_for_timeout(400)
    expect(page.get_by_role("option")).to_have_count(0)
    page.keyboard.type("eacon pharmacy", delay=10)
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("radio", checked=True)).to_be_focused()
    dialog.get_by_role("button", name="Save").focus()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.get_by_role("row").nth(1)).to_contain_text("eacon", ignore_case=True)
    expect(change).to_be_focused()


def test_escape_closes_the_list_before_the_dialog(operator_page: Page, ready: Site) -> None:
    page = operator_page
    page.goto("/customers?show=unmapped")
    page.get_by_role("link", name=re.compile("^Choose the company")).first.click()
    page.get_by_role("combobox", name="Company").press_sequentially("ma")
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("option").first).to_be_hidden()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_switch_saves_at_once(operator_page: Page, ready: Site) -> None:
    page, row = operator_page, customer(ready, mapped=True)
    page.goto("/customers")
    switch = page.get_by_role("switch", name=f"Usage sync of {row.tenant_name}")
    was = switch.get_attribute("aria-checked")
    switch.focus()
    page.keyboard.press("Space")
    wanted = "false" if was == "true" else "true"
    expect(switch).to_have_attribute("aria-checked", wanted)
    page.reload()
    expect(switch).to_have_attribute("aria-checked", wanted)


def test_refresh_shows_progress_and_brings_the_news(operator_page: Page, site: Site) -> None:
    page = operator_page
    page.goto("/customers")
    expect(page.get_by_text("were not read from ConnectWise yet")).to_be_visible()
    page.get_by_role("button", name="Refresh customer details").click()
    expect(page.get_by_text(re.compile("^Refreshed"))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile(r"Accept \d+ exact"))).to_be_visible()


def test_suggestions_need_a_click(operator_page: Page, ready: Site) -> None:
    page = operator_page
    page.goto("/customers?show=unmapped")
    rows = page.locator("tr[id^=customer-]")
    before = rows.count()
    page.get_by_role("button", name=re.compile("^Accept: ")).first.click()
    page.get_by_role("link", name=re.compile("^Change company")).wait_for()
    page.get_by_role("link", name=re.compile(r"Accept \d+ exact")).click()
    page.get_by_role("dialog").get_by_role("button", name="Accept").click()
    expect(page.get_by_role("status").get_by_text(re.compile("mapped"))).to_be_visible()
    expect(rows).not_to_have_count(before)


def test_search_and_filter_keep_the_focus(operator_page: Page, ready: Site) -> None:
    page = operator_page
    page.goto("/customers")
    field = page.get_by_role("searchbox", name="Search customers")
    field.press_sequentially("dental", delay=20)
    expect(page.get_by_text(re.compile(r"^\d+ of \d+ customers"))).to_be_visible()
    expect(page).to_have_url(re.compile("q=dental"))
    expect(field).to_be_focused()
    expect(field).to_have_value("dental")


def test_a_device_is_assigned_and_taken_back(operator_page: Page, site: Site) -> None:
    page = operator_page
    page.goto("/findings")
    choice = page.get_by_role("combobox", name=re.compile("^Customer of")).first
    serial = (choice.get_attribute("aria-label") or "").removeprefix("Customer of ")
    choice.select_option(index=1)
    page.get_by_role("button", name=f"Assign {serial}").click()
    expect(page.get_by_role("heading", name="Assigned serial numbers")).to_be_visible()
    page.get_by_role("button", name=f"Remove the assignment of {serial}").click()
    expect(page.get_by_role("heading", name="Assigned serial numbers")).to_have_count(0)
    expect(page.get_by_role("button", name=f"Assign {serial}")).to_be_visible()


def test_from_the_overview_to_the_fix(operator_page: Page, ready: Site) -> None:
    page = operator_page
    page.goto("/")
    page.get_by_role("link", name="Customers without an agreement").click()
    page.get_by_role("link", name=re.compile("^Choose agreement")).first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("link").first.click()
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text("The next run takes it over").first).to_be_visible()


def test_without_javascript(visit: Visit, ready: Site) -> None:
    page, row = visit("operator", javascript=False), customer(ready, mapped=False)
    page.goto(f"/customers?q={row.tenant_id}")
    page.get_by_role("link", name=re.compile("^Choose the company")).click()
    page.get_by_role("combobox", name="Company").fill("beacon")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("list", name="Companies found").get_by_role("link").first.click()
    page.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile("/customers"))
    page.goto(f"/customers?q={row.tenant_id}")
    expect(page.get_by_role("row").nth(1)).to_contain_text("eacon", ignore_case=True)
    page.get_by_role("switch").click()
    expect(page).to_have_url(re.compile("q="))
