"""Through the identity provider and back in a real browser, with its own rules of cookies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, Page, expect

from tests import identity_provider
from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site
from tests.identity_provider import FakeProvider, Person
from tests.web.world import installation_of


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    from tests.web.world import NOW

    with identity_provider.start(lambda: NOW) as running:
        running.people = [
            Person("0001", "Anna Administrator", ("admins",)),
            Person("0002", "Carl Cook", ("cooks",)),
        ]
        yield running


@pytest.fixture
def site(
    make: Callable[..., Flask], serve: Callable[[Flask], Site], provider: FakeProvider
) -> Site:
    site = serve(make(full=False, vendors=False, **provider.env()))
    provider.now = installation_of(site.app).now
    provider.redirect_uris = {f"{site.url}/sign-in/provider/answer"}
    return site


@pytest.fixture
def tab(site: Site, new_context: Any) -> Page:
    """A browser that may leave for the provider, which the others may not."""
    context: BrowserContext = new_context(
        base_url=site.url, viewport={"width": 1280, "height": 800}
    )
    context.set_default_timeout(10_000)
    return context.new_page()


def test_in_and_out_again(tab: Page, provider: FakeProvider) -> None:
    tab.goto("/settings/users")
    tab.get_by_role("link", name="Acme Login").click()
    tab.get_by_role("link", name="Continue as Anna Administrator").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Users")
    expect(tab.get_by_role("rowheader", name="Anna Administrator")).to_be_visible()

    tab.get_by_role("button", name="Sign out").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("You are signed out of Tallybridge")
    tab.get_by_role("link", name="Sign out there: Acme Login").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Signed out there")
    tab.goto("/settings")
    expect(tab.get_by_role("heading", level=1)).to_have_text("Sign in to Tallybridge")
    assert provider.refused == []


def test_somebody_without_a_group_is_told_so_and_may_try_again(tab: Page) -> None:
    tab.goto("/")
    tab.get_by_role("link", name="Acme Login").click()
    tab.get_by_role("link", name="Continue as Carl Cook").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("You were not signed in")
    expect(tab.get_by_text("none of your groups may use Tallybridge")).to_be_visible()
    tab.get_by_role("link", name="Try again: Acme Login").click()
    tab.get_by_role("link", name="Continue as Anna Administrator").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Overview")


def test_the_pages_around_it_are_accessible(
    visit: Callable[..., Page], look: dict[str, Any], watch: Any
) -> None:
    watch.allow(400)
    page = visit(None, **look)
    for path, title in (
        ("/sign-in", "Sign in to Tallybridge"),
        ("/signed-out", "You are signed out of Tallybridge"),
        ("/sign-in/provider/answer", "You were not signed in"),
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        assert not axe(page)
        assert sideways(page) == 0
