"""A browser without JavaScript: it keeps cookies, sends forms as they stand, checks every page."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.dom import Element, parse
from tests.web.page_checks import problems

PASSWORD = "correct horse battery"
Values = Mapping[str, str | list[str]]


def page_of(response: TestResponse) -> Element:
    """The tree of an answer, to be looked into."""
    return parse(response.text)[0]


class Client(FlaskClient):
    """Checks all HTML that it is given; a 500 fails the test unless `expects_500` is set.

    `htmx=True` asks as htmx does; `client.post(..., csrf=False)` leaves the token out.
    """

    expects_500 = False

    def open(
        self, *args: Any, htmx: bool = False, csrf: bool = True, **kwargs: Any
    ) -> TestResponse:
        if htmx:
            headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
            kwargs["headers"] = {**headers, **kwargs.get("headers", {})}
        if csrf and kwargs.get("method", "GET") not in ("GET", "HEAD", "OPTIONS"):
            kwargs["data"] = {"csrf_token": self.token(), **(kwargs.get("data") or {})}
        with _Failures() as failures:
            response = super().open(*args, **kwargs)
        if response.status_code == 500 and not self.expects_500:
            raise AssertionError(f"{response.request.path} failed:\n{failures.text}")
        _check(self.application, response)
        return response

    def token(self) -> str:
        """A CSRF token that is good for this browser now."""
        page = super().open("/sign-in", method="GET")
        return parse(page.text)[0].all("input", name="csrf_token")[0]["value"]

    def sign_in(self, name: str, password: str = PASSWORD) -> TestResponse:
        """Through the form, as a person does."""
        return self.post("/sign-in", data={"name": name, "password": password})

    def page(self, path: str, **kwargs: Any) -> Element:
        """The tree of a page that must be there."""
        response = self.get(path, **kwargs)
        assert response.status_code == 200, f"{path}: {response.status}"
        return page_of(response)

    def fill(
        self, path: str, values: Values, *, button: str | None = None, **kwargs: Any
    ) -> TestResponse:
        """Open a page, fill in the form that has these fields and the button, and send it.

        What is not named keeps what the page shows. An empty list unticks a box. `button` is the
        button's name to a reader; without it Enter is pressed.
        """
        form = _form_with(self.page(path), set(values), button)
        data = {**form_values(form), **values}
        pressed = _button(form, button) if button else None
        if pressed is not None and pressed.get("name"):
            data[pressed["name"]] = pressed.get("value")
        action = (pressed.get("formaction") if pressed else "") or form.get("action") or path
        sent = {name: value for name, value in data.items() if value != []}
        target = urljoin(path, action)
        if form.get("method", "get").lower() == "get":
            return self.get(urlsplit(target).path, query_string=sent, **kwargs)
        return self.post(target, data=sent, csrf=False, **kwargs)


def form_values(form: Element) -> dict[str, str | list[str]]:
    """What a browser sends for a form that nobody touched."""
    values: dict[str, str | list[str]] = {}
    for field in form.all("input", "select", "textarea"):
        name, kind = field.get("name"), field.get("type", "text")
        unticked = kind in ("checkbox", "radio") and "checked" not in field
        if not name or unticked or "disabled" in field or kind in ("submit", "button"):
            continue
        values[name] = _value(field)
    return values


def _value(field: Element) -> str:
    if field.tag == "textarea":
        return "".join(c for c in field.children if isinstance(c, str))
    if field.tag == "select":
        options = field.all("option")
        chosen = [o for o in options if "selected" in o] or options[:1]
        return chosen[0].get("value", chosen[0].text) if chosen else ""
    return field.get("value", "on" if field.get("type") == "checkbox" else "")


def _form_with(page: Element, names: set[str], button: str | None) -> Element:
    found = [
        form
        for form in page.all("form")
        if names <= {f.get("name") for f in form.all("input", "select", "textarea")}
        and (button is None or _button(form, button) is not None)
        and form.get("action") not in ("/theme", "/sign-out")
    ]
    assert found, f"no form has the fields {sorted(names)} and the button {button}"
    return found[0]


def _button(form: Element, name: str) -> Element | None:
    buttons = [b for b in form.all("button") if name in (b.text, b.get("aria-label"))]
    return buttons[0] if buttons else None


def _check(app: Flask, response: TestResponse) -> None:
    if response.mimetype != "text/html" or not response.text.strip():
        return
    policy = response.headers.get("Content-Security-Policy", "")
    nonce = re.search(r"'nonce-([^']+)'", policy)
    redirected = response.status_code in (301, 302, 303, 307, 308)
    if redirected:
        return
    found = problems(
        response.text,
        path=response.request.path,
        routes=app.url_map,
        nonce=nonce[1] if nonce else "",
    )
    listed = "\n  ".join(found)
    assert not found, f"{response.request.method} {response.request.path}:\n  {listed}"


class _Failures(logging.Handler):
    """Holds the traceback of what no handler expected."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def __enter__(self) -> _Failures:
        logging.getLogger("tallybridge.web").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("tallybridge.web").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.text += "".join(traceback.format_exception(*record.exc_info))
