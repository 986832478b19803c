"""Every address, method and person: who is let in, against a table that is written by hand.

A new route needs a line in ROLES; those of the API take tokens and no cookies, and have a walk of
their own (test_api_roles.py). Each view is replaced by one that only says that it was reached,
so that every method of every address can be tried, whatever it would do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule

from models import Role, User
from services.people.sign_in import begin_waiting
from tests.web.client import Client
from tests.web.world import NOW, installation_of

ANYBODY, VIEWER, OPERATOR, ADMIN = "public", Role.VIEWER, Role.OPERATOR, Role.ADMIN
ROLES: dict[str, str] = {
    "account.index": VIEWER,
    "account.sign_out_elsewhere": VIEWER,
    "api_tokens.index": VIEWER,
    "api_tokens.new": VIEWER,
    "api_tokens.openapi": VIEWER,
    "api_tokens.revoke": VIEWER,
    "assets.icons": ANYBODY,
    "audit.as_csv": VIEWER,
    "audit.as_xlsx": VIEWER,
    "audit.index": VIEWER,
    "auth.code": ANYBODY,
    "auth.sign_in": ANYBODY,
    "auth.sign_out": VIEWER,
    "auth.theme": ANYBODY,
    "backup.confirm": ADMIN,
    "backup.download": ADMIN,
    "backup.forget": ADMIN,
    "backup.index": ADMIN,
    "backup.new": ADMIN,
    "backup.put_back": ADMIN,
    "backup.upload": ADMIN,
    "connections.psa": VIEWER,
    "connections.save_psa": ADMIN,
    "connections.save_sophos": ADMIN,
    "connections.sophos": VIEWER,
    "connections.start_test": OPERATOR,
    "connections.test": VIEWER,
    "findings.assign": OPERATOR,
    "findings.index": VIEWER,
    "findings.unassign": OPERATOR,
    "health.healthz": ANYBODY,
    "health.metrics": ANYBODY,
    "identity.answer": ANYBODY,
    "identity.sign_out_there": ANYBODY,
    "identity.signed_out": ANYBODY,
    "identity.start": ANYBODY,
    "lookups.catalog_items": OPERATOR,
    "notifications.index": ADMIN,
    "notifications.new": ADMIN,
    "notifications.remove": ADMIN,
    "notifications.save": ADMIN,
    "notifications.test": ADMIN,
    "overview.index": VIEWER,
    "own_password.index": VIEWER,
    "product_dialogs.change": OPERATOR,
    "product_dialogs.edit": OPERATOR,
    "product_dialogs.make": OPERATOR,
    "product_dialogs.make_several": OPERATOR,
    "product_dialogs.new": OPERATOR,
    "product_dialogs.use": OPERATOR,
    "product_dialogs.view": VIEWER,
    "product_mappings.back": VIEWER,
    "product_mappings.catalog": VIEWER,
    "product_mappings.choose": OPERATOR,
    "product_mappings.discard": OPERATOR,
    "product_mappings.index": VIEWER,
    "product_mappings.keep": OPERATOR,
    "product_mappings.refresh": OPERATOR,
    "product_mappings.save": OPERATOR,
    "product_mappings.stage": OPERATOR,
    "product_mappings.undo": OPERATOR,
    "reconciliation.as_csv": VIEWER,
    "reconciliation.as_xlsx": VIEWER,
    "reconciliation.compare": OPERATOR,
    "reconciliation.index": VIEWER,
    "reconciliation.progress": VIEWER,
    "second_factor.confirm": VIEWER,
    "second_factor.off": VIEWER,
    "second_factor.recovery_codes": VIEWER,
    "second_factor.start": VIEWER,
    "settings.choices": ADMIN,
    "settings.default_product": VIEWER,
    "settings.index": VIEWER,
    "settings.retention": VIEWER,
    "settings.safety": VIEWER,
    "settings.save_default_product": ADMIN,
    "settings.save_retention": ADMIN,
    "settings.save_safety": ADMIN,
    "settings.save_schedule": ADMIN,
    "settings.schedule": VIEWER,
    "setup.accept_customers": ADMIN,
    "setup.accept_products": ADMIN,
    "setup.connectwise": ADMIN,
    "setup.customers": ADMIN,
    "setup.default_product": ADMIN,
    "setup.finish": ADMIN,
    "setup.preview": ADMIN,
    "setup.products": ADMIN,
    "setup.read": ADMIN,
    "setup.save_connectwise": ADMIN,
    "setup.save_default_product": ADMIN,
    "setup.save_sophos": ADMIN,
    "setup.sophos": ADMIN,
    "setup.start_preview": ADMIN,
    "setup.was_read": ADMIN,
    "setup_account.administrator": ANYBODY,
    "sync_runs.approve": OPERATOR,
    "sync_runs.changes_csv": VIEWER,
    "sync_runs.changes_xlsx": VIEWER,
    "sync_runs.dismiss": OPERATOR,
    "sync_runs.dismissed": OPERATOR,
    "sync_runs.index": VIEWER,
    "sync_runs.plan_undo": OPERATOR,
    "sync_runs.progress": VIEWER,
    "sync_runs.review": OPERATOR,
    "sync_runs.show": VIEWER,
    "sync_runs.start": OPERATOR,
    "sync_runs.undo": OPERATOR,
    "tenant_mappings.accept": OPERATOR,
    "tenant_mappings.accept_exact": OPERATOR,
    "tenant_mappings.companies": VIEWER,
    "tenant_mappings.edit": VIEWER,
    "tenant_mappings.exact_matches": OPERATOR,
    "tenant_mappings.index": VIEWER,
    "tenant_mappings.products": VIEWER,
    "tenant_mappings.refresh": OPERATOR,
    "tenant_mappings.refresh_state": VIEWER,
    "tenant_mappings.save": OPERATOR,
    "tenant_mappings.save_products": OPERATOR,
    "tenant_mappings.status": VIEWER,
    "tenant_mappings.switch_sync": OPERATOR,
    "users.delete": ADMIN,
    "users.index": ADMIN,
    "users.new": ADMIN,
    "users.password": ADMIN,
    "users.role": ADMIN,
    "users.second_factor": ADMIN,
}
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
PERSONS = ("anonymous", "viewer", "operator", "admin")
RANK = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
SAMPLES: dict[str, Any] = {"RowNumber": 1, "UnicodeConverter": "x", "PathConverter": "x"}
SignIn = Callable[[Flask, str], Client]
REACHED = "this view was reached"


def address(app: Flask, rule: Rule) -> str:
    """An address that this rule answers; what it names need not exist."""
    values = {}
    for name, converter in rule._converters.items():
        items = getattr(converter, "items", None)
        values[name] = sorted(items)[0] if items else SAMPLES[type(converter).__name__]
    with app.test_request_context():
        return app.url_map.bind("localhost").build(rule.endpoint, values)


def routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Every endpoint with each of its methods and addresses; static files are everybody's."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static" and not rule.endpoint.startswith("api."):
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                yield rule.endpoint, method, address(app, rule)


def hollow(app: Flask) -> None:
    """Let each view only say that it was reached; who may reach it stays as it is."""
    for endpoint, view in app.view_functions.items():
        if endpoint != "static":

            def reached(**_: object) -> str:
                return f"<!doctype html><p>{REACHED}</p>"

            if hasattr(view, "required_role"):
                reached.required_role = view.required_role  # type: ignore[attr-defined]
            app.view_functions[endpoint] = reached


def expected(endpoint: str, person: str) -> str:
    needed = ROLES[endpoint]
    if needed == ANYBODY:
        return "let in"
    if person == "anonymous":
        return "asked to sign in"
    return "let in" if RANK.index(Role(person)) >= RANK.index(Role(needed)) else "refused"


def outcome(client: Client, method: str, path: str, token: str | None) -> str:
    """What this browser meets there."""
    data = {} if token is None else {"csrf_token": token}
    answer = super(Client, client).open(path, method=method, data=data)
    answer.close()  # a download may hold a file
    if answer.status_code == 302 and answer.location.startswith("/sign-in"):
        return "asked to sign in"
    if answer.status_code == 400 and "Nothing was changed" in answer.text:
        return "no token"
    if answer.status_code in (401, 403):
        return "refused"
    return "let in" if answer.status_code == 200 else f"{answer.status}"


@pytest.fixture(params=PERSONS)
def person(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(sign_in: SignIn, person: str) -> Callable[[Flask], Client]:
    """Makes this person's browser; routes are added before."""
    return lambda app: sign_in(app, person) if person != "anonymous" else nobody(app)


def nobody(app: Flask) -> Client:
    client = app.test_client()
    assert isinstance(client, Client)
    return client


def meets(app: Flask, client: Client, person: str) -> list[str]:
    """Everything that this browser meets and that the table says otherwise.

    Each request is made with the cookie as it is now: being refused takes its contents away.
    """
    token = client.token()
    with client.session_transaction() as cookie:
        kept = dict(cookie)
    hollow(app)
    wrong = []
    for endpoint, method, path in routes(app):
        with client.session_transaction() as cookie:
            cookie.update(kept)
        found, wanted = outcome(client, method, path, token), expected(endpoint, person)
        wrong += [] if found == wanted else [f"{method} {path}: {found}, not {wanted}"]
    return wrong


def test_the_table_is_complete_and_says_what_the_views_say(app: Flask) -> None:
    views = {e: v for e, v in app.view_functions.items() if e != "static" and e[:4] != "api."}
    assert sorted(views) == sorted(ROLES), "give each route a line in ROLES, and no other"
    marked = {e: getattr(v, "required_role", "nobody") for e, v in views.items()}
    assert marked == ROLES


def test_each_person_meets_what_the_table_says(
    app: Flask, opened: Callable[[Flask], Client], person: str
) -> None:
    assert not meets(app, opened(app), person)


def test_nobody_changes_anything_without_a_token(
    app: Flask, opened: Callable[[Flask], Client]
) -> None:
    client = opened(app)
    backwards, wrong = client.token()[::-1], []
    hollow(app)
    for _, method, path in routes(app):
        if method in UNSAFE:
            for token in (None, "", "made up", backwards):
                found = outcome(client, method, path, token)
                wrong += [] if found == "no token" else [f"{method} {path}: {found}"]
    assert not wrong, "\n".join(wrong)


def test_a_view_without_a_mark_is_closed_to_everybody(
    app: Flask, opened: Callable[[Flask], Client], person: str
) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret", methods=["GET", "POST"])
    client = opened(app)
    for method in ("GET", "HEAD", "POST"):
        found = outcome(client, method, "/forgotten", client.token())
        assert found == ("asked to sign in" if person == "anonymous" else "refused")


def test_a_viewer_changes_nothing_but_their_own_account(app: Flask) -> None:
    own = {"account", "api_tokens", "own_password", "second_factor", "auth"}
    changes = {e for e, method, _ in routes(app) if method in UNSAFE and ROLES[e] == VIEWER}
    assert {endpoint.split(".")[0] for endpoint in changes} == own


def test_who_waits_for_the_code_is_nobody(app: Flask, anonymous: Client) -> None:
    """With the cookie after the right password, and its token where a full session's stands."""
    with installation_of(app).session() as session, session.begin():
        waiting = begin_waiting(session, session.get_one(User, 1), now=NOW)
    anonymous.token()
    with anonymous.session_transaction() as cookie:
        cookie["waiting"] = cookie["_user_id"] = waiting
    assert not meets(app, anonymous, "anonymous")
