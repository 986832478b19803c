"""Signing in and out, the second factor, and what makes a session end."""

from __future__ import annotations

from collections.abc import Callable

import pyotp
import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import models
from services.people import second_factor
from services.people.users import delete_user, set_password
from tests.web.client import PASSWORD, Client, page_of
from tests.web.world import NOW, Clock, installation_of

SignIn = Callable[[Flask, str], Client]
NEW = "a new long password"


def user(session: Session, name: str) -> models.User:
    return session.scalars(sa.select(models.User).where(models.User.name == name)).one()


def switch_on(app: Flask, clock: Clock, name: str) -> tuple[str, list[str]]:
    """The secret and the recovery codes of a user who has a second factor from now on."""
    here = installation_of(app)
    with here.session() as session, session.begin():
        found = user(session, name)
        second_factor.propose(found, here.vault)
        secret = second_factor.proposed(found, here.vault)
        assert secret is not None
        code = pyotp.TOTP(secret).at(clock.moment)
        codes = second_factor.confirm(session, found, here.vault, code, now=clock.moment)
        assert codes is not None
    clock.forward(minutes=2)
    return secret, codes


def enter(client: Client, code: str, path: str = "/sign-in/code") -> TestResponse:
    return client.fill(path, {"code": code}, button="Sign in")


def code_of(secret: str, clock: Clock) -> str:
    return pyotp.TOTP(secret).at(clock.moment)


# --- the password -------------------------------------------------------------------------------


def test_the_form_signs_in_and_leads_to_the_overview(anonymous: Client) -> None:
    answer = anonymous.sign_in("viewer")
    assert (answer.status_code, answer.location) == (303, "/")
    assert anonymous.get("/").status_code == 200


@pytest.mark.parametrize(
    ("name", "password"),
    [("viewer", "wrong"), ("nobody", "wrong"), ("vie\0wer", "wrong"), ("viewer", f"{PASSWORD} ")],
)
def test_a_wrong_name_and_a_wrong_password_look_alike(
    anonymous: Client, name: str, password: str
) -> None:
    answer = anonymous.sign_in(name, password)
    assert answer.status_code == 422
    assert "Name or password is wrong." in page_of(answer).text
    assert anonymous.get("/").status_code == 302


@pytest.mark.parametrize("name", ["Viewer", " viewer ", "VIEWER"])
def test_a_name_may_be_written_otherwise(anonymous: Client, name: str) -> None:
    assert anonymous.sign_in(name).status_code == 303


def test_a_password_that_is_too_long_is_not_looked_at(anonymous: Client) -> None:
    answer = anonymous.sign_in("viewer", "x" * 1001)
    assert answer.status_code == 422
    assert "at most 1000 characters" in page_of(answer).text


def test_who_is_throttled_is_told_when_to_come_back(anonymous: Client, clock: Clock) -> None:
    for _ in range(10):
        anonymous.sign_in("viewer", "wrong")
    clock.forward(minutes=4)
    answer = anonymous.sign_in("viewer")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "660")
    assert "This one was not looked at. Try again in 11 minutes." in page_of(answer).text
    clock.forward(minutes=11)
    assert anonymous.sign_in("viewer").status_code == 303


# --- the code -----------------------------------------------------------------------------------


def test_after_the_password_comes_the_code(app: Flask, anonymous: Client, clock: Clock) -> None:
    secret, _ = switch_on(app, clock, "operator")
    wanted = anonymous.get("/settings/safety?x=1").location
    answer = anonymous.post(wanted, data={"name": "operator", "password": PASSWORD})
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in/code")
    assert anonymous.get("/settings").status_code == 302
    anonymous.post(wanted, data={"name": "operator", "password": PASSWORD})
    answer = enter(anonymous, code_of(secret, clock), answer.location)
    assert (answer.status_code, answer.location) == (303, "/settings/safety?x=1")
    assert anonymous.get("/settings").status_code == 200


def test_a_wrong_code_is_said_beside_its_field(app: Flask, anonymous: Client, clock: Clock) -> None:
    _, codes = switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    answer = enter(anonymous, "000 000")
    assert answer.status_code == 422
    assert "This code is wrong" in page_of(answer).one(id="code-error").text
    assert anonymous.get("/settings").status_code == 302
    anonymous.sign_in("operator")
    assert enter(anonymous, codes[0]).status_code == 303
    assert anonymous.get("/settings").status_code == 200


def test_codes_are_throttled_even_the_right_one(
    app: Flask, anonymous: Client, clock: Clock
) -> None:
    secret, _ = switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    for _ in range(10):
        assert enter(anonymous, "000000").status_code == 422
    assert enter(anonymous, code_of(secret, clock)).status_code == 429
    clock.forward(minutes=16)
    anonymous.sign_in("operator")
    assert enter(anonymous, code_of(secret, clock)).status_code == 303


def test_a_code_is_asked_for_five_minutes(app: Flask, anonymous: Client, clock: Clock) -> None:
    switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    assert anonymous.get("/sign-in/code").status_code == 200
    clock.forward(minutes=6)
    answer = anonymous.get("/sign-in/code?next=/settings")
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/settings")
    assert "Sign in again" in anonymous.page("/sign-in").text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_a_password_no_code_is_asked(anonymous: Client, method: str) -> None:
    answer = anonymous.open("/sign-in/code", method=method, data={"code": "123456"})
    assert answer.location.startswith("/sign-in")


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "/\\evil.example/"])
def test_the_code_leads_to_no_other_site(
    app: Flask, anonymous: Client, clock: Clock, wanted: str
) -> None:
    secret, _ = switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    data = {"code": code_of(secret, clock)}
    answer = anonymous.post("/sign-in/code", query_string={"next": wanted}, data=data)
    assert (answer.status_code, answer.location) == (303, "/")


def test_each_step_has_a_token_of_its_own(app: Flask, anonymous: Client, clock: Clock) -> None:
    """Whoever saw the cookie before the code has nothing after it."""
    secret, _ = switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    before = copy_of(app, anonymous)
    enter(anonymous, code_of(secret, clock))
    assert anonymous.get("/settings").status_code == 200
    assert before.get("/settings").status_code == 302
    assert before.get("/sign-in/code").status_code == 303


# --- what ends a session ------------------------------------------------------------------------


def copy_of(app: Flask, client: Client) -> Client:
    """A browser with a copy of another one's cookie."""
    cookie, copy = client.get_cookie("session"), app.test_client()
    assert cookie is not None
    assert isinstance(copy, Client)
    copy.set_cookie("session", cookie.value)
    return copy


def sign_out(app: Flask, client: Client, clock: Clock) -> None:
    client.post("/sign-out")


def sign_out_elsewhere(app: Flask, client: Client, clock: Clock) -> None:
    assert client.post("/settings/account/sign-out-elsewhere").status_code == 303


def own_password(app: Flask, client: Client, clock: Clock) -> None:
    values = {"current": PASSWORD, "password": NEW, "again": NEW}
    assert client.fill("/settings/password", values).status_code == 303


def own_second_factor(app: Flask, client: Client, clock: Clock) -> None:
    client.fill("/settings/account/second-factor", {"current": PASSWORD})
    here = installation_of(app)
    with here.reading() as session:
        secret = second_factor.proposed(user(session, "operator"), here.vault)
    assert secret is not None
    values = {"code": code_of(secret, clock)}
    answer = client.fill("/settings/account/second-factor/confirm", values)
    assert "Recovery codes" in page_of(answer).text


def own_second_factor_off(app: Flask, client: Client, clock: Clock) -> None:
    assert client.fill("/settings/account/second-factor/off", {"current": PASSWORD}).location


def password_by_an_administrator(app: Flask, client: Client, clock: Clock) -> None:
    with installation_of(app).session() as session, session.begin():
        set_password(session, user(session, "operator").id, NEW, actor="root", now=NOW)


def role(app: Flask, client: Client, clock: Clock) -> None:
    with installation_of(app).session() as session:
        number = user(session, "operator").id
    admin = app.test_client()
    assert isinstance(admin, Client)
    admin.sign_in("admin")
    admin.fill(f"/settings/users/{number}/role", {"role": "viewer"})


def deletion(app: Flask, client: Client, clock: Clock) -> None:
    with installation_of(app).session() as session, session.begin():
        number = user(session, "operator").id
        delete_user(session, number, by=user(session, "admin"), now=NOW)


def idleness(app: Flask, client: Client, clock: Clock) -> None:
    clock.forward(hours=12, seconds=1)


def age(app: Flask, client: Client, clock: Clock) -> None:
    for _ in range(17):
        clock.forward(hours=10)
        client.get("/settings")


ENDS = {
    sign_out: False,
    sign_out_elsewhere: True,
    own_password: True,
    own_second_factor: True,
    password_by_an_administrator: False,
    role: False,
    deletion: False,
    idleness: False,
    age: False,
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_an_old_cookie_is_dead(
    app: Flask, operator: Client, sign_in: SignIn, clock: Clock, end: Callable[..., None]
) -> None:
    """A copy of the cookie is refused; who did it themselves goes on, with another token."""
    copy, elsewhere = copy_of(app, operator), sign_in(app, "operator")
    assert copy.get("/settings").status_code == 200
    end(app, operator, clock)
    assert copy.get("/settings").status_code == 302
    assert operator.get("/settings").status_code == (200 if ENDS[end] else 302)
    still = 200 if end is sign_out else 302
    assert elsewhere.get("/settings").status_code == still


def test_an_old_cookie_is_dead_after_the_second_factor_went(
    app: Flask, anonymous: Client, clock: Clock
) -> None:
    secret, _ = switch_on(app, clock, "operator")
    anonymous.sign_in("operator")
    enter(anonymous, code_of(secret, clock))
    copy = copy_of(app, anonymous)
    own_second_factor_off(app, anonymous, clock)
    assert copy.get("/settings").status_code == 302
    assert anonymous.get("/settings").status_code == 200


@pytest.mark.parametrize("name", ["operator", "viewer"])
def test_an_old_cookie_is_dead_after_signing_in_anew(
    app: Flask, operator: Client, clock: Clock, name: str
) -> None:
    copy = copy_of(app, operator)
    assert operator.sign_in(name).status_code == 303
    assert copy.get("/settings").status_code == 302
    secret, _ = switch_on(app, clock, name)
    operator.sign_in(name)
    enter(operator, code_of(secret, clock))
    assert operator.get("/settings").status_code == 200
    with installation_of(app).reading() as session:
        assert session.query(models.LoginSession).count() == 1


def test_who_stops_before_the_code_is_signed_out(
    app: Flask, operator: Client, clock: Clock
) -> None:
    copy = copy_of(app, operator)
    switch_on(app, clock, "viewer")
    operator.sign_in("viewer")
    assert copy.get("/settings").status_code == 302


def test_the_token_itself_stands_in_no_table(app: Flask, operator: Client) -> None:
    with operator.session_transaction() as cookie:
        token = cookie["_user_id"]
    with installation_of(app).reading() as session:
        rows = session.execute(sa.select(models.LoginSession.__table__)).all()
    assert rows
    assert token not in str(rows)
