"""An account that is deleted while a request of its owner is under way, right after the check."""

from __future__ import annotations

import pytest
from flask import Flask, request
from sqlalchemy.orm import Session

from models import AuditEvent, ProductMapping, User
from services.people.users import delete_user
from tests.web.client import PASSWORD, Client, page_of
from tests.web.world import NOW, installation_of

NEW = "a new long password"
USERS, ACCOUNT, TOKENS = "/settings/users", "/settings/account", "/settings/api-tokens"
FACTOR, PRODUCTS = f"{ACCOUNT}/second-factor", "/settings/psa/products"


@pytest.fixture
def vanishing(app: Flask, admin: Client) -> Client:
    """An administrator who is deleted by another one as soon as a request has passed the guard."""
    here = installation_of(app)
    with here.session() as session, session.begin():
        session.add(User(name="second", role="admin", password_hash="x", created_at=NOW))
    todo = [True]

    def vanish() -> None:
        if todo and request.endpoint != "auth.sign_in":
            todo.clear()
            with here.session() as session, session.begin():
                names = {user.name: user for user in session.query(User)}
                delete_user(session, names["admin"].id, by=names["second"], now=NOW)

    app.before_request_funcs[None].append(vanish)
    return admin


def number(app: Flask, name: str) -> int:
    with installation_of(app).reading() as session:
        return session.query(User).filter_by(name=name).one().id


def what_was_done(database: Session) -> list[str]:
    database.rollback()
    rows = database.query(AuditEvent).filter_by(actor="admin")
    return [row.action for row in rows if row.action != "user.sign_in"]


@pytest.mark.parametrize("path", [ACCOUNT, TOKENS, f"{FACTOR}/confirm"])
def test_a_page_becomes_the_sign_in_page(vanishing: Client, path: str) -> None:
    answer = vanishing.get(path)
    assert (answer.status_code, answer.location) == (302, f"/sign-in?next={path}")
    page = vanishing.page("/sign-in")
    assert "You were signed out: your account was removed. Nothing was changed." in page.text


CHANGES: list[tuple[str, dict[str, str]]] = [
    (f"{USERS}/{{viewer}}/role", {"role": "operator", "whom": "viewer"}),
    (f"{USERS}/{{viewer}}/password", {"password": NEW, "again": NEW, "whom": "viewer"}),
    (f"{USERS}/{{viewer}}/delete", {"whom": "viewer"}),
    (f"{USERS}/{{viewer}}/second-factor", {"whom": "viewer"}),
    (f"{USERS}/new", {"name": "zoe", "role": "viewer", "password": NEW, "again": NEW}),
    (f"{ACCOUNT}/sign-out-elsewhere", {}),
    ("/settings/password", {"current": PASSWORD, "password": NEW, "again": NEW}),
    (FACTOR, {"current": PASSWORD}),
    (f"{FACTOR}/off", {"current": PASSWORD}),
    (f"{FACTOR}/recovery-codes", {"current": PASSWORD}),
    (f"{TOKENS}/new", {"name": "script", "scope": "read", "days": "30"}),
    (f"{PRODUCTS}/stage", {"product": "{product}", "version": "1", "sync": "off"}),
]


@pytest.mark.parametrize("htmx", [False, True], ids=["page", "htmx"])
@pytest.mark.parametrize(("path", "data"), CHANGES, ids=[path for path, _ in CHANGES])
def test_a_change_leads_to_the_sign_in_page_and_is_not_made(
    vanishing: Client,
    app: Flask,
    database: Session,
    path: str,
    data: dict[str, str],
    htmx: bool,
) -> None:
    product = database.query(ProductMapping).filter_by(sync=True).first()
    assert product is not None
    values = {k: product.product_key if v == "{product}" else v for k, v in data.items()}
    if "version" in values:
        values["version"] = str(product.version)
    where = path.format(viewer=number(app, "viewer"))
    before = what_was_done(database)
    answer = vanishing.post(where, data=values, htmx=htmx)
    assert answer.status_code == (401 if htmx else 302), page_of(answer).text
    assert answer.headers.get("HX-Refresh") == ("true" if htmx else None)
    assert what_was_done(database) == before
    assert "your account was removed" in vanishing.page("/sign-in").text
