"""Signed-in clients over a seeded installation; every page that any test fetches is checked.

- `viewer`, `operator`, `admin`, `anonymous`: clients (see client.py) over `app`, which has the
  sample mappings, one finished run, held changes and findings, and a sandbox of both vendors.
- `empty_admin`: an administrator of a fresh installation: no mapping, no run, no vendor.
- `reader`, `caller`: callers of the JSON API, by tokens of the operator to read and to sync.
- `browser`, `anna`: of an installation without an account (`fresh`), before and after the first.
- `make`: an app of another kind, and `sign_in(app, "operator")`: a client of it.
- `sandbox`: both vendors, as they were at first for every test; `clock`: moves when you say so;
  `database`: a session on the app's database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from app import engine_of
from sandbox import Sandbox
from tests.databases import drop, url_of
from tests.web.api_client import Api, api_of, token_of
from tests.web.client import Client
from tests.web.first_run import ACCOUNT, hosts, without_users
from tests.web.world import (
    Clock,
    World,
    build,
    clock_of,
    close,
    copy_data,
    installation_of,
    make_app,
)

Make = Callable[..., Flask]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with build(tmp_path_factory.mktemp("world")) as built:
        yield built


@pytest.fixture
def sandbox(world: World) -> Iterator[Sandbox]:
    yield world.sandbox
    world.reset()


@pytest.fixture
def make(world: World, sandbox: Sandbox, tmp_path: Path) -> Iterator[Make]:
    """Make an app: `make()`, `make(full=False)`, `make(stored=True)`, `make(READ_ONLY="true")`.

    `vendors=False` configures none; `stored=True` has their values typed in by a person.
    """
    made: list[Flask] = []

    def one(*, full: bool = True, vendors: bool = True, **changes: Any) -> Flask:
        data = tmp_path / f"data{len(made)}"
        copy_data(world.folder / ("full" if full else "empty"), data)
        app = make_app(data, sandbox if vendors else None, **changes)
        app.test_client_class = Client
        made.append(app)
        return app

    yield one
    for app in made:
        close(app)
        drop(url_of(engine_of(app)))


@pytest.fixture
def app(make: Make) -> Flask:
    return make()


@pytest.fixture
def clock(app: Flask) -> Clock:
    return clock_of(app)


@pytest.fixture
def database(app: Flask) -> Iterator[Session]:
    with installation_of(app).reading() as session:
        yield session


def sign_in(app: Flask, name: str) -> Client:
    """A client of an app, signed in through the form as the user of this name."""
    client = app.test_client()
    assert isinstance(client, Client)
    assert client.sign_in(name).status_code == 303
    return client


@pytest.fixture(name="sign_in")
def sign_in_fixture() -> Callable[[Flask, str], Client]:
    return sign_in


@pytest.fixture
def anonymous(app: Flask) -> Client:
    client = app.test_client()
    assert isinstance(client, Client)
    return client


@pytest.fixture
def viewer(app: Flask) -> Client:
    return sign_in(app, "viewer")


@pytest.fixture
def operator(app: Flask) -> Client:
    return sign_in(app, "operator")


@pytest.fixture
def admin(app: Flask) -> Client:
    return sign_in(app, "admin")


@pytest.fixture
def empty_admin(make: Make) -> Client:
    return sign_in(make(full=False, vendors=False), "admin")


@pytest.fixture
def reader(app: Flask) -> Api:
    return api_of(app, token_of(app, "operator", "read"))


@pytest.fixture
def caller(app: Flask) -> Api:
    return api_of(app, token_of(app, "operator", "sync"))


# --- the first run ------------------------------------------------------------------------------


@pytest.fixture
def fresh(make: Make, sandbox: Sandbox) -> Flask:
    return without_users(make(full=False, vendors=False, **hosts(sandbox)))


@pytest.fixture
def browser(fresh: Flask) -> Client:
    client = fresh.test_client()
    assert isinstance(client, Client)
    return client


@pytest.fixture
def anna(browser: Client) -> Client:
    """The administrator that the set-up made, before any other step."""
    assert browser.fill("/set-up", ACCOUNT).location == "/set-up/sophos"
    return browser
