"""Signing in by a header: believed from the named proxies alone, and only while it is there."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from models import LoginSession
from tests.web.client import PASSWORD, Client, page_of
from tests.web.conftest import Make
from tests.web.identity_walk import browser
from tests.web.world import Clock, installation_of

NEW = "a new long password"
PROXY, OUTSIDE = "10.1.2.3", "192.0.2.7"
SETTINGS = {"SIGN_IN_HEADER": "X-Remote-User", "SIGN_IN_PROXIES": "10.1.2.0/24, 2001:db8::7"}


@pytest.fixture
def app(make: Make) -> Flask:
    return make(full=False, vendors=False, **SETTINGS)


def ask(
    client: Client, name: str | None = None, *, peer: str = PROXY, path: str = "/settings",
    method: str = "GET", headers: Any = (), **kwargs: Any,
) -> TestResponse:  # fmt: skip
    """A request as it comes from `peer`, with the name that it says it found."""
    sent = [*headers, *([("X-Remote-User", name)] if name is not None else [])]
    return client.open(
        path, method=method, headers=sent, environ_base={"REMOTE_ADDR": peer}, **kwargs
    )


def who(client: Client, answer: TestResponse) -> str:
    """Whom the page greets."""
    assert answer.status_code == 200, answer.text
    return page_of(answer).text


def sessions(app: Flask) -> list[str]:
    with installation_of(app).reading() as session:
        return [row.user.name for row in session.query(LoginSession)]


# --- who is believed ----------------------------------------------------------------------------


def test_the_proxy_signs_somebody_in(app: Flask, anonymous: Client) -> None:
    assert "viewer" in who(anonymous, ask(anonymous, "viewer"))
    assert ask(anonymous, "viewer", path="/settings/users").status_code == 403
    assert sessions(app) == ["viewer"]


@pytest.mark.parametrize("peer", [PROXY, "2001:db8::7", "::ffff:10.1.2.3"])
def test_every_way_to_write_its_address_counts(anonymous: Client, peer: str) -> None:
    assert ask(anonymous, "admin", peer=peer).status_code == 200


@pytest.mark.parametrize(
    "peer", [OUTSIDE, "127.0.0.1", "10.1.3.3", "2001:db8::8", "::1", "", "unix:", "10.1.2.3.4"]
)
def test_from_anybody_else_the_header_is_refused(app: Flask, anonymous: Client, peer: str) -> None:
    answer = ask(anonymous, "admin", peer=peer)
    assert answer.status_code == 403
    assert "SIGN_IN_PROXIES" in page_of(answer).text
    assert sessions(app) == []
    log = (installation_of(app).config.data_dir / "tallybridge.log").read_text(encoding="utf-8")
    assert f"from {peer} was refused" in log


@pytest.mark.parametrize("path", ["/", "/sign-in", "/no-such-page", "/icons.svg", "/signed-out"])
def test_it_is_refused_on_every_page(anonymous: Client, path: str) -> None:
    assert ask(anonymous, "admin", peer=OUTSIDE, path=path).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": PROXY},
        {"X-Forwarded-For": f"{PROXY}, {PROXY}"},
        {"X-Real-Ip": PROXY, "X-Forwarded-For": PROXY},
        {"Forwarded": f"for={PROXY}", "X-Forwarded-For": PROXY},
    ],
)
@pytest.mark.parametrize("hops", ["0", "1", "2"])
def test_a_forwarded_address_makes_nobody_a_proxy(
    make: Make, headers: dict[str, str], hops: str
) -> None:
    client = browser(make(full=False, vendors=False, **SETTINGS, PROXY_HOPS=hops))
    answer = ask(client, "admin", peer=OUTSIDE, headers=list(headers.items()))
    assert answer.status_code == 403


def test_behind_proxyfix_the_peer_counts_not_the_browser(make: Make) -> None:
    client = browser(make(full=False, vendors=False, **SETTINGS, PROXY_HOPS="1"))
    seen = [("X-Forwarded-For", OUTSIDE)]
    assert ask(client, "admin", headers=seen).status_code == 200


@pytest.mark.parametrize(
    "value",
    ["admin, viewer", "viewer,admin", "admin,", "ad\tmin", "admin\x00", "x" * 151, "\xff\xfe"],
)
def test_a_header_that_is_not_one_name_is_refused(
    app: Flask, anonymous: Client, value: str
) -> None:
    answer = anonymous.get(
        "/settings", environ_base={"REMOTE_ADDR": PROXY, "HTTP_X_REMOTE_USER": value}
    )
    assert answer.status_code == 403
    assert "once, with one name" in page_of(answer).text
    assert sessions(app) == []


def test_the_header_twice_is_refused(app: Flask, anonymous: Client) -> None:
    headers = [("X-Remote-User", "viewer")]
    assert ask(anonymous, "admin", headers=headers).status_code == 403
    assert sessions(app) == []


@pytest.mark.parametrize("name", ["nobody", "Admin", "<b>x</b>", "' or 1=1 --"])
def test_a_name_without_an_account_is_told_so(app: Flask, anonymous: Client, name: str) -> None:
    answer = ask(anonymous, name)
    assert answer.status_code == 403
    assert f"you are {name}, but there is no account" in page_of(answer).text
    assert sessions(app) == []


def test_a_name_in_another_alphabet_is_understood(anonymous: Client) -> None:
    value = "Jörg".encode().decode("latin-1")
    answer = anonymous.get(
        "/settings", environ_base={"REMOTE_ADDR": PROXY, "HTTP_X_REMOTE_USER": value}
    )
    assert "you are Jörg, but" in page_of(answer).text


def test_without_the_setting_the_header_means_nothing(make: Make) -> None:
    client = browser(make(full=False, vendors=False))
    assert ask(client, "admin").location.startswith("/sign-in")


@pytest.mark.parametrize("name", [None, ""])
def test_without_a_name_somebody_is_asked_to_sign_in(anonymous: Client, name: str | None) -> None:
    assert ask(anonymous, name).location.startswith("/sign-in")


# --- how long it lasts --------------------------------------------------------------------------


def test_the_session_is_used_again(app: Flask, anonymous: Client, clock: Clock) -> None:
    for _ in range(3):
        assert ask(anonymous, "viewer").status_code == 200
    assert sessions(app) == ["viewer"]
    clock.forward(hours=13)
    assert ask(anonymous, "viewer").status_code == 200


def test_another_name_ends_the_session(app: Flask, anonymous: Client) -> None:
    ask(anonymous, "admin")
    assert ask(anonymous, "viewer", path="/settings/users").status_code == 403
    assert sessions(app) == ["viewer"]


def test_an_unknown_name_ends_the_session_too(app: Flask, anonymous: Client) -> None:
    ask(anonymous, "admin")
    assert ask(anonymous, "nobody").status_code == 403
    assert sessions(app) == []
    assert ask(anonymous).location.startswith("/sign-in")


@pytest.mark.parametrize("peer", [PROXY, OUTSIDE])
def test_without_the_header_the_session_is_over(app: Flask, anonymous: Client, peer: str) -> None:
    """Also when somebody takes the cookie past the proxy."""
    ask(anonymous, "admin")
    assert ask(anonymous, peer=peer).location.startswith("/sign-in")
    assert sessions(app) == []


def test_a_copied_cookie_does_not_outlive_the_header(app: Flask, anonymous: Client) -> None:
    ask(anonymous, "admin")
    cookie, thief = anonymous.get_cookie("session"), browser(app)
    assert cookie is not None
    thief.set_cookie("session", cookie.value)
    assert ask(thief, peer=OUTSIDE).status_code == 302
    assert ask(thief, "viewer", path="/settings/users").status_code == 403


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("/settings/account/sign-out-elsewhere", {}),
        ("/settings/password", {"current": PASSWORD, "password": NEW, "again": NEW}),
        ("/sign-in", {"name": "admin", "password": PASSWORD}),
    ],
)
def test_a_new_token_does_not_outlive_the_header_either(
    app: Flask, anonymous: Client, path: str, data: dict[str, str]
) -> None:
    """Whoever did it keeps the cookie of this very answer, and goes past the proxy."""
    token = page_of(ask(anonymous, "admin")).all("input", name="csrf_token")[0]["value"]
    answer = ask(
        anonymous, "admin", path=path, method="POST", data={"csrf_token": token, **data},
        csrf=False,
    )  # fmt: skip
    assert answer.status_code == 303
    cookie, thief = anonymous.get_cookie("session"), browser(app)
    assert cookie is not None
    thief.set_cookie("session", cookie.value)
    assert ask(thief, peer=OUTSIDE).status_code == 302
    assert sessions(app) == []


def test_the_header_overrules_a_password(app: Flask, anonymous: Client) -> None:
    assert anonymous.sign_in("admin").status_code == 303
    assert ask(anonymous, peer=OUTSIDE).status_code == 200
    assert ask(anonymous, "viewer", path="/settings/users").status_code == 403
    assert sessions(app) == ["viewer"]


def test_a_form_is_not_sent_as_somebody_else(app: Flask, anonymous: Client) -> None:
    """The page was filled in by one person; by now the proxy names another."""
    ask(anonymous, "viewer")
    token = page_of(ask(anonymous, "viewer")).all("input", name="csrf_token")[0]["value"]
    answer = ask(
        anonymous, "admin", path="/settings/safety", method="POST", data={"csrf_token": token},
        csrf=False,
    )  # fmt: skip
    assert answer.status_code == 403
    assert "Nothing was changed" in page_of(answer).text
    assert sessions(app) == []


def test_signing_out_says_that_the_proxy_goes_on(app: Flask, anonymous: Client) -> None:
    page = page_of(ask(anonymous, "viewer"))
    token = page.all("input", name="csrf_token")[0]["value"]
    answer = ask(
        anonymous, "viewer", path="/sign-out", method="POST", data={"csrf_token": token},
        csrf=False,
    )  # fmt: skip
    assert answer.location == "/signed-out"
    assert sessions(app) == []
    text = page_of(ask(anonymous, "viewer", path="/signed-out")).text
    assert "Your reverse proxy may still know you" in text
    assert sessions(app) == []


def test_pages_for_everybody_begin_no_session(app: Flask, anonymous: Client) -> None:
    for path in ("/sign-in", "/icons.svg", "/no-such-page"):
        ask(anonymous, "viewer", path=path)
    assert sessions(app) == []


def test_without_passwords_the_page_says_who_signs_in(make: Make) -> None:
    client = browser(make(full=False, vendors=False, **SETTINGS, LOCAL_LOGIN="false"))
    page = page_of(ask(client, path="/sign-in"))
    assert "it named nobody" in page.text
    assert not page.all("input")
