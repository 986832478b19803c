"""Configure usage sync as a person uses it: by role and name, by keyboard alone, without script."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from services.products import catalog_copy
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.web.test_products import client_of, mapping
from tests.web.world import installation_of

PATH = "/settings/psa/products"


@pytest.fixture
def products(site: Site, operator_page: Page) -> Page:
    catalog_copy.refresh(installation_of(site.app), client_of(installation_of(site.app)))
    operator_page.goto(PATH)
    return operator_page


def row(page: Page, key: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_text(key, exact=True))


def bar(page: Page) -> Locator:
    return page.get_by_role("region", name="Unsaved changes")


def test_type_choose_and_save(site: Site, products: Page) -> None:
    box = row(products, "CDE-MSP").get_by_role("combobox")
    box.fill("email adv")
    products.get_by_role("option", name="Sophos_Email_Advanced").click()
    expect(row(products, "CDE-MSP")).to_contain_text("Unsaved")
    expect(bar(products)).to_contain_text("1 unsaved change")
    products.reload()
    expect(bar(products)).to_contain_text("1 unsaved change")
    products.get_by_role("button", name="Save").click()
    expect(bar(products)).not_to_contain_text("unsaved")
    assert mapping(site.app).catalog_item_identifier == "Sophos_Email_Advanced"


def test_the_combobox_by_keyboard_alone(products: Page) -> None:
    box = row(products, "CDE-MSP").get_by_role("combobox")
    saved = box.input_value()
    box.focus()
    products.keyboard.press("Control+A")
    products.keyboard.type("x")
    products.wait_for_timeout(300)
    expect(products.get_by_role("option")).to_have_count(0)
    products.keyboard.type("dr")
    expect(products.get_by_role("option").first).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    products.keyboard.press("ArrowDown")
    first = products.get_by_role("option").first
    expect(first).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", first.get_attribute("id") or "")
    products.keyboard.press("Escape")
    expect(box).to_have_attribute("aria-expanded", "false")
    products.keyboard.press("Escape")
    expect(box).to_have_value(saved)
    products.keyboard.press("Control+A")
    products.keyboard.type("xdr")
    expect(products.get_by_role("option").first).to_be_visible()
    products.keyboard.press("ArrowDown")
    products.keyboard.press("Enter")
    expect(bar(products)).to_contain_text("1 unsaved change")
    expect(row(products, "CDE-MSP").get_by_role("combobox")).to_be_focused()


def test_a_search_without_hits_leads_to_the_dialog(products: Page) -> None:
    row(products, "CDE-MSP").get_by_role("combobox").fill("Zzyzx 1")
    products.get_by_role("option", name="Add “Zzyzx 1” to PSA").click()
    dialog = products.get_by_role("dialog")
    expect(dialog.get_by_label("Identifier")).to_have_value("Zzyzx 1")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog).to_have_count(0)
    expect(row(products, "CDE-MSP").get_by_role("combobox")).to_have_value("Zzyzx 1")
    expect(bar(products)).to_contain_text("1 unsaved change")


def test_the_plus_icon_makes_a_product_and_save_uses_it(site: Site, products: Page) -> None:
    row(products, "CDE-MSP").get_by_role("button", name="Clear").click()
    row(products, "CDE-MSP").get_by_role("link", name="Add ").click()
    dialog = products.get_by_role("dialog")
    expect(dialog.get_by_label("Identifier")).to_have_value("Sophos_CDE-MSP")
    dialog.get_by_label("Price").fill("4.20")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog).to_have_count(0)
    expect(row(products, "CDE-MSP").get_by_role("combobox")).to_have_value("Sophos_CDE-MSP")
    products.get_by_role("button", name="Save").click()
    expect(row(products, "CDE-MSP")).not_to_contain_text("Unsaved")
    assert mapping(site.app).catalog_item_identifier == "Sophos_CDE-MSP"


def test_details_are_shown_and_edited(products: Page) -> None:
    row(products, "CDE-MSP").get_by_role("link", name="Details").click()
    dialog = products.get_by_role("dialog")
    expect(dialog).to_contain_text("Read from ConnectWise just now")
    dialog.get_by_role("link", name="Edit product details in PSA").click()
    dialog.get_by_label("Description", exact=True).fill("Encryption for all")
    dialog.get_by_role("button", name="Apply").click()
    expect(dialog).to_have_count(0)
    expect(row(products, "CDE-MSP")).to_contain_text("Encryption for all")


def test_switches_by_keyboard(site: Site, products: Page) -> None:
    switch = row(products, "CDE-MSP").get_by_role("switch")
    expect(switch).to_have_attribute("aria-checked", "true")
    switch.focus()
    products.keyboard.press("Space")
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(switch).to_be_focused()
    expect(bar(products)).to_contain_text("stops updating")
    products.get_by_role("button", name="Save").focus()
    products.keyboard.press("Enter")
    expect(bar(products)).not_to_contain_text("unsaved")
    assert mapping(site.app).sync is False


def test_a_conflict_is_settled(site: Site, products: Page, visit: Callable[..., Page]) -> None:
    row(products, "CDE-MSP").get_by_role("switch").click()
    expect(bar(products)).to_contain_text("1 unsaved change")
    other = visit("admin", site=site)
    other.goto(PATH)
    row(other, "CDE-MSP").get_by_role("button", name="Clear").click()
    other.get_by_role("button", name="Save").click()
    expect(bar(other)).not_to_contain_text("unsaved")
    products.get_by_role("button", name="Save").click()
    expect(bar(products)).to_contain_text("Nothing was saved")
    expect(row(products, "CDE-MSP")).to_contain_text("Conflict")
    products.get_by_role("button", name="Keep mine").click()
    expect(row(products, "CDE-MSP")).to_contain_text("Unsaved")
    products.get_by_role("button", name="Save").click()
    expect(bar(products)).not_to_contain_text("unsaved")
    assert mapping(site.app).sync is False


def test_without_javascript(site: Site, products: Page, visit: Callable[..., Page]) -> None:
    plain = visit("admin", site=site, javascript=False)
    plain.goto(PATH)
    one = row(plain, "CDE-MSP")
    one.get_by_role("combobox").fill("email")
    one.get_by_role("button", name="Set").click()
    plain.get_by_role("button", name="Choose Sophos_Email_Advanced").click()
    expect(bar(plain)).to_contain_text("1 unsaved change")
    plain.get_by_role("button", name="Save").click()
    assert mapping(site.app).catalog_item_identifier == "Sophos_Email_Advanced"


@pytest.mark.parametrize(("theme", "width"), [("light", 1360), ("dark", 390)])
def test_full_with_edits_errors_and_dialogs_it_is_accessible(
    site: Site, visit: Callable[..., Page], theme: str, width: int
) -> None:
    catalog_copy.refresh(installation_of(site.app), client_of(installation_of(site.app)))
    page = visit("operator", theme=theme, width=width)
    page.goto(PATH)
    row(page, "CDE-MSP").get_by_role("switch").click()
    box = row(page, "CEMA-MSP").get_by_role("combobox")
    box.fill("nothing at all like this")
    page.wait_for_timeout(400)
    box.press("Enter")
    expect(row(page, "CEMA-MSP")).to_contain_text("Nothing was changed")
    row(page, "CEMA-MSP").get_by_role("combobox").fill("sophos")
    expect(page.get_by_role("option").first).to_be_visible()
    assert not axe(page)
    assert sideways(page) == 0
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Add product to PSA").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert not axe(page)


def test_empty(empty_page: Page) -> None:
    empty_page.goto(PATH)
    expect(empty_page.get_by_text("No Sophos products yet")).to_be_visible()


def test_enter_sets_the_typed_identifier_and_presses_nothing_else(
    site: Site, products: Page
) -> None:
    box = row(products, "CDE-MSP").get_by_role("combobox")
    box.fill("Sophos_Email_Advanced")
    products.keyboard.press("Enter")
    expect(row(products, "CDE-MSP")).to_contain_text("Unsaved")
    products.get_by_role("button", name="Save").click()
    expect(bar(products)).not_to_contain_text("unsaved")
    saved = mapping(site.app)
    assert saved.catalog_item_identifier == "Sophos_Email_Advanced"
    assert saved.sync is True
