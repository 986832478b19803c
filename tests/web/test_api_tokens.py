"""The page API tokens: made and shown once, listed, revoked."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

import models
from tests.web.api_client import api_of, token_of
from tests.web.client import PASSWORD, Client, page_of
from tests.web.test_users import number
from tests.web.world import clock_of, installation_of

SignIn = Callable[[Flask, str], Client]
PAGE = "/settings/api-tokens"
VALUES = {"name": "Billing <b>script</b>", "scope": "read", "days": "90"}


def shown(answer: TestResponse) -> str:
    """The token that an answer shows."""
    assert answer.status_code == 200, answer.text
    (token,) = re.findall(r"tb_[\w-]{43}", answer.text)
    return str(token)


def stored(app: Flask) -> list[models.ApiToken]:
    with installation_of(app).reading() as session:
        found = list(session.scalars(sa.select(models.ApiToken).order_by(models.ApiToken.id)))
        session.expunge_all()
        return found


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_everybody_makes_their_own(app: Flask, sign_in: SignIn, role: str) -> None:
    client = sign_in(app, role)
    assert "No token yet" in client.page(PAGE).text
    token = shown(client.fill(f"{PAGE}/new", VALUES, button="Make token"))
    assert api_of(app, token).get("/status")
    page = client.page(PAGE)
    assert "Billing <b>script</b>" in page.text
    assert token not in client.get(PAGE).text, "it is shown once"
    assert "made an API token" in client.page("/audit").text
    assert token not in client.get("/audit").text


def test_it_is_kept_by_nobody(operator: Client) -> None:
    answer = operator.post(f"{PAGE}/new", data=VALUES)
    token = shown(answer)
    assert answer.headers["Cache-Control"] == "no-store"
    cookie = operator.get_cookie("session")
    assert cookie is not None
    assert token not in cookie.value
    assert token not in str(answer.headers)


def test_sending_the_form_again_makes_no_second_one(app: Flask, operator: Client) -> None:
    first = operator.post(f"{PAGE}/new", data=VALUES)
    again = operator.post(f"{PAGE}/new", data=VALUES)
    assert again.status_code == 422
    assert shown(first) not in again.text
    assert "You have a token" in page_of(again).one(id="name-error").text
    assert len(stored(app)) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "x" * 101}, "longer than 100"),
        ({"name": "   "}, "1 to 100 characters"),
        ({"scope": "admin"}, "Not a valid choice"),
        ({"scope": ""}, "Not a valid choice"),
        ({"days": "3650"}, "Not a valid choice"),
        ({"days": ""}, "Not a valid choice"),
    ],
)
def test_a_wrong_entry_makes_none(
    app: Flask, operator: Client, changes: dict[str, str], words: str
) -> None:
    for htmx in (False, True):
        answer = operator.post(f"{PAGE}/new", data={**VALUES, **changes}, htmx=htmx)
        assert answer.status_code == 422
        assert words in page_of(answer).text
    assert stored(app) == []


def test_a_viewer_is_offered_and_given_reading_only(app: Flask, viewer: Client) -> None:
    page = viewer.page(f"{PAGE}/new")
    assert [box["value"] for box in page.all("input", name="scope")] == ["read"]
    answer = viewer.post(f"{PAGE}/new", data={**VALUES, "scope": "sync"})
    assert answer.status_code == 422
    assert stored(app) == []


def test_with_htmx_the_list_behind_is_fresh(operator: Client) -> None:
    answer = operator.post(f"{PAGE}/new", data=VALUES, htmx=True)
    shown(answer)
    page = page_of(answer)
    assert page.all("dialog")
    assert page.one(id="api-tokens")["hx-swap-oob"] == "true"
    assert "Billing <b>script</b>" in page.one(id="api-tokens").text


# --- seeing and revoking ------------------------------------------------------------------------


def test_people_see_their_own_and_administrators_all(
    app: Flask, operator: Client, viewer: Client, admin: Client
) -> None:
    token_of(app, "operator", to="mine")
    token_of(app, "viewer", "read", to="mine too")
    seen = {
        name: {row.all("th")[0].text for row in client.page(PAGE).all("tr")[1:]}
        for name, client in (("operator", operator), ("viewer", viewer), ("admin", admin))
    }
    assert seen == {
        "operator": {"mine"},
        "viewer": {"mine too"},
        "admin": {"mine of operator", "mine too of viewer"},
    }


def test_revoking_asks_first_and_works_at_once(app: Flask, operator: Client) -> None:
    call = api_of(app, token_of(app, "operator", to="nightly"))
    path = f"{PAGE}/{stored(app)[0].id}/revoke"
    assert "cannot be undone" in operator.page(path).text
    assert call("GET", "/status").status_code == 200
    answer = operator.fill(path, {}, button="Revoke token")
    assert (answer.status_code, answer.location) == (303, PAGE)
    assert "nightly is revoked." in operator.page(PAGE).text
    assert call("GET", "/status").status_code == 401
    assert operator.get(path).status_code == 404


def test_with_htmx_the_row_goes(app: Flask, operator: Client) -> None:
    token_of(app, "operator", to="nightly")
    answer = operator.post(f"{PAGE}/{stored(app)[0].id}/revoke", htmx=True)
    assert "nightly is revoked" in answer.headers["HX-Trigger"]
    assert "No token yet" in page_of(answer).text


def test_nobody_revokes_somebody_else_s(app: Flask, operator: Client, admin: Client) -> None:
    token_of(app, "admin", to="of admin")
    path = f"{PAGE}/{stored(app)[0].id}/revoke"
    assert operator.get(path).status_code == 404
    assert operator.post(path).status_code == 404
    assert len(stored(app)) == 1
    assert admin.post(path).status_code == 303
    assert stored(app) == []


def test_the_list_tells_what_a_token_is_worth(app: Flask, admin: Client) -> None:
    token = token_of(app, "operator", days=30)
    call = api_of(app, token)
    assert "never" in admin.page(PAGE).one("tbody").text
    call.get("/status")
    assert "never" not in admin.page(PAGE).one("tbody").text
    path = f"/settings/users/{number(app, 'operator')}/role"
    assert admin.post(path, data={"role": "viewer"}).status_code == 303
    assert "only read: the owner is a viewer now" in admin.page(PAGE).text
    clock_of(app).forward(hours=11)
    assert "active" in admin.page(PAGE).text
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.ApiToken, stored(app)[0].id).expires_at = clock_of(app).moment
    assert "expired" in admin.page(PAGE).text


def test_a_new_password_revokes_them_and_says_so(app: Flask, operator: Client) -> None:
    call = api_of(app, token_of(app, "operator"))
    page = operator.page("/settings/password")
    assert "revokes your API tokens" in page.text
    new = "a new long password"
    values = {"current": PASSWORD, "password": new, "again": new}
    operator.fill("/settings/password", values, button="Change password")
    assert "API tokens are revoked" in operator.page("/settings/password").text
    assert call("GET", "/status").status_code == 401


def test_settings_lead_here(viewer: Client) -> None:
    links = {a.text: a["href"] for a in viewer.page("/settings").all("a")}
    assert links["API tokens"] == PAGE
