"""The incumbent's promise, in the browser: a mapping may be removed while its sync is on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from sandbox import Sandbox
from tests.browser.conftest import Site
from tests.browser.test_products import PATH, row

KEY = "CDE-MSP"


@pytest.fixture(autouse=True)
def _runs_end(site: Site) -> Iterator[None]:
    yield
    if jobs := site.app.extensions.get("tallybridge_jobs"):
        jobs.join()


def test_a_cleared_mapping_gets_a_default_product_at_the_next_usage(
    operator_page: Page, sandbox: Sandbox
) -> None:
    page = operator_page
    page.goto(PATH)
    row(page, KEY).get_by_role("button", name="Clear").click()
    told = "At the next usage a default product is made and mapped, then sync resumes."
    expect(row(page, KEY)).to_contain_text(told)
    page.get_by_role("button", name="Save").click()
    expect(row(page, KEY)).to_contain_text("Paused")
    expect(page.get_by_role("region", name="Unsaved changes")).not_to_contain_text("unsaved")
    expect(row(page, KEY).get_by_role("switch")).to_be_checked()

    page.goto("/runs")
    page.get_by_role("button", name="Sync now").click()
    page.wait_for_url("**/runs/2")
    expect(page.get_by_text("succeeded", exact=True)).to_be_visible(timeout=20_000)
    expect(page.get_by_text("Sophos_CDE-MSP", exact=True).first).to_be_visible()

    page.goto(PATH)
    expect(row(page, KEY).get_by_role("combobox")).to_have_value("Sophos_CDE-MSP")
    expect(row(page, KEY).get_by_role("switch")).to_be_checked()
    expect(row(page, KEY)).to_contain_text("Syncing")
    made = [e for e in sandbox.log.effects() if e.path.endswith("/procurement/catalog")]
    assert [e.body["identifier"] for e in made if e.method == "POST"] == ["Sophos_CDE-MSP"]
