"""Who gets which account and role by single sign-on, and what happens without passwords."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from models import ApiToken, AuditEvent, LoginSession, Role, TokenScope, User
from tests.identity_provider import FakeProvider, Person
from tests.web.client import PASSWORD, Client, page_of
from tests.web.conftest import Make
from tests.web.identity_walk import app, browser, provider, query_of, refused, signed_in, walk
from tests.web.world import NOW, installation_of

__all__ = ["app", "provider"]


def user(database: Session, name: str) -> User:
    database.rollback()
    return database.query(User).filter_by(name=name).one()


def events(database: Session, action: str) -> list[AuditEvent]:
    database.rollback()
    return database.query(AuditEvent).filter_by(action=action).all()


# --- roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (("staff",), Role.VIEWER),
        (("billing",), Role.OPERATOR),
        (("admins",), Role.ADMIN),
        (("staff", "admins", "billing", "cooks"), Role.ADMIN),
        ("billing", Role.OPERATOR),
    ],
)
def test_the_highest_role_of_the_groups_counts(
    anonymous: Client, provider: FakeProvider, database: Session, groups: Any, role: Role
) -> None:
    provider.person = Person(groups=groups)
    assert walk(anonymous).status_code == 303
    assert user(database, "Anna").role is role
    assert events(database, "user.create")[0].actor == "single sign-on"


@pytest.mark.parametrize(
    "groups",
    [(), ("cooks",), ("Admins",), ("admins ",), ("admin",), None, {"admins": True}, 7, [["admins"]],
     "admins,staff", [None, 7]],
)  # fmt: skip
def test_without_a_group_nobody_gets_in(
    anonymous: Client, provider: FakeProvider, database: Session, groups: Any
) -> None:
    provider.person = Person(groups=groups)
    answer = walk(anonymous)
    assert "none of your groups" in refused(anonymous, answer, 403)
    assert page_of(answer).one("a", href="/signed-out/there")
    assert database.query(User).filter_by(name="Anna").count() == 0


@pytest.mark.parametrize("more", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
def test_too_many_groups_of_entra_are_told_with_what_to_do(
    anonymous: Client, provider: FakeProvider, more: dict[str, Any]
) -> None:
    provider.person = Person(groups=None, more=more)
    assert "app roles" in refused(anonymous, walk(anonymous), 403)


def test_app_roles_of_entra_count_instead_of_groups(make: Make, provider: FakeProvider) -> None:
    app = make(full=False, vendors=False, **provider.env(), OIDC_GROUPS_CLAIM="roles")
    client = browser(app)
    provider.person = Person(groups=("admins",), more={"roles": ["cooks"]})
    refused(client, walk(client), 403)
    provider.person = Person(groups=None, more={"roles": ["billing"]})
    assert walk(client).status_code == 303


def test_another_role_ends_all_sessions_and_is_recorded(
    app: Flask, provider: FakeProvider, database: Session
) -> None:
    first, second = browser(app), browser(app)
    walk(first)
    provider.person = Person(groups=("staff",))
    walk(second)
    assert not signed_in(first)
    assert signed_in(second)
    assert second.get("/settings/users").status_code == 403
    (event,) = events(database, "user.role")
    assert (event.before, event.after) == ({"role": "admin"}, {"role": "viewer"})


def test_the_same_role_leaves_other_sessions_alone(app: Flask, database: Session) -> None:
    first, second = browser(app), browser(app)
    walk(first)
    walk(second)
    assert signed_in(first)
    assert events(database, "user.role") == []


def test_without_a_group_any_more_everything_of_theirs_ends(
    app: Flask, provider: FakeProvider, database: Session
) -> None:
    first, second = browser(app), browser(app)
    walk(first)
    with installation_of(app).session() as session, session.begin():
        session.add(
            ApiToken(
                user_id=user(database, "Anna").id, name="script", token_hash="0", created_at=NOW,
                scope=TokenScope.SYNC, expires_at=NOW + dt.timedelta(days=9),
            )
        )  # fmt: skip
    provider.person = Person(groups=())
    refused(second, walk(second), 403)
    assert not signed_in(first)
    database.rollback()
    assert database.query(LoginSession).count() == database.query(ApiToken).count() == 0
    (event,) = events(database, "user.shut_out")
    (token,) = events(database, "token.revoke")  # as whenever a token ends
    assert (token.actor, token.subject) == ("single sign-on", "API token script of Anna")
    assert event.before == {"sessions": 1, "api_tokens": 1}


# --- who ----------------------------------------------------------------------------------------


def test_somebody_comes_back_to_their_account_under_another_name(
    app: Flask, provider: FakeProvider, database: Session
) -> None:
    walk(browser(app))
    provider.person = Person(preferred_username="Anna Married")
    walk(browser(app))
    assert database.query(User).filter(User.subject.is_not(None)).count() == 1
    assert user(database, "Anna").subject == f"{provider.url} 0001"


@pytest.mark.parametrize("name", ["Anna", "anna", "  ANNA", "An\u200bna ", "\uff21nna"])
def test_somebody_else_of_the_same_name_gets_an_account_of_their_own(
    app: Flask, provider: FakeProvider, database: Session, name: str
) -> None:
    mail = {"email": "anna@acme.example", "email_verified": True}
    provider.person = Person(more=mail)
    walk(browser(app))
    provider.person = Person("0002", name, ("staff",), mail)
    other = browser(app)
    assert walk(other).status_code == 303
    assert user(database, "Anna").role is Role.ADMIN
    database.rollback()
    second = database.query(User).filter_by(subject=f"{provider.url} 0002").one()
    assert second.role is Role.VIEWER
    assert other.get("/settings/users").status_code == 403


@pytest.mark.parametrize("name", ["admin", "Admin", " ADMIN ", "\uff41dmin"])
def test_an_account_with_a_password_is_not_taken_over(
    anonymous: Client, provider: FakeProvider, database: Session, name: str
) -> None:
    provider.person = Person(preferred_username=name)
    text = refused(anonymous, walk(anonymous), 403)
    assert "it is not taken over" in text
    assert "Settings > Users" in text
    assert user(database, "admin").subject is None
    assert database.query(User).count() == len(Role)


@pytest.mark.parametrize(
    ("person", "name"),
    [
        (Person(preferred_username="anna@acme.example"), "anna@acme.example"),
        (Person(preferred_username=None, more={"name": "Anna Acme"}), "Anna Acme"),  # type: ignore[arg-type]
        (Person(preferred_username=""), "0001"),
        (Person(preferred_username="a\u202eb\nc\x00d"), "a b c d"),
        (Person(preferred_username="<b>Anna</b>"), "Anna"),
        (Person(preferred_username="x" * 1000), "x" * 150),
        (Person(preferred_username="Tallybridge"), "0001"),
        (Person(preferred_username="Single Sign-On", more={"name": "Anna"}), "Anna"),
        (Person(preferred_username="command line (root)"), "0001"),
    ],
)
def test_an_account_is_named_as_the_provider_names_its_person(
    anonymous: Client, provider: FakeProvider, database: Session, person: Person, name: str
) -> None:
    provider.person = person
    assert walk(anonymous).status_code == 303
    assert database.query(User).filter(User.subject.is_not(None)).one().name == name


def test_no_password_fits_an_account_of_the_provider(app: Flask) -> None:
    walk(browser(app))
    for password in ("", " ", "Anna", PASSWORD):
        assert browser(app).sign_in("Anna", password).status_code == 422


def test_a_subject_that_is_too_long_is_refused(anonymous: Client, provider: FakeProvider) -> None:
    provider.person = Person(sub="x" * 256)
    assert "shorter subject" in refused(anonymous, walk(anonymous), 403)


# --- signing out --------------------------------------------------------------------------------


def test_signing_out_leads_to_signing_out_there_too(
    anonymous: Client, provider: FakeProvider
) -> None:
    walk(anonymous)
    answer = anonymous.post("/sign-out")
    assert (answer.status_code, answer.location) == (303, "/signed-out")
    button = anonymous.page("/signed-out").one("a", class_="button")
    there = anonymous.get(button["href"])
    assert there.location.startswith(f"{provider.url}/logout?client_id=tallybridge+client&post_")
    assert query_of(there.location)["post_logout_redirect_uri"] == "http://localhost/sign-in"
    assert not [secret for secret in provider.made if secret in there.location]
    assert not signed_in(anonymous)


@pytest.mark.parametrize(
    "page", [None, "https://evil.example/out", "javascript:alert(1)", 7, "//evil.example/"]
)
def test_only_a_page_of_the_provider_itself_is_offered(
    anonymous: Client, provider: FakeProvider, page: Any
) -> None:
    provider.metadata = {"end_session_endpoint": page}
    walk(anonymous)
    anonymous.post("/sign-out")
    assert not anonymous.page("/signed-out").all("a", class_="button")
    assert anonymous.get("/signed-out/there").location == "/sign-in"


def test_signing_out_works_when_the_provider_is_down(
    anonymous: Client, app: Flask, provider: FakeProvider
) -> None:
    walk(anonymous)
    client = app.extensions["tallybridge_identity"].client
    client._metadata, client.issuer = None, "http://127.0.0.1:9"
    anonymous.post("/sign-out")
    assert anonymous.page("/signed-out").one("h1").text.startswith("You are signed out")


# --- without passwords --------------------------------------------------------------------------


def test_without_passwords_there_is_only_the_button(make: Make, provider: FakeProvider) -> None:
    client = browser(make(full=False, vendors=False, **provider.env(), LOCAL_LOGIN="false"))
    page = client.page("/sign-in")
    assert page.one("a", class_="button").text == "Acme Login"
    assert not page.all("input")
    walk(client)
    token = client.page("/").all("input", name="csrf_token")[0]["value"]
    data = {"name": "admin", "password": PASSWORD, "csrf_token": token}
    for path in ("/sign-in", "/sign-in/code"):
        answer = client.post(path, data=data, csrf=False)
        assert answer.status_code == 403
        assert "switched off" in page_of(answer).text


def test_without_passwords_the_command_line_still_makes_users(
    make: Make, provider: FakeProvider, database: Session
) -> None:
    app = make(full=False, vendors=False, **provider.env(), LOCAL_LOGIN="false")
    runner = app.test_cli_runner()
    done = runner.invoke(
        args=["users", "create", "rescue", "--role", "admin"], input=f"{PASSWORD}\n"
    )
    assert done.exit_code == 0, done.output
    with installation_of(app).reading() as session:
        assert session.query(User).filter_by(name="rescue").one().role is Role.ADMIN
