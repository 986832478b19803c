"""Your account: sessions, and the second factor as a person goes through it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyotp
import pytest
import sqlalchemy as sa
from flask import Flask

import models
from tests.web.client import PASSWORD, Client, page_of
from tests.web.test_auth import code_of, enter, switch_on, user
from tests.web.world import Clock, installation_of

SignIn = Callable[[Flask, str], Client]
ACCOUNT = "/settings/account"
FACTOR = f"{ACCOUNT}/second-factor"
CONFIRM = f"{FACTOR}/confirm"


def shown_secret(client: Client) -> str:
    return client.page(CONFIRM).all("code")[0].text.replace(" ", "")


def propose(client: Client) -> str:
    assert client.fill(FACTOR, {"current": PASSWORD}, button="Go on").location == CONFIRM
    return shown_secret(client)


def signed_in_with_code(app: Flask, clock: Clock, name: str = "viewer") -> Client:
    secret, _ = switch_on(app, clock, name)
    client = app.test_client()
    assert isinstance(client, Client)
    client.sign_in(name)
    assert enter(client, code_of(secret, clock)).status_code == 303
    return client


def test_a_second_factor_is_set_up(app: Flask, viewer: Client, clock: Clock) -> None:
    assert "Set up a second factor" in viewer.page(ACCOUNT).text
    secret = propose(viewer)
    assert viewer.page(CONFIRM).one(role="img").all("svg")
    assert shown_secret(viewer) == secret
    answer = viewer.fill(CONFIRM, {"code": code_of(secret, clock)}, button="Switch on")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    codes = [code.text for code in page_of(answer).all("code")]
    assert len(codes) == 10
    page = viewer.page(ACCOUNT).text
    assert "10 of 10 recovery codes left" in page
    assert not any(code in page for code in codes)
    assert viewer.get(CONFIRM).location == ACCOUNT
    clock.forward(minutes=1)
    client = app.test_client()
    assert isinstance(client, Client)
    client.sign_in("viewer")
    assert enter(client, codes[3]).status_code == 303
    assert "9 of 10 recovery codes left" in client.page(ACCOUNT).text


def test_sending_the_first_code_again_shows_nothing(viewer: Client, clock: Clock) -> None:
    """Reloading the page of the recovery codes does not show them again."""
    secret = propose(viewer)
    data = {"code": code_of(secret, clock)}
    assert viewer.post(CONFIRM, data=data).status_code == 200
    again = viewer.post(CONFIRM, data=data)
    assert (again.status_code, again.location) == (303, ACCOUNT)


@pytest.mark.parametrize(
    ("code", "words"), [("000000", "This code is wrong"), ("", "Enter a code")]
)
def test_a_wrong_first_code_switches_nothing_on(viewer: Client, code: str, words: str) -> None:
    secret = propose(viewer)
    answer = viewer.fill(CONFIRM, {"code": code}, button="Switch on")
    assert answer.status_code == 422
    assert words in page_of(answer).one(id="code-error").text
    assert shown_secret(viewer) == secret
    assert "off" in viewer.page(ACCOUNT).one(id="second-factor").text


@pytest.mark.parametrize(
    ("path", "button"),
    [
        (FACTOR, "Go on"),
        (f"{FACTOR}/off", "Switch off"),
        (f"{FACTOR}/recovery-codes", "Make new codes"),
    ],
)
def test_a_browser_that_was_found_open_is_not_enough(
    app: Flask, viewer: Client, clock: Clock, path: str, button: str
) -> None:
    client = viewer if path == FACTOR else signed_in_with_code(app, clock)
    for password, words in (("wrong", "This is not your password"), ("", "Enter your present")):
        answer = client.fill(path, {"current": password}, button=button)
        assert answer.status_code == 422
        assert words in page_of(answer).one(id="current-error").text
    for _ in range(9):
        client.post(path, data={"current": "wrong"})
    answer = client.post(path, data={"current": PASSWORD})
    assert answer.status_code == 429
    assert "Try again in 15 minutes" in answer.text


def test_a_secret_that_was_left_unconfirmed_is_not_shown_again(
    app: Flask, viewer: Client, sign_in: SignIn, clock: Clock
) -> None:
    """Else a browser found open would do: who knows the secret shuts its owner out."""
    secret = propose(viewer)
    other = sign_in(app, "viewer")
    assert other.get(CONFIRM).location == FACTOR
    clock.forward(minutes=10, seconds=1)
    for method in ("GET", "POST"):
        answer = viewer.open(CONFIRM, method=method, data={"code": code_of(secret, clock)})
        assert (answer.status_code, answer.location) == (303, FACTOR)
    assert "off" in viewer.page(ACCOUNT).one(id="second-factor").text
    assert propose(viewer) != secret


def test_it_is_switched_off(app: Flask, clock: Clock) -> None:
    client = signed_in_with_code(app, clock)
    answer = client.fill(f"{FACTOR}/off", {"current": PASSWORD}, button="Switch off")
    assert (answer.status_code, answer.location) == (303, ACCOUNT)
    assert "Your second factor is off" in client.page(ACCOUNT).text
    client.post("/sign-out")
    assert client.sign_in("viewer").location == "/"


def test_new_recovery_codes_are_shown_once(app: Flask, clock: Clock) -> None:
    client = signed_in_with_code(app, clock)
    path = f"{FACTOR}/recovery-codes"
    shown = [
        [c.text for c in page_of(client.fill(path, {"current": PASSWORD})).all("code")]
        for _ in range(2)
    ]
    assert all(len(codes) == 10 for codes in shown)
    assert not set(shown[0]) & set(shown[1])
    assert "Make new codes" in client.page(path).text


@pytest.mark.parametrize("path", [f"{FACTOR}/off", f"{FACTOR}/recovery-codes"])
def test_what_is_off_is_neither_switched_off_nor_given_codes(viewer: Client, path: str) -> None:
    answer = viewer.fill(path, {"current": PASSWORD})
    assert answer.status_code == 422
    assert "Nothing was changed." in page_of(answer).one("p", role="alert").text


def test_two_administrators_help_each_other(app: Flask, admin: Client, clock: Clock) -> None:
    client = signed_in_with_code(app, clock)
    with installation_of(app).reading() as session:
        number = user(session, "viewer").id
    assert "second factor" in admin.page("/settings/users").text
    path = f"/settings/users/{number}/second-factor"
    assert admin.fill(path, {}, button="Remove second factor").status_code == 303
    assert client.get(ACCOUNT).status_code == 302
    assert client.sign_in("viewer").location == "/"
    with installation_of(app).reading() as session:
        of_it = models.AuditEvent.action == "user.second_factor"
        events = session.scalars(sa.select(models.AuditEvent).where(of_it)).all()
        assert (events[-1].actor, events[-1].subject) == ("admin", "user viewer")
    again = admin.post(path)
    assert again.status_code == 422
    assert "viewer has no second factor. Nothing was changed." in page_of(again).text


def test_the_secret_is_nowhere_but_on_its_page(app: Flask, viewer: Client, clock: Clock) -> None:
    secret = propose(viewer)
    viewer.fill(CONFIRM, {"code": code_of(secret, clock)})
    log = installation_of(app).config.data_dir / "tallybridge.log"
    assert secret not in log.read_text(encoding="utf-8")
    with installation_of(app).reading() as session:
        events = session.scalars(sa.select(models.AuditEvent))
        assert secret not in str([(e.subject, e.before, e.after) for e in events])


def test_sessions_are_listed_and_others_ended(app: Flask, viewer: Client, sign_in: SignIn) -> None:
    assert "Sign out everywhere else" not in viewer.page(ACCOUNT).text
    elsewhere, somebody = sign_in(app, "viewer"), sign_in(app, "operator")
    rows = viewer.page(ACCOUNT).all("tbody")[0].all("tr")
    assert ["this browser" in row.text for row in rows].count(True) == 1
    assert len(rows) == 2
    answer = viewer.fill(ACCOUNT, {}, button="Sign out everywhere else")
    assert (answer.status_code, answer.location) == (303, ACCOUNT)
    assert "You are signed out everywhere else." in viewer.page(ACCOUNT).text
    assert elsewhere.get(ACCOUNT).status_code == 302
    assert somebody.get(ACCOUNT).status_code == 200


def test_who_waits_for_a_code_is_not_listed(app: Flask, clock: Clock) -> None:
    client = signed_in_with_code(app, clock)
    other = app.test_client()
    assert isinstance(other, Client)
    other.sign_in("viewer")
    assert len(client.page(ACCOUNT).all("tbody")[0].all("tr")) == 1


def test_who_signs_in_elsewhere_has_neither(app: Flask, viewer: Client) -> None:
    with installation_of(app).session() as session, session.begin():
        user(session, "viewer").password_hash = ""
    page = viewer.page(ACCOUNT).text
    assert "You sign in elsewhere and have no password here." in page
    assert "Set up" not in page
    assert "You sign in elsewhere" in viewer.page("/settings/password").text
    assert viewer.post(FACTOR, data={"current": PASSWORD}).status_code == 422
    assert viewer.sign_in("viewer", "").status_code == 422


def test_a_hostile_name_stays_text(app: Flask, admin: Client, clock: Clock) -> None:
    name = "<svg onload=alert(1)>\"'&?secret=x"
    values = {"name": name, "role": "viewer", "password": PASSWORD, "again": PASSWORD}
    assert admin.fill("/settings/users/new", values, button="Add user").status_code == 303
    client = app.test_client()
    assert isinstance(client, Client)
    client.sign_in(name)
    secret = propose(client)
    assert re.fullmatch(r"[A-Z2-7]{32}", secret)
    code = pyotp.TOTP(secret).at(clock.moment)
    assert client.fill(CONFIRM, {"code": code}).status_code == 200
