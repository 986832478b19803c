"""Without passwords: what was begun with one is over, and who comes another way stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from models import LoginSession, User
from services.people.sign_in import begin_session
from tests import identity_provider
from tests.identity_provider import FakeProvider
from tests.web.client import Client
from tests.web.conftest import Make
from tests.web.identity_walk import browser, signed_in, walk
from tests.web.world import NOW, installation_of

HEADER = {"SIGN_IN_HEADER": "X-Remote-User", "SIGN_IN_PROXIES": "10.1.2.3"}
CSRF: dict[str, dict[str, Any]] = {"GET": {}, "POST": {"csrf": False}}
PROXY = {"REMOTE_ADDR": "10.1.2.3"}


def tokens(app: Flask) -> list[str]:
    with installation_of(app).reading() as session:
        return [row.token_hash for row in session.query(LoginSession)]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with identity_provider.start(lambda: NOW) as running:
        yield running


def with_session(app: Flask, name: str) -> Client:
    """A browser that signed in with a password before passwords were switched off."""
    here = installation_of(app)
    with here.session() as session, session.begin():
        user = session.query(User).filter_by(name=name).one()
        token = begin_session(session, user, now=here.now())
    client = browser(app)
    with client.session_transaction() as cookie:
        cookie["_user_id"], cookie["_fresh"] = token, True
    return client


def sessions(app: Flask) -> list[str]:
    with installation_of(app).reading() as session:
        return [row.user.name for row in session.query(LoginSession)]


def test_a_session_goes_on_as_long_as_passwords_count(make: Make, provider: FakeProvider) -> None:
    assert signed_in(with_session(make(full=False, vendors=False, **provider.env()), "admin"))


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_session_begun_with_a_password_is_over(
    make: Make, provider: FakeProvider, method: str
) -> None:
    app = make(full=False, vendors=False, **provider.env(), LOCAL_LOGIN="false")
    client = with_session(app, "admin")
    here = {"GET": "/settings/account", "POST": "/settings/account/sign-out-elsewhere"}
    assert client.open(here[method], method=method, **CSRF[method]).status_code in (302, 400)
    assert not signed_in(client)
    assert sessions(app) == []  # no copy of the cookie comes back with the passwords


def test_who_came_by_the_provider_stays(make: Make, provider: FakeProvider) -> None:
    app = make(full=False, vendors=False, **provider.env(), LOCAL_LOGIN="false")
    provider.now = installation_of(app).now
    client = browser(app)
    assert walk(client).status_code == 303
    assert signed_in(client)
    assert sessions(app) == ["Anna"]


def test_the_header_goes_on_with_what_a_password_began(make: Make) -> None:
    app = make(full=False, vendors=False, **HEADER, LOCAL_LOGIN="false")
    client = with_session(app, "admin")
    (before,) = tokens(app)
    named: Any = {"headers": {"X-Remote-User": "admin"}, "environ_base": PROXY}
    assert client.get("/settings/account", **named).status_code == 200
    assert client.get("/static/none.css", **named).status_code == 404
    assert client.get("/settings/account", **named).status_code == 200
    assert tokens(app) == [before]  # no new one with each request, which no form would survive


@pytest.mark.parametrize("path", ["/settings/account", "/sign-in", "/no-such-page"])
def test_without_the_header_it_is_over(make: Make, path: str) -> None:
    app = make(full=False, vendors=False, **HEADER, LOCAL_LOGIN="false")
    client = with_session(app, "admin")
    client.get(path, environ_base=PROXY)
    assert sessions(app) == []
