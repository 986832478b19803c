"""Sync runs and the audit as a person uses them: by role and name, by keyboard, without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

import models
from models import ChangeState
from sandbox import Fault, Sandbox
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site, Watch
from tests.web.world import installation_of

Visit = Callable[..., Page]


@pytest.fixture(autouse=True)
def _runs_end(site: Site, sandbox: Sandbox) -> Iterator[None]:
    sandbox.log.clear()
    yield
    if jobs := site.app.extensions.get("tallybridge_jobs"):
        jobs.join()


def held_ids(site: Site) -> list[int]:
    with installation_of(site.app).reading() as session:
        query = sa.select(models.Change.id).where(models.Change.state == ChangeState.HELD)
        return list(session.scalars(query.order_by(models.Change.id)))


def state_of(site: Site, change_id: int) -> ChangeState:
    with installation_of(site.app).reading() as session:
        return session.get_one(models.Change, change_id).state


def more_seats(site: Site, sandbox: Sandbox) -> None:
    """One more seat where the first run wrote."""
    with installation_of(site.app).reading() as session:
        query = sa.select(models.Change).where(models.Change.state == ChangeState.APPLIED)
        change = session.scalars(query).first()
        assert change is not None
        assert change.after is not None
        tenant, product = change.sources[0]
    sandbox.edit(
        {
            "action": "set_usage",
            "month": "2026-11",
            "tenant": tenant,
            "product": product,
            "quantity": int(change.after) + 1,
        }
    )


def test_preview_watch_and_apply(operator_page: Page, site: Site, sandbox: Sandbox) -> None:
    page = operator_page
    more_seats(site, sandbox)
    sandbox.faults.add(Fault("slow", "connectwise", at=3, seconds=1.5))
    page.goto("/runs")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/runs/2")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("heading", name="Plan by customer")).to_be_visible()
    expect(page.get_by_text("planned only", exact=True)).to_be_visible()
    page.get_by_role("link", name="Apply the plan (1)").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("They are written to ConnectWise now")).to_be_visible()
    dialog.get_by_role("button", name="Apply 1").click()
    expect(page.get_by_role("link", name=re.compile("1 applied"))).to_be_visible()
    assert len(sandbox.log.writes()) == 1


def test_the_page_stops_asking_when_the_run_has_ended(
    operator_page: Page, sandbox: Sandbox
) -> None:
    page = operator_page
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if r.url.endswith("/progress") else None)
    sandbox.faults.add(Fault("slow", "sophos", seconds=1.5))
    page.goto("/runs")
    page.get_by_role("button", name="Sync now").click()
    expect(page.get_by_role("heading", name="Changes by customer")).to_be_visible()
    expect(page.get_by_text("Run 2: succeeded")).to_be_visible()
    seen = len(asked)
    assert seen
    page.wait_for_timeout(2_500)
    assert len(asked) == seen


def test_a_double_click_starts_one_run(operator_page: Page, site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.5))
    operator_page.goto("/runs")
    operator_page.get_by_role("button", name="Sync now").dblclick()
    operator_page.wait_for_url("**/runs/2")
    operator_page.goto("/runs")
    expect(operator_page.get_by_role("rowheader")).to_have_count(2)


def test_two_people(visit: Visit, watch: Watch, sandbox: Sandbox) -> None:
    watch.allow(409)
    sandbox.faults.add(Fault("slow", "sophos", seconds=2))
    one, other = visit("operator"), visit("admin")
    one.goto("/runs")
    other.goto("/runs")
    one.get_by_role("button", name="Sync now").click()
    one.wait_for_url("**/runs/2")
    other.get_by_role("button", name="Sync now").click()
    expect(other.get_by_role("alert").filter(has_text="running already")).to_be_visible()
    other.get_by_role("link", name="Open run 2").click()
    expect(other.get_by_role("heading", name="Changes by customer")).to_be_visible()


def test_deciding_by_keyboard_alone(operator_page: Page, site: Site) -> None:
    page = operator_page
    first, second, third = held_ids(site)[:3]
    page.goto("/runs/1?state=held")
    box = page.get_by_role("checkbox", name=f"Change {first}:")
    box.focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("state=held"), "Enter on a box decides nothing"
    page.keyboard.press("Space")
    expect(box).to_be_checked()
    expect(page.get_by_text("1 ticked")).to_be_visible()
    page.get_by_role("button", name="Approve ticked").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/1")
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible()
    assert state_of(site, first) is ChangeState.APPLIED
    page.get_by_role("button", name=f"Dismiss change {second}", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Dismissed by operator.")).to_be_visible()
    assert state_of(site, second) is ChangeState.SKIPPED
    assert state_of(site, third) is ChangeState.HELD


def test_undo_by_keyboard(operator_page: Page, sandbox: Sandbox) -> None:
    page = operator_page
    page.goto("/runs/1")
    link = page.get_by_role("link", name="Undo this run")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Undo run 1?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Plan the way back").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/2")
    expect(page.get_by_text("Nothing has been written yet")).to_be_visible()
    assert not sandbox.log.writes()


def test_it_works_without_javascript(visit: Visit, site: Site) -> None:
    page = visit("operator", javascript=False)
    page.goto("/runs")
    page.get_by_role("button", name="Preview").click()
    page.wait_for_url("**/runs/2")
    site.app.extensions["tallybridge_jobs"].join()
    page.reload()
    expect(page.get_by_text("planned only", exact=True)).to_be_visible()
    page.get_by_role("link", name="Approve all 42 held").click()
    page.get_by_role("button", name="Apply 42").click()
    page.wait_for_url("**/runs/2")


def test_a_run_is_accessible_and_fits(visit: Visit, look: dict[str, Any]) -> None:
    page = visit("admin", **look)
    for path in ("/runs/1", "/runs/1?state=held", "/runs/1?q=nothing", "/runs/1/undo"):
        page.goto(path)
        assert not axe(page), path
        assert sideways(page) == 0, path
    page.goto("/runs/1")
    page.locator("summary").first.click()
    page.get_by_role("link", name=re.compile("^Approve all")).click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert not axe(page)


def test_files_download(viewer_page: Page) -> None:
    viewer_page.goto("/runs/1")
    for name, ending in (("CSV", ".csv"), ("XLSX", ".xlsx")):
        with viewer_page.expect_download() as download:
            viewer_page.get_by_role("link", name=name).click()
        assert download.value.suggested_filename == f"run-1-changes{ending}"
    viewer_page.goto("/audit")
    viewer_page.get_by_role("combobox", name="What").select_option("made an addition")
    viewer_page.get_by_role("button", name="Show").click()
    viewer_page.get_by_role("link", name="Next page").click()
    expect(viewer_page.get_by_text("51–93 of 93 entries")).to_be_visible()
