"""Who may do what, and the headers, cookies and tokens that every answer depends on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from models import Role
from tests.web.client import PASSWORD, Client, page_of
from tests.web.test_access_matrix import ROLES, routes
from tests.web.world import Clock

RANK = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]


# --- roles (who reaches which view: test_access_matrix.py) --------------------------------------


@pytest.mark.parametrize("role", RANK)
def test_each_role_reads_what_it_may_and_nothing_else(
    app: Flask, role: Role, sign_in: Callable[[Flask, str], Client]
) -> None:
    client = sign_in(app, role.value)
    for endpoint, method, path in routes(app):
        needed = ROLES[endpoint]
        if method != "GET" or needed == "public":
            continue
        allowed = RANK.index(role) >= RANK.index(Role(needed))
        answer = client.get(path)
        answer.close()  # a download may hold a file
        assert (answer.status_code == 403) is not allowed, f"{path}: {answer.status}"
        assert answer.status_code < 500 or answer.status_code in (502, 503), path


def test_a_token_of_another_browser_does_not_help(
    app: Flask, admin: Client, anonymous: Client
) -> None:
    foreign = {"csrf_token": anonymous.token()}
    answer = admin.post("/settings/safety", data=foreign, csrf=False)
    assert answer.status_code == 400


def test_htmx_is_told_to_load_the_sign_in_page(anonymous: Client) -> None:
    answer = anonymous.get("/settings", htmx=True)
    assert (answer.status_code, answer.headers["HX-Refresh"]) == (401, "true")


# --- headers ------------------------------------------------------------------------------------


def explode() -> str:
    raise RuntimeError("the secret is 1234")


explode.required_role = "public"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sign-in", 200),
        ("/", 302),
        ("/no-such-page", 404),
        ("/explode", 500),
        ("/static/app.css", 200),
        ("/static/no-such-file", 404),
        ("/icons.svg", 200),
    ],
)
def test_every_answer_has_the_headers(
    app: Flask, anonymous: Client, path: str, status: int
) -> None:
    app.add_url_rule("/explode", "explode", explode)
    anonymous.expects_500 = True
    answer = anonymous.get(path)
    answer.get_data()
    answer.close()
    assert answer.status_code == status
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    for part in ("object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert part in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_a_failure_tells_nothing_of_its_inside(app: Flask, anonymous: Client) -> None:
    app.add_url_rule("/explode", "explode", explode)
    anonymous.expects_500 = True
    answer = anonymous.get("/explode")
    assert "1234" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "It is in the log" in answer.text


def test_each_answer_has_a_nonce_of_its_own(anonymous: Client) -> None:
    policies = [anonymous.get("/sign-in").headers["Content-Security-Policy"] for _ in range(3)]
    nonces = [re.findall(r"'nonce-([^']+)'", policy) for policy in policies]
    assert len({nonce for (nonce,) in nonces}) == 3


def test_pages_are_not_kept_by_anybody(viewer: Client) -> None:
    assert viewer.get("/settings").headers["Cache-Control"] == "no-store"


def test_over_https_browsers_stay_there(make: Callable[..., Flask]) -> None:
    client = make().test_client()
    secure = {"base_url": "https://localhost"}
    assert "Strict-Transport-Security" in client.get("/sign-in", **secure).headers
    assert "Strict-Transport-Security" not in client.get("/sign-in").headers


def test_a_host_that_is_not_trusted_is_refused(make: Callable[..., Flask]) -> None:
    client = make(TRUSTED_HOSTS="billing.example").test_client()
    assert client.get("/sign-in", base_url="http://evil.example").status_code == 400
    assert client.get("/sign-in", base_url="http://billing.example").status_code == 200


# --- cookies and sessions -----------------------------------------------------------------------


def cookies(answer: Any, name: str) -> str:
    set_now: list[str] = answer.headers.getlist("Set-Cookie")
    return next(c for c in set_now if c.startswith(f"{name}="))


def test_the_session_cookie_is_out_of_reach(anonymous: Client) -> None:
    cookie = cookies(anonymous.sign_in("admin"), "session")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie


def test_over_https_cookies_are_secure(app: Flask) -> None:
    client = app.test_client()
    page = page_of(client.get("/sign-in", base_url="https://localhost"))
    token = page.all("input", name="csrf_token")[0]["value"]
    answer = client.post(
        "/sign-in",
        base_url="https://localhost",
        headers={"Referer": "https://localhost/sign-in"},
        data={"name": "admin", "password": PASSWORD, "csrf_token": token},
        csrf=False,
    )
    assert answer.status_code == 303
    assert "Secure" in cookies(answer, "session")


def test_a_copied_cookie_is_dead_after_signing_out(app: Flask, admin: Client) -> None:
    stolen = admin.get_cookie("session")
    assert stolen is not None
    thief = app.test_client()
    thief.set_cookie("session", stolen.value)
    assert thief.get("/settings").status_code == 200
    assert admin.post("/sign-out").status_code == 303
    assert thief.get("/settings").status_code == 302


def test_signing_in_begins_a_session_of_its_own(anonymous: Client) -> None:
    anonymous.get("/sign-in")
    before = anonymous.get_cookie("session")
    anonymous.sign_in("viewer")
    after = anonymous.get_cookie("session")
    assert before is not None
    assert after is not None
    assert before.value != after.value


@pytest.mark.parametrize(("hours", "status"), [(11, 200), (13, 302)])
def test_an_idle_session_ends(viewer: Client, clock: Clock, hours: int, status: int) -> None:
    clock.forward(hours=hours)
    assert viewer.get("/settings").status_code == status


def test_a_session_in_use_ends_after_a_week(viewer: Client, clock: Clock) -> None:
    for _ in range(15):
        clock.forward(hours=11)
        assert viewer.get("/settings").status_code == 200
    clock.forward(hours=11)
    assert viewer.get("/settings").status_code == 302


# --- signing in ---------------------------------------------------------------------------------


def test_guessing_is_slowed_down_even_for_the_right_password(
    anonymous: Client, clock: Clock
) -> None:
    for _ in range(10):
        assert anonymous.sign_in("admin", "wrong").status_code == 422
    assert anonymous.sign_in("admin").status_code == 429
    assert anonymous.sign_in("viewer").status_code == 303
    clock.forward(minutes=16)
    assert anonymous.sign_in("admin").status_code == 303


FOREIGN = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "/\\evil.example/",
    "\\\\evil.example/",
    "javascript:alert(1)",
    "/\t/evil.example/",
    "http:evil.example",
    "evil.example",
    "//[evil.example/",
    "//evil℀.example/",
    "/\r\nLocation: https://evil.example/",
    "/settings\x00",
]


@pytest.mark.parametrize("wanted", FOREIGN)
def test_signing_in_leads_to_no_other_site(anonymous: Client, wanted: str) -> None:
    answer = anonymous.post(
        "/sign-in", query_string={"next": wanted}, data={"name": "viewer", "password": PASSWORD}
    )
    assert (answer.status_code, answer.location) == (303, "/")


@pytest.mark.parametrize("wanted", FOREIGN)
def test_choosing_colours_leads_to_no_other_site(anonymous: Client, wanted: str) -> None:
    answer = anonymous.post("/theme", data={"theme": "dark", "back": wanted})
    assert (answer.status_code, answer.location) == (303, "/")


def test_signing_in_leads_back_to_the_page_that_was_wanted(anonymous: Client) -> None:
    asked = anonymous.get("/settings/safety?x=1&y=2")
    answer = anonymous.post(asked.location, data={"name": "viewer", "password": PASSWORD})
    assert answer.location == "/settings/safety?x=1&y=2"


# --- colours ------------------------------------------------------------------------------------


def test_the_colours_chosen_are_kept(viewer: Client) -> None:
    answer = viewer.post("/theme", data={"theme": "dark", "back": "/settings"})
    assert answer.location == "/settings"
    assert "HttpOnly" in cookies(answer, "theme")
    assert viewer.page("/settings").one("html")["data-theme"] == "dark"


@pytest.mark.parametrize("theme", ["purple", '"><script>'])
def test_colours_that_do_not_exist_are_not_kept(viewer: Client, theme: str) -> None:
    answer = viewer.post("/theme", data={"theme": theme, "back": "/settings"})
    assert not [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("theme=")]
    viewer.set_cookie("theme", theme)
    assert "data-theme" not in viewer.page("/settings").one("html")
