"""Reconciliation as a person uses it: compare, watch, search, explain, go to the fix."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from sandbox import Fault, Sandbox
from services.runs import sync_runs
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.web.world import installation_of

Visit = Callable[..., Page]


@pytest.fixture(autouse=True)
def _runs_end(site: Site, sandbox: Sandbox) -> Iterator[None]:
    sandbox.log.clear()
    yield
    if jobs := site.app.extensions.get("tallybridge_jobs"):
        jobs.join()


@pytest.fixture
def compared(site: Site) -> Site:
    """The site after a comparison."""
    sync_runs.preview(
        installation_of(site.app).context(actor="anna", trigger="comparison"), whole=True
    )
    return site


def test_compare_watch_and_look(operator_page: Page, sandbox: Sandbox) -> None:
    page = operator_page
    sandbox.faults.add(Fault("slow", "sophos", seconds=1.5))
    page.goto("/reconciliation")
    expect(page.get_by_text("Nothing was compared yet")).to_be_visible()
    page.get_by_role("button", name="Compare now").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("table", name="Usage beside what is billed")).to_be_visible()
    expect(page.get_by_role("button", name="Compare now")).to_be_visible()
    assert not sandbox.log.writes()


def test_search_keeps_the_cursor_and_adds_up(viewer_page: Page, compared: Site) -> None:
    page = viewer_page
    page.goto("/reconciliation")
    box = page.get_by_role("searchbox", name="Search the comparison")
    box.focus()
    page.keyboard.type("Ironbridge")
    expect(page.get_by_text("These are the totals of what fits “Ironbridge”")).to_be_visible()
    expect(box).to_be_focused()
    expect(box).to_have_value("Ironbridge")
    assert "q=Ironbridge" in page.url
    page.get_by_role("navigation", name="Filter").get_by_role("link", name="Overbilled").click()
    expect(page.get_by_text("Nothing is overbilled")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("rowheader").first).to_contain_text("Ironbridge")


def test_a_number_is_explained_by_keyboard(viewer_page: Page, compared: Site) -> None:
    page = viewer_page
    page.goto("/reconciliation?show=all&sort=connectwise")
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("^Addition [0-9]+ on ")).first).to_be_visible()


def test_a_fix_opens_and_the_line_is_marked(operator_page: Page, compared: Site) -> None:
    page = operator_page
    page.goto("/reconciliation?show=not-billed")
    page.get_by_role("link", name=re.compile("^Choose agreement")).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_it_works_without_javascript(visit: Visit, site: Site) -> None:
    page = visit("operator", javascript=False)
    page.goto("/reconciliation")
    page.get_by_role("button", name="Compare now").click()
    site.app.extensions["tallybridge_jobs"].join()
    page.goto("/reconciliation")
    page.get_by_role("columnheader", name="Customer").get_by_role("link").click()
    assert "sort=customer" in page.url
    page.get_by_role("searchbox").fill("Ironbridge")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("rowheader").first).to_contain_text("Ironbridge")


def test_it_is_accessible_and_fits(visit: Visit, look: dict[str, Any], compared: Site) -> None:
    page = visit("operator", **look)
    for path in ("", "?show=all&sort=customer", "?q=zzzz", "?show=overbilled&sort=difference"):
        page.goto(f"/reconciliation{path}")
        assert not axe(page), path
        assert sideways(page) == 0, path
    page.goto("/reconciliation")
    for n in range(3):
        page.locator("summary").nth(n).click()
    assert not axe(page)
    assert sideways(page) == 0


@pytest.mark.parametrize("width", [640, 1000, 1100, 1190, 1600])
def test_it_fits_every_width(visit: Visit, compared: Site, width: int) -> None:
    page = visit("viewer", width=width)
    page.goto("/reconciliation")
    assert sideways(page) == 0
    table = page.locator("div.table").first
    assert table.evaluate("e => e.scrollWidth - e.clientWidth") == 0


def test_the_file_downloads(viewer_page: Page, compared: Site) -> None:
    viewer_page.goto("/reconciliation?show=all")
    for name, ending in (("CSV", ".csv"), ("XLSX", ".xlsx")):
        with viewer_page.expect_download() as download:
            viewer_page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == f"reconciliation-2026-11{ending}"
