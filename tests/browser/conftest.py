"""A real Chromium over a live installation of its own for every test.

- `page`: signed in as an administrator; `operator_page`, `viewer_page`; `empty_page`: a fresh
  installation. `page.goto("/settings")` goes to the installation of the test.
- `visit("operator", theme="dark", width=390)`: any other; `look`: one of LOOKS, for tests that
  run in both colours and both widths.
- `site`: the app behind it (`site.app`, `site.url`); `sandbox`: both vendors.

A test fails on any console message, page error, or request to another host. Answers 4xx that a
page is meant to give are allowed by `watch.allow(409)`; 422 is, always.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request
from werkzeug.serving import make_server

from tests.web.client import Client
from tests.web.conftest import make, sandbox, sign_in, world

__all__ = ["make", "sandbox", "world"]  # the same fixtures as for tests/web

CHROMIUM = Path("/usr/bin/chromium")
WIDE, NARROW = 1360, 390
LOOKS = [("light", WIDE), ("dark", WIDE), ("light", NARROW), ("dark", NARROW)]
Theme = Literal["light", "dark", "auto"]
Visit = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@dataclass
class Site:
    """An app and the address where it answers."""

    app: Flask
    url: str


@dataclass
class Watch:
    """Listens to everything that a browser has to complain about."""

    complaints: list[str] = field(default_factory=list)
    allowed: set[int] = field(default_factory=lambda: {422})

    def allow(self, *statuses: int) -> None:
        """These answers are meant; Chromium reports each as an error."""
        self.allowed |= set(statuses)

    def over(self, context: BrowserContext, home: str) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(f"page error: {error.error}"))
        context.on("request", lambda request: self._request(request, home))

    def _console(self, message: ConsoleMessage) -> None:
        if not message.location["url"]:
            return  # what a test itself evaluates (axe styles its probes) has no address
        status = re.search(r"responded with a status of (\d+)", message.text)
        if not (status and int(status[1]) in self.allowed):
            self.complaints.append(f"console {message.type}: {message.text} ({message.location})")

    def _request(self, request: Request, home: str) -> None:
        if urlsplit(request.url).scheme in ("http", "https") and not request.url.startswith(home):
            self.complaints.append(f"request to another host: {request.url}")


@pytest.fixture(scope="session")
def base_url() -> None:
    """Every test has an address of its own; the plugin's fixture is none that pytest 9 likes."""


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: run scripts/install-chromium.")
    return {
        "executable_path": str(CHROMIUM),
        "args": [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture
def serve() -> Iterator[Callable[[Flask], Site]]:
    """Let an app answer on loopback."""
    running = []

    def one(app: Flask) -> Site:
        server = make_server("127.0.0.1", 0, _uncompressed(app), threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        running.append((server, thread))
        return Site(app, f"http://127.0.0.1:{server.server_port}")

    yield one
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def _uncompressed(app: Flask) -> Callable[..., Any]:
    """Flask-Compress leaves closing a static file to the garbage collector, which warns."""

    def serve_plain(environ: dict[str, Any], start_response: Any) -> Any:
        environ.pop("HTTP_ACCEPT_ENCODING", None)
        return app(environ, start_response)

    return serve_plain


@pytest.fixture
def site(make: Callable[..., Flask], serve: Callable[[Flask], Site]) -> Site:
    return serve(make())


@pytest.fixture
def watch() -> Iterator[Watch]:
    listening = Watch()
    yield listening
    assert not listening.complaints, "\n".join(listening.complaints)


@pytest.fixture
def visit(request: pytest.FixtureRequest, watch: Watch, serve: object, new_context: Any) -> Visit:
    """A page signed in under a user's name; None is anonymous."""

    def one(
        name: str | None = "admin",
        *,
        theme: Theme = "light",
        width: int = WIDE,
        site: Site | None = None,
        javascript: bool = True,
    ) -> Page:
        home: Site = site or request.getfixturevalue("site")
        context: BrowserContext = new_context(
            base_url=home.url,
            viewport={"width": width, "height": 800},
            color_scheme="light",
            reduced_motion="reduce",
            java_script_enabled=javascript,
        )
        context.set_default_timeout(10_000)
        context.add_cookies([{"name": "theme", "value": theme, "url": home.url}])
        if name is not None:
            context.add_cookies(
                [{"name": "session", "value": _session(home.app, name), "url": home.url}]
            )
        watch.over(context, home.url)
        return context.new_page()

    return one


def _session(app: Flask, name: str) -> str:
    """The cookie of a person who signed in; the form itself is tested in tests/web."""
    client: Client = sign_in(app, name)
    cookie = client.get_cookie("session")
    assert cookie is not None
    return cookie.value


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit("admin")


@pytest.fixture
def operator_page(visit: Visit) -> Page:
    return visit("operator")


@pytest.fixture
def viewer_page(visit: Visit) -> Page:
    return visit("viewer")


@pytest.fixture
def empty_page(visit: Visit, make: Callable[..., Flask], serve: Callable[[Flask], Site]) -> Page:
    return visit("admin", site=serve(make(full=False, vendors=False)))


@pytest.fixture(params=LOOKS, ids=[f"{theme}-{width}" for theme, width in LOOKS])
def look(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Give it to `visit`: `page = visit("admin", **look)`."""
    theme, width = request.param
    return {"theme": theme, "width": width}
