"""Users: added, changed, removed, and never locked out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from models import Role
from services.people import passwords
from services.people.accounts import AccountError
from services.people.users import change_role, delete_user
from tests.databases import sqlite_only
from tests.web.client import PASSWORD, Client, form_values, page_of
from tests.web.world import NOW, installation_of

SignIn = Callable[[Flask, str], Client]
NEW = "a new long password"


def number(app: Flask, name: str) -> int:
    with installation_of(app).reading() as session:
        return session.scalars(sa.select(models.User.id).where(models.User.name == name)).one()


def add_admin(app: Flask, name: str = "second") -> int:
    with installation_of(app).session() as session, session.begin():
        session.add(models.User(name=name, role=Role.ADMIN, password_hash="x", created_at=NOW))
    return number(app, name)


def last_event(app: Flask) -> models.AuditEvent:
    with installation_of(app).reading() as session:
        event = models.AuditEvent
        others = sa.select(event).where(event.action != "user.sign_in")
        query = others.order_by(event.id.desc()).limit(1)
        return session.scalars(query).one()


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_administrators_see_users(app: Flask, sign_in: SignIn, role: str) -> None:
    client = sign_in(app, role)
    assert client.get("/settings/users").status_code == 403
    assert "Users" not in [a.text for a in client.page("/settings").all("a")]


def test_a_new_user_can_sign_in(app: Flask, admin: Client, sign_in: SignIn) -> None:
    values = {"name": " Zoë O'Brien <b> ", "role": "viewer", "password": NEW, "again": NEW}
    answer = admin.fill("/settings/users/new", values, button="Add user")
    assert (answer.status_code, answer.location) == (303, "/settings/users")
    assert "Zoë O'Brien <b> can sign in now." in admin.page("/settings/users").one("main").text
    client = app.test_client()
    assert isinstance(client, Client)
    assert client.sign_in("Zoë O'Brien <b>", NEW).status_code == 303
    event = last_event(app)
    assert (event.action, event.actor, event.after) == ("user.create", "admin", {"role": "viewer"})


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 151}, "name"),
        ({"role": "owner"}, "role"),
        ({"password": "short", "again": "short"}, "password"),
        ({"again": "another password"}, "again"),
    ],
)
def test_a_wrong_entry_is_said_beside_its_field(
    app: Flask, admin: Client, changes: dict[str, str], field: str
) -> None:
    values = {"name": "new", "role": "viewer", "password": NEW, "again": NEW, **changes}
    answer = admin.post("/settings/users/new", data=values, htmx=True)
    assert answer.status_code == 422
    assert page_of(answer).one(id=f"{field}-error").text
    assert NEW not in answer.text
    with installation_of(app).reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(models.User)) == 3


def test_a_name_is_given_once(admin: Client) -> None:
    values = {"name": "viewer", "role": "viewer", "password": NEW, "again": NEW}
    answer = admin.post("/settings/users/new", data=values)
    assert answer.status_code == 422
    assert "There is a user 'viewer' already. Nothing was changed." in page_of(answer).text


def test_htmx_gets_the_fresh_list_and_the_dialog_closes(app: Flask, admin: Client) -> None:
    path = f"/settings/users/{number(app, 'viewer')}/role"
    answer = admin.post(path, data={"role": "operator"}, htmx=True)
    assert answer.status_code == 200
    assert "dialog:close" in answer.headers["HX-Trigger"]
    assert "viewer is operator now" in answer.headers["HX-Trigger"]
    assert page_of(answer).all("h1") == []


def test_another_role_ends_the_sessions(app: Flask, admin: Client, operator: Client) -> None:
    path = f"/settings/users/{number(app, 'operator')}/role"
    assert admin.fill(path, {"role": "viewer"}, button="Change role").status_code == 303
    assert operator.get("/settings").status_code == 302
    event = last_event(app)
    assert (event.before, event.after) == ({"role": "operator"}, {"role": "viewer"})


def test_the_same_role_changes_nothing(app: Flask, admin: Client, operator: Client) -> None:
    path = f"/settings/users/{number(app, 'operator')}/role"
    before = last_event(app).id
    assert admin.fill(path, {}, button="Change role").status_code == 303
    assert operator.get("/settings").status_code == 200
    assert last_event(app).id == before


def test_a_new_password_ends_the_sessions(app: Flask, admin: Client, operator: Client) -> None:
    path = f"/settings/users/{number(app, 'operator')}/password"
    values = {"password": NEW, "again": NEW}
    assert admin.fill(path, values, button="Set password").status_code == 303
    assert operator.get("/settings").status_code == 302
    assert operator.sign_in("operator").status_code == 422
    assert operator.sign_in("operator", NEW).status_code == 303
    assert NEW not in str((last_event(app).before, last_event(app).after))


def test_who_signs_in_elsewhere_gets_no_password(app: Flask, admin: Client) -> None:
    """The groups there would not close this second way in."""
    with installation_of(app).session() as session, session.begin():
        user = session.get_one(models.User, number(app, "viewer"))
        user.password_hash, user.subject = "", "https://login.example 1"
    path = f"/settings/users/{number(app, 'viewer')}/password"
    assert not admin.page("/settings/users").all("a", href=path)
    before = last_event(app).id
    answer = admin.fill(path, {"password": NEW, "again": NEW}, button="Set password")
    assert answer.status_code == 422
    assert "viewer signs in elsewhere" in page_of(answer).text
    assert last_event(app).id == before
    assert admin.sign_in("viewer", NEW).status_code == 422


def test_one_s_own_password_is_not_set_without_the_present_one(app: Flask, admin: Client) -> None:
    """A browser that somebody found open must not do it here, when it may not over there."""
    path = f"/settings/users/{number(app, 'admin')}/password"
    assert not admin.page("/settings/users").all("a", href=path)
    answer = admin.fill(path, {"password": NEW, "again": NEW}, button="Set password")
    assert answer.status_code == 422
    assert "This is your own account. Nothing was changed" in page_of(answer).text
    assert admin.sign_in("admin").status_code == 303


@pytest.mark.parametrize("what", ["new", "password", "own"])
def test_nothing_waits_while_a_password_is_hashed(
    app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    opener, wrote = installation_of(app).session, []

    def hashed(_password: str) -> str:
        with opener() as other, other.begin():
            other.add(models.Marker(name="other", number=1, at=NOW))
        wrote.append(what)
        return "x"

    path = {
        "new": "/settings/users/new",
        "password": f"/settings/users/{number(app, 'viewer')}/password",
        "own": "/settings/password",
    }[what]
    named = {"name": "ben", "role": "viewer"} if what == "new" else {}
    more = {"current": PASSWORD} if what == "own" else named
    token = admin.token()
    monkeypatch.setattr(passwords, "hashed", hashed)
    answer = admin.post(path, data={"password": NEW, "again": NEW, **more, "csrf_token": token})
    assert (answer.status_code, wrote) == (303, [what])


@pytest.mark.parametrize("lost", ["role", "account"])
@pytest.mark.parametrize("what", ["new", "password"])
def test_who_lost_the_role_meanwhile_changes_nothing(
    app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch, what: str, lost: str
) -> None:
    """Another administrator was quicker: while the password was hashed."""
    add_admin(app)
    me, viewer = number(app, "admin"), number(app, "viewer")

    def hashed(_password: str) -> str:
        with installation_of(app).session() as session, session.begin():
            by = session.get_one(models.User, number(app, "second"))
            (_demote if lost == "role" else _delete)(session, me, by)
        return "x"

    path = "/settings/users/new" if what == "new" else f"/settings/users/{viewer}/password"
    more = {"name": "ben", "role": "admin"} if what == "new" else {}
    data = {"password": NEW, "again": NEW, "csrf_token": admin.token(), **more}
    monkeypatch.setattr(passwords, "hashed", hashed)
    answer = admin.post(path, data=data)
    assert answer.status_code == (422 if lost == "role" else 302)
    told = page_of(answer) if lost == "role" else admin.page("/sign-in")
    assert "Nothing was changed" in told.text
    assert last_event(app).action == ("user.role" if lost == "role" else "user.delete")
    with installation_of(app).reading() as session:
        assert not session.query(models.User).filter_by(password_hash="x", name="ben").all()
        assert session.get_one(models.User, viewer).password_hash != "x"


@sqlite_only  # the trigger is written for it
def test_a_write_that_fails_tells_the_log_no_hash(
    app: Flask, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database quotes of a statement holds what was to be kept."""
    here = installation_of(app)
    with here.session() as session, session.begin():
        trigger = "CREATE TRIGGER full BEFORE UPDATE ON users BEGIN SELECT RAISE(FAIL, 'full'); END"
        session.execute(sa.text(trigger))
    path = f"/settings/users/{number(app, 'viewer')}/password"
    data = {"password": NEW, "again": NEW, "csrf_token": admin.token()}
    monkeypatch.setattr(passwords, "hashed", lambda _: "$argon2id$canary")
    admin.expects_500 = True
    assert admin.post(path, data=data).status_code == 500
    log = (here.config.data_dir / "tallybridge.log").read_text(encoding="utf-8")
    assert "full" in log
    assert "canary" not in log


@sqlite_only  # others give no number twice
@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("role", {"role": "admin"}),
        ("password", {"password": NEW, "again": NEW}),
        ("second-factor", {}),
        ("delete", {}),
    ],
)
def test_a_form_that_was_open_does_nothing_to_whoever_has_the_number_now(
    app: Flask, admin: Client, what: str, data: dict[str, str]
) -> None:
    """The database gives the number of the newest user, once deleted, to the next one."""
    path = f"/settings/users/{add_admin(app, 'ben')}/{what}"
    form = form_values(admin.page(path).all("form", action=path)[0])
    with installation_of(app).session() as session, session.begin():
        session.delete(session.get_one(models.User, number(app, "ben")))
        session.flush()
        carol = models.User(
            name="carol", role=Role.VIEWER, password_hash="x", created_at=NOW, totp_since=NOW
        )
        session.add(carol)
    assert path == f"/settings/users/{number(app, 'carol')}/{what}"
    before = last_event(app).id
    answer = admin.post(path, data={**form, **data}, csrf=False)
    assert answer.status_code == 422
    assert "This form was for ben, who is gone. Nothing was changed." in page_of(answer).text
    assert last_event(app).id == before


def test_a_deleted_user_is_out_at_once(app: Flask, admin: Client, operator: Client) -> None:
    path = f"/settings/users/{number(app, 'operator')}/delete"
    with installation_of(app).session() as session, session.begin():
        product = session.scalars(sa.select(models.ProductMapping)).first()
        assert product is not None
        session.add(
            models.StagedEdit(
                user_id=number(app, "operator"), product_key=product.product_key,
                base_version=1, sync=True, made_at=NOW,
            )
        )  # fmt: skip
    assert admin.fill(path, {}, button="Delete user").status_code == 303
    assert operator.get("/settings").status_code == 302
    assert operator.sign_in("operator").status_code == 422
    assert last_event(app).action == "user.delete"


@pytest.mark.parametrize(("what", "data"), [("role", {"role": "viewer"}), ("delete", {})])
def test_nobody_removes_themselves(
    app: Flask, admin: Client, what: str, data: dict[str, str]
) -> None:
    add_admin(app)
    answer = admin.post(f"/settings/users/{number(app, 'admin')}/{what}", data=data)
    assert answer.status_code == 422
    assert "This is your own account. Nothing was changed" in page_of(answer).text


def _demote(session: Session, user_id: int, by: models.User) -> None:
    change_role(session, user_id, Role.VIEWER, by=by, now=NOW)


def _delete(session: Session, user_id: int, by: models.User) -> None:
    delete_user(session, user_id, by=by, now=NOW)


@pytest.mark.parametrize("remove", [_demote, _delete])
def test_the_last_administrator_stays(
    app: Flask, admin: Client, remove: Callable[[Session, int, models.User], None]
) -> None:
    """Two administrators remove each other at the same moment: the second one is refused."""
    other = add_admin(app)
    with installation_of(app).session() as session, session.begin():
        first, second = (session.get(models.User, n) for n in (number(app, "admin"), other))
        assert first is not None
        assert second is not None
        _demote(session, first.id, second)
        with pytest.raises(AccountError, match="the only administrator"):
            remove(session, other, first)


def test_somebody_who_is_gone_is_not_found(admin: Client) -> None:
    for what in ("role", "password", "delete"):
        assert admin.get(f"/settings/users/999/{what}").status_code == 404


def test_the_list_shows_who_is_signed_in(admin: Client, operator: Client) -> None:
    rows = {r.all("th")[0].text: r.text for r in admin.page("/settings/users").all("tr")[1:]}
    assert "1 open session" in rows["operator"]
    assert "not signed in" in rows["viewer"]
    assert "Delete" not in rows["admin (you)"]


# --- one's own password -------------------------------------------------------------------------


def test_everybody_changes_their_own_password(app: Flask, viewer: Client, sign_in: SignIn) -> None:
    elsewhere = sign_in(app, "viewer")
    values = {"current": PASSWORD, "password": NEW, "again": NEW}
    answer = viewer.fill("/settings/password", values, button="Change password")
    assert answer.status_code == 303
    assert "signed out everywhere else" in viewer.page("/settings/password").text
    assert elsewhere.get("/settings").status_code == 302
    assert elsewhere.sign_in("viewer", NEW).status_code == 303


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"current": "wrong"}, "current"),
        ({"password": "short", "again": "short"}, "password"),
        ({"again": "something else"}, "again"),
    ],
)
def test_a_password_that_cannot_be_changed_says_why(
    app: Flask, viewer: Client, sign_in: SignIn, changes: dict[str, str], field: str
) -> None:
    values = {"current": PASSWORD, "password": NEW, "again": NEW, **changes}
    answer = viewer.fill("/settings/password", values, button="Change password")
    assert answer.status_code == 422
    assert page_of(answer).one(id=f"{field}-error").text
    sign_in(app, "viewer")


def test_the_present_password_cannot_be_guessed(viewer: Client) -> None:
    values = {"current": "wrong", "password": NEW, "again": NEW}
    for _ in range(10):
        viewer.post("/settings/password", data=values)
    assert viewer.post("/settings/password", data=values).status_code == 429
