"""Notifications: where they go, and what is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, abort, flash, make_response, redirect, url_for
from flask_wtf import FlaskForm

from blueprints.access import requires
from blueprints.dialogs import form_dialog
from blueprints.htmx import done, render, wants_fragment
from blueprints.notifications_forms import NotificationsForm, RemoveForm, TargetForm
from blueprints.settings import stored
from blueprints.settings_forms import labelled
from blueprints.support import actor, installation, reading
from models import Role
from services.monitoring.notices import credential_expires
from services.monitoring.notifications import (
    Target,
    TargetError,
    add_target,
    find_target,
    remove_target,
    targets,
    test_target,
)
from services.setting_changes import fingerprint
from services.settings import load_settings

blueprint = Blueprint("notifications", __name__, url_prefix="/settings/notifications")


@blueprint.get("")
@requires(Role.ADMIN)
def index() -> Response:
    with reading() as session:
        present = load_settings(session)
    return _page(NotificationsForm(data=NotificationsForm.shown(present)))


@blueprint.post("")
@requires(Role.ADMIN)
def save() -> Response:
    form = NotificationsForm()
    if not (form.validate_on_submit() and stored(form)):
        return _page(form, status=422)
    flash("Saved.")
    return make_response(redirect(url_for(".index"), 303))


@blueprint.route("/targets/new", methods=["GET", "POST"])
@requires(Role.ADMIN)
def new() -> Response:
    form = TargetForm()

    def add() -> str:
        add_target(installation(), form.name.data, form.url.data, actor=actor())
        return f"{form.name.data.strip()} was added. Send a test now."

    return _dialog(form, add, content="notifications/_new.html", title="Add a target")


@blueprint.route("/targets/<int:number>/remove", methods=["GET", "POST"])
@requires(Role.ADMIN)
def remove(number: int) -> Response:
    target = _target(number)

    def forget() -> str:
        return f"{remove_target(installation(), number, actor=actor())} was removed."

    content, title = "notifications/_remove.html", "Remove a target"
    return _dialog(RemoveForm(), forget, content=content, title=title, target=target)


@blueprint.post("/targets/<int:number>/test")
@requires(Role.ADMIN)
def test(number: int) -> Response:
    """Waits for the answer: it takes at most eight seconds, and a person wants to see it."""
    target = _target(number)
    result = test_target(installation(), number)
    said = "The test was sent. Look whether it arrived." if result.sent else result.problem
    return _done(f"{target.name}: {said}")


def _page(form: NotificationsForm, *, status: int = 200) -> Response:
    with reading() as session:
        present = load_settings(session)
        expires = credential_expires(session, present)
    form.seen.data = fingerprint(present, form.values())
    return render(
        "notifications/index.html",
        fragment="notifications/_index.html",
        status=status,
        form=form,
        expires=expires,
        differences=labelled(form, form.shown(present)) if form.changed_meanwhile else [],
        **_list(),
    )


def _dialog(form: FlaskForm, change: Callable[[], str], **shown: Any) -> Response:
    """Show a form, or do what it asks; what cannot be done is said in the form."""
    return form_dialog(form, lambda: _changed(form, change), _done, **shown)


def _changed(form: FlaskForm, change: Callable[[], str]) -> str | None:
    try:
        return change()
    except TargetError as error:
        if error.field:
            form[error.field].errors = [str(error)]
        else:
            form.refused = str(error)
        return None


def _done(message: str) -> Response:
    if not wants_fragment():
        flash(message)
    there = url_for(".index")
    return done(there, fragment="notifications/_targets.html", toast=message, **_list())


def _target(number: int) -> Target:
    """Raises 404 for one that is gone."""
    try:
        with reading() as session:
            return find_target(session, installation().vault, number)
    except TargetError:
        abort(404)


def _list() -> dict[str, Any]:
    with reading() as session:
        return {"targets": targets(session, installation().vault)}
