"""API tokens: everybody makes and revokes their own; administrators see and revoke all."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, Response, abort, flash, url_for
from flask_login import current_user

from blueprints import api
from blueprints.access import requires
from blueprints.api_document import document_of
from blueprints.api_operations import answer
from blueprints.api_tokens_forms import NewTokenForm, RevokeForm
from blueprints.dialogs import form_dialog
from blueprints.htmx import done, render, render_dialog, wants_fragment
from blueprints.support import installation, me, reading, writing
from models import ApiToken, Role, TokenScope
from services.people.accounts import AccountError
from services.people.api_tokens import TokenError, find_token, make_token, revoke_token, tokens

blueprint = Blueprint("api_tokens", __name__, url_prefix="/settings/api-tokens")


@blueprint.get("")
@requires(Role.VIEWER)
def index() -> Response:
    return render("api_tokens/index.html", fragment="api_tokens/_table.html", **_list())


@blueprint.route("/new", methods=["GET", "POST"])
@requires(Role.VIEWER)
def new() -> Response:
    form = NewTokenForm(current_user.role)
    token = _made(form) if form.validate_on_submit() else None
    if token is not None:
        return _show_once(form, token)
    status = 422 if form.is_submitted() else 200
    title = "New API token"
    modal = wants_fragment()
    return render_dialog("api_tokens/_new.html", title=title, status=status, form=form, modal=modal)


@blueprint.route("/<int:number>/revoke", methods=["GET", "POST"])
@requires(Role.VIEWER)
def revoke(number: int) -> Response:
    token, form = _token(number), RevokeForm()
    content, title = "api_tokens/_revoke.html", "Revoke API token"
    revoked = partial(_revoked, form, token)
    return form_dialog(form, revoked, _done, content=content, title=title, token=token)


@blueprint.get("/openapi.json")
@requires(Role.VIEWER)
def openapi() -> Response:
    """The same document as the API's own, for a person who is signed in."""
    return answer(document_of(api.operations, api.blueprint.url_prefix or ""))


def _made(form: NewTokenForm) -> str | None:
    """The new token; None with a message in the form when it cannot be made."""
    try:
        with writing() as session, session.begin():
            return make_token(
                session,
                me(session),
                name=form.name.data,
                scope=TokenScope(form.scope.data),
                days=int(form.days.data),
                now=installation().now(),
            )
    except TokenError as error:
        form.name.errors = [str(error)]
    except AccountError as error:
        form.refused = str(error)
    return None


def _show_once(form: NewTokenForm, token: str) -> Response:
    """The answer to the form itself: an address that shows it again must not exist."""
    return render_dialog(
        "api_tokens/_made.html",
        title="Copy this token now",
        name=form.name.data.strip(),
        token=token,
        modal=wants_fragment(),
        **_list(),
    )


def _revoked(form: RevokeForm, token: ApiToken) -> str | None:
    try:
        with writing() as session, session.begin():
            revoke_token(session, token.id, by=me(session), now=installation().now())
    except (TokenError, AccountError) as error:
        form.refused = str(error)
        return None
    return f"{token.name} is revoked."


def _done(message: str) -> Response:
    if not wants_fragment():
        flash(message)
    return done(url_for(".index"), fragment="api_tokens/_table.html", toast=message, **_list())


def _token(number: int) -> ApiToken:
    """Raises 404 for one that is gone, or somebody else's."""
    try:
        with reading() as session:
            return find_token(session, number, by=me(session))
    except (TokenError, AccountError):
        abort(404)


def _list() -> dict[str, Any]:
    with reading() as session:
        person = me(session)
        found = tokens(session, person, now=installation().now())
    return {"tokens": found, "me": person.id}
