"""Who may call what: every operation of the API with every kind of caller."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_login import current_user

import models
from models import Role
from services.people.users import change_role
from tests.web.api_client import PREFIX, api_of, token_of
from tests.web.client import Client, page_of
from tests.web.test_api_document import operations
from tests.web.world import NOW, clock_of, installation_of

OPERATIONS = [
    (method.upper(), path.removeprefix(PREFIX).replace("{run_id}", "1"))
    for method, path, _ in operations()
]
FOR_VIEWERS = {
    ("GET", "/status"),
    ("GET", "/runs"),
    ("GET", "/runs/1"),
    ("GET", "/plans"),
    ("GET", "/findings"),
    ("GET", "/reconciliation"),
    ("GET", "/mappings"),
    ("GET", "/mappings/products"),
    ("GET", "/mappings/tenants"),
    ("GET", "/openapi.json"),
}
FOR_OPERATORS = {
    ("POST", "/runs"),
    ("POST", "/runs/1/approve"),
    ("POST", "/runs/1/undo"),
    ("PATCH", "/mappings"),
}


def _none(_app: Flask) -> None:
    return None


def _wrong(_app: Flask) -> str:
    return "tb_this-was-never-a-token"


def _another_format(app: Flask) -> str:
    return token_of(app, "admin").removeprefix("tb_")


def _expired(app: Flask) -> str:
    token = token_of(app, "admin", days=30)
    clock_of(app).forward(days=30)
    return token


def _revoked(app: Flask) -> str:
    token = token_of(app, "admin")
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.ApiToken))
    return token


def _of_a_deleted_person(app: Flask) -> str:
    token = token_of(app, "operator")
    with installation_of(app).session() as session, session.begin():
        from services.people.users import delete_user

        by = session.scalars(sa.select(models.User).where(models.User.name == "admin")).one()
        gone = session.scalars(sa.select(models.User).where(models.User.name == "operator")).one()
        delete_user(session, gone.id, by=by, now=NOW)
    return token


def _of(name: str, scope: str) -> Callable[[Flask], str]:
    return lambda app: token_of(app, name, scope)


def _demoted(app: Flask) -> str:
    """A token to sync, whose owner has become a viewer since."""
    token = token_of(app, "operator", "sync")
    with installation_of(app).session() as session, session.begin():
        by = session.scalars(sa.select(models.User).where(models.User.name == "admin")).one()
        them = session.scalars(sa.select(models.User).where(models.User.name == "operator")).one()
        change_role(session, them.id, Role.VIEWER, by=by, now=NOW)
    return token


CALLERS: dict[str, tuple[Callable[[Flask], str | None], str]] = {
    # Who calls, and what is open to them: nothing, what viewers see, or what operators do.
    "no token": (_none, "nothing"),
    "a wrong token": (_wrong, "nothing"),
    "a token without its beginning": (_another_format, "nothing"),
    "an expired token": (_expired, "nothing"),
    "a revoked token": (_revoked, "nothing"),
    "a token of a deleted person": (_of_a_deleted_person, "nothing"),
    "a viewer's token to read": (_of("viewer", "read"), "viewer"),
    "an operator's token to read": (_of("operator", "read"), "viewer"),
    "an administrator's token to read": (_of("admin", "read"), "viewer"),
    "a token to sync of one who is a viewer now": (_demoted, "viewer"),
    "an operator's token to sync": (_of("operator", "sync"), "operator"),
    "an administrator's token to sync": (_of("admin", "sync"), "operator"),
}
# A body that no operation understands: who may call gets 422 (or a 404, 200), and nothing begins.
NONSENSE: dict[str, Any] = {"json": {"nonsense": 1}}


def test_every_operation_has_its_place() -> None:
    assert set(OPERATIONS) == FOR_VIEWERS | FOR_OPERATORS


@pytest.mark.parametrize("who", CALLERS)
def test_every_operation_with_every_caller(app: Flask, who: str) -> None:
    make, level = CALLERS[who]
    call = api_of(app, make(app))
    open_to = {"nothing": set(), "viewer": FOR_VIEWERS, "operator": FOR_VIEWERS | FOR_OPERATORS}
    for method, path in OPERATIONS:
        body = {} if method == "GET" else NONSENSE
        status = call(method, path, **body).status_code
        if level == "nothing":
            assert status == 401, f"{method} {path}"
        elif (method, path) in open_to[level]:
            assert status == (200 if method == "GET" else 400 if "undo" in path else 422)
        else:
            assert status == 403, f"{method} {path}"
    with installation_of(app).reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(models.SyncRun)) == 1


@pytest.mark.parametrize("role", Role)
def test_a_cookie_signs_nobody_in_here(
    app: Flask, sign_in: Callable[[Flask, str], Client], role: Role
) -> None:
    browser = sign_in(app, role.value)
    csrf = browser.token()
    call = api_of(app)
    call.client = browser
    for method, path in OPERATIONS:
        body = {} if method == "GET" else NONSENSE
        assert call(method, path, headers={"X-CSRFToken": csrf}, **body).status_code == 401
    assert browser.get("/settings").status_code == 200, "and the cookie is good for the pages"


def test_a_cookie_is_not_even_read_here(app: Flask, admin: Client) -> None:
    """So no code that is shared with the pages can take its owner for the caller."""
    cookie = admin.get_cookie("session")
    assert cookie is not None
    headers = {"Cookie": f"session={cookie.value}"}
    for path, known in (("/settings", True), (f"{PREFIX}/status", False), ("/api/x", False)):
        with app.test_request_context(path, headers=headers):
            assert current_user.is_authenticated is known, path


def test_a_proxy_that_names_somebody_signs_nobody_in_here(make: Callable[..., Flask]) -> None:
    """A browser behind it would carry the name along, for whatever site sent it."""
    app = make(SIGN_IN_HEADER="X-Remote-User", SIGN_IN_PROXIES="127.0.0.1")
    call, named = api_of(app), {"X-Remote-User": "admin"}
    assert call.client.get("/settings", headers=named).status_code == 200
    for method, path in OPERATIONS:
        body = {} if method == "GET" else NONSENSE
        assert call(method, path, headers=named, **body).status_code == 401
    call.token = token_of(app, "viewer", "read")
    assert call("GET", "/status", headers=named).status_code == 200
    assert call.post("/runs", {"kind": "plan"}, X_Remote_User="admin").status_code == 403


@pytest.mark.parametrize("scope", ["read", "sync"])
def test_a_token_signs_nobody_in_to_the_pages(app: Flask, scope: str) -> None:
    headers = {"Authorization": f"Bearer {token_of(app, 'admin', scope)}"}
    client = app.test_client()
    seen = 0
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        public = getattr(view, "required_role", None) == "public" or rule.endpoint == "static"
        if public or rule.arguments or rule.endpoint.startswith("api."):
            continue
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            response = client.open(rule.rule, method=method, headers=headers, csrf=False)
            assert response.status_code == (302 if method == "GET" else 400), rule.rule
            seen += 1
    assert seen > 40


def test_no_csrf_token_is_asked_for_and_pages_still_ask(app: Flask, admin: Client) -> None:
    """Without cookies there is nothing to forge; a page without its field is refused as ever."""
    call = api_of(app, token_of(app, "admin"))
    response = call("POST", "/runs", json={"kind": "nothing"}, headers={"Origin": "http://evil"})
    assert response.status_code == 422
    refused = admin.post("/settings/api-tokens/new", data={"name": "x"}, csrf=False)
    assert refused.status_code == 400
    assert "no longer valid" in page_of(refused).text


@pytest.mark.parametrize(
    "given",
    ["Basic dGI6dGI=", "Bearer", "Bearer ", "Token {}", "{}", "Bearer {} {}", "Bearer token={}"],
)
def test_only_a_bearer_token_counts(app: Flask, given: str) -> None:
    token = token_of(app, "admin")
    response = api_of(app)("GET", "/status", headers={"Authorization": given.format(token, token)})
    assert response.status_code == 401
    assert token not in response.text


def test_a_token_in_the_address_does_not_count(app: Flask) -> None:
    token = token_of(app, "admin")
    response = api_of(app)("GET", "/status", query_string={"access_token": token})
    assert response.status_code == 401


def test_the_refusal_says_what_to_do(app: Flask) -> None:
    call = api_of(app)
    asked = call("GET", "/status")
    assert asked.headers["WWW-Authenticate"] == 'Bearer realm="Tallybridge"'
    assert asked.json["detail"].startswith("Send a token of yours as")
    call.token = _expired(app)
    expired = call("GET", "/status")
    assert "expired" in expired.json["detail"]
    assert 'error="invalid_token"' in expired.headers["WWW-Authenticate"]
    call.token = token_of(app, "viewer", "read")
    refused = call.post("/runs", {"kind": "plan"})
    assert refused.status_code == 403
    assert "scope" in refused.json["detail"]
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


# --- guessing -----------------------------------------------------------------------------------


def test_guessing_is_slowed_down_by_address_and_hits_nobody_else(
    app: Flask, anonymous: Client
) -> None:
    good, wrong = api_of(app, token_of(app, "viewer", "read")), api_of(app, "tb_wrong")
    for _ in range(50):
        assert wrong("GET", "/status").status_code == 401
    refused = wrong("GET", "/status")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "900"
    assert good("GET", "/status").status_code == 200, "a right token is no guess"
    there = {"REMOTE_ADDR": "192.0.2.7"}
    assert wrong("GET", "/status", environ_overrides=there).status_code == 401
    assert anonymous.sign_in("viewer").status_code == 303, "people sign in as before"
    clock_of(app).forward(minutes=16)
    assert wrong("GET", "/status").status_code == 401


def test_a_flood_of_wrong_tokens_writes_no_more(app: Flask) -> None:
    wrong = api_of(app, "tb_wrong")
    for _ in range(60):
        wrong("GET", "/status")
    with installation_of(app).reading() as session:
        count = session.scalar(sa.select(sa.func.count()).select_from(models.LoginAttempt))
    assert count == 50


def test_wrong_passwords_do_not_count_here(app: Flask, anonymous: Client) -> None:
    for _ in range(10):
        anonymous.sign_in("admin", "wrong")
    assert api_of(app, "tb_wrong")("GET", "/status").status_code == 401


# --- what is remembered of a use ----------------------------------------------------------------


def test_the_last_use_is_noted_once_a_minute(app: Flask) -> None:
    call, clock = api_of(app, token_of(app, "viewer", "read")), clock_of(app)

    def used() -> Any:
        with installation_of(app).reading() as session:
            return session.scalars(sa.select(models.ApiToken.last_used_at)).one()

    assert used() is None
    call.get("/status")
    first = used()
    assert first == clock.moment
    clock.forward(seconds=59)
    call.get("/status")
    assert used() == first
    clock.forward(seconds=1)
    call.get("/status")
    assert used() == clock.moment


def test_a_use_that_cannot_be_noted_fails_no_call(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, Exception("database is locked"))

    monkeypatch.setattr("services.people.api_tokens.note_use", locked)
    assert api_of(app, token_of(app, "viewer", "read")).get("/status")


def test_the_log_names_the_caller_and_holds_no_token(app: Flask) -> None:
    tokens = [token_of(app, "viewer", "read"), "tb_wrong-but-maybe-nearly-right", _expired(app)]
    calls = [api_of(app, token)("GET", "/status") for token in tokens]
    log = (installation_of(app).config.data_dir / "tallybridge.log").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in log.splitlines() if PREFIX in line]
    assert [line["user"] for line in lines] == ["viewer (API token read 90)", None, None]
    assert [line["request"] for line in lines] == [c.headers["X-Request-Id"] for c in calls]
    assert not [token for token in tokens if token[3:] in log]
