"""Users: who may sign in, and as what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, flash, url_for
from flask_wtf import FlaskForm
from sqlalchemy.orm import Session

from blueprints.access import requires
from blueprints.dialogs import form_dialog
from blueprints.htmx import done, render, wants_fragment
from blueprints.support import actor, installation, me, reading, user_id, writing
from blueprints.users_forms import DeleteForm, NewUserForm, PasswordForm, RoleForm
from models import Role, User
from services.people.accounts import AccountError, create_user
from services.people.users import (
    accounts,
    change_role,
    delete_user,
    find_user,
    remove_second_factor,
    set_password,
)

blueprint = Blueprint("users", __name__, url_prefix="/settings/users")


@blueprint.get("")
@requires(Role.ADMIN)
def index() -> Response:
    return render("users/index.html", fragment="users/_table.html", **_list())


@blueprint.route("/new", methods=["GET", "POST"])
@requires(Role.ADMIN)
def new() -> Response:
    form = NewUserForm()

    def change(session: Session) -> str:
        create_user(
            session,
            name=form.name.data,
            password=form.password.data,
            role=Role(form.role.data),
            actor=actor(),
            now=installation().now(),
        )
        return f"{form.name.data.strip()} can sign in now."

    return _dialog(form, change, content="users/_new.html", title="Add a user")


@blueprint.route("/<int:number>/role", methods=["GET", "POST"])
@requires(Role.ADMIN)
def role(number: int) -> Response:
    user = _user(number)
    form = RoleForm(role=user.role.value, whom=user.name)

    def change(session: Session) -> str:
        wanted = Role(form.role.data)
        change_role(session, number, wanted, by=me(session), now=installation().now())
        return f"{user.name} is {wanted.value} now and has to sign in again."

    return _dialog(form, change, content="users/_role.html", title="Change role", user=user)


@blueprint.route("/<int:number>/password", methods=["GET", "POST"])
@requires(Role.ADMIN)
def password(number: int) -> Response:
    user = _user(number)
    form = PasswordForm(whom=user.name)
    form.owner = user.name

    def change(session: Session) -> str:
        now = installation().now()
        _refuse_own(number)
        set_password(session, number, form.password.data, actor=actor(), now=now)
        return f"{user.name} has a new password and has to sign in again."

    return _dialog(form, change, content="users/_password.html", title="New password", user=user)


@blueprint.route("/<int:number>/second-factor", methods=["GET", "POST"])
@requires(Role.ADMIN)
def second_factor(number: int) -> Response:
    user = _user(number)
    form = DeleteForm(whom=user.name)

    def change(session: Session) -> str:
        remove_second_factor(session, number, by=me(session), now=installation().now())
        return f"{user.name} signs in with the password alone now."

    title = "Remove the second factor"
    return _dialog(form, change, content="users/_second_factor.html", title=title, user=user)


@blueprint.route("/<int:number>/delete", methods=["GET", "POST"])
@requires(Role.ADMIN)
def delete(number: int) -> Response:
    user = _user(number)
    form = DeleteForm(whom=user.name)

    def change(session: Session) -> str:
        name = delete_user(session, number, by=me(session), now=installation().now())
        return f"{name} was deleted."

    return _dialog(form, change, content="users/_delete.html", title="Delete user", user=user)


def _dialog(form: FlaskForm, change: Callable[[Session], str], **shown: Any) -> Response:
    """Show a form, or do what it asks; what cannot be done is said in the form."""
    return form_dialog(form, lambda: _changed(form, change), _done, **shown)


def _done(message: str) -> Response:
    if not wants_fragment():
        flash(message)
    return done(url_for(".index"), fragment="users/_table.html", toast=message, **_list())


def _changed(form: FlaskForm, change: Callable[[Session], str]) -> str | None:
    try:
        with writing() as session, session.begin():
            message = change(session)
            _refuse_who_lost_the_role(session)
            return message
    except AccountError as error:
        form.refused = str(error)
        return None


def _refuse_who_lost_the_role(session: Session) -> None:
    """Somebody may have taken it since the request began: hashing a password takes a while."""
    if me(session).role is not Role.ADMIN:
        raise AccountError("You are no administrator any more. Nothing was changed.")


def _refuse_own(number: int) -> None:
    """Your own password is changed where the present one is asked for."""
    if number == user_id():
        raise AccountError(
            "This is your own account. Nothing was changed; change your password under Settings > "
            "Your account."
        )


def _user(number: int) -> User:
    """Raises 404 for somebody who is gone."""
    try:
        with reading() as session:
            return find_user(session, number)
    except AccountError:
        abort(404)


def _list() -> dict[str, Any]:
    with reading() as session:
        found = accounts(session, now=installation().now())
    return {"accounts": found, "me": user_id(), "roles": list(Role)}
