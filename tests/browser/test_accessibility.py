"""Every page that has no arguments, in both colours and both widths, as axe judges it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from playwright.sync_api import Page

from tests.browser.axe import axe, sideways
from tests.browser.conftest import Site

NO_PAGES = {"assets.icons", "static"}


def plain_pages(app: Flask) -> list[str]:
    """The addresses that answer GET and need no argument."""
    return sorted(
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.arguments and rule.endpoint not in NO_PAGES
    )


def test_every_page_is_accessible_and_fits(
    site: Site, visit: Callable[..., Page], look: dict[str, Any]
) -> None:
    page, found = visit("admin", **look), []
    for path in plain_pages(site.app):
        answer = page.request.get(path)
        if answer.status != 200 or "<html" not in answer.text():
            continue  # a file, or a fragment that only htmx asks for
        page.goto(path)
        assert page.get_by_role("heading", level=1).count() == 1, path
        found += [f"{path}: {line}" for line in axe(page)]
        found += [f"{path} is {sideways(page)} pixels too wide"] if sideways(page) else []
    assert not found, "\n".join(found)


def test_the_sign_in_page_is_accessible(visit: Callable[..., Page], look: dict[str, Any]) -> None:
    page = visit(None, **look)
    page.goto("/")
    assert page.get_by_role("button", name="Sign in").is_visible()
    assert not axe(page)
    assert sideways(page) == 0
