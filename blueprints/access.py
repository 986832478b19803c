"""Who may see what: every view names the role it needs, and without one it is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import (
    Flask,
    Response,
    abort,
    current_app,
    flash,
    g,
    make_response,
    redirect,
    request,
    session,
)
from flask_login import LoginManager, UserMixin, current_user, login_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import IntegrityError

import models
from blueprints import api_access
from blueprints.errors import stale_form, storage_failed
from blueprints.htmx import wants_fragment
from blueprints.support import SignedOutError, installation, me, reading, writing
from models import Role
from services.people.sign_in import end_session, find_session

V = TypeVar("V", bound=Callable[..., Any])

_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}
PUBLIC = "public"


def requires(role: Role) -> Callable[[V], V]:
    """Let a view be used by this role and those above it."""

    def mark(view: V) -> V:
        view.required_role = role  # type: ignore[attr-defined]
        return view

    return mark


def public(view: V) -> V:
    """Let a view be used without signing in. There are very few of these."""
    view.required_role = PUBLIC  # type: ignore[attr-defined]
    return view


class SignedIn(UserMixin):  # type: ignore[misc]  # flask-login has no types
    """The person behind a living session; its id is the token, never the person's number."""

    def __init__(self, token: str, user: models.User) -> None:
        self.token = token
        self.id = user.id
        self.name = user.name
        self.role = user.role
        self.has_password = bool(user.password_hash)

    def get_id(self) -> str:
        return self.token

    def may(self, role: Role | str) -> bool:
        """Whether this person's role is at least the one named."""
        return _RANK[self.role] >= _RANK[Role(role)]


def init_app(app: Flask) -> None:
    manager = LoginManager(app)
    manager.session_protection = None  # the token on the server is what counts
    manager.user_loader(_load)
    app.before_request(_guard)
    app.register_error_handler(CSRFError, _without_token)
    app.register_error_handler(SignedOutError, _signed_out)
    app.register_error_handler(IntegrityError, _signed_out_or_broken)


def enter(token: str, user: models.User) -> None:
    """Let this browser in as this user: nothing of the cookie before is kept."""
    session.clear()
    login_user(SignedIn(token, user))


def _load(token: str) -> SignedIn | None:
    now = installation().now()
    with reading() as reader:
        found = find_session(reader, token, now=now)
        if found is None:
            return None
        if _came_by_password(found.user):
            _end(token)
            return None
        signed_in = SignedIn(token, found.user)
        seen = bool(reader.dirty)
        reader.expunge_all()
    if seen:
        with writing() as writer, writer.begin():
            find_session(writer, token, now=now)
    return signed_in


def _came_by_password(user: models.User) -> bool:
    """Whether only a password can have begun this session, and passwords do not count any more.

    Who comes from the identity provider has none here; and whom the proxy names, it vouches for.
    """
    if installation().config.local_login or user.subject is not None:
        return False
    return bool(g.get("named_by_proxy") != user.name)


def _end(token: str) -> None:
    """No copy of the cookie is worth anything when passwords come back."""
    if request.endpoint != "static":  # nobody asked there whom the proxy names
        with writing() as writer, writer.begin():
            end_session(writer, token)


def _guard() -> Response | None:
    """Runs before every request, found or not; static files are public."""
    if request.endpoint is None or request.endpoint == "static":
        return None
    needed = getattr(current_app.view_functions[request.endpoint], "required_role", None)
    if request.blueprint == api_access.BLUEPRINT:
        return _guard_api(needed)
    if needed == PUBLIC:
        return None
    if not current_user.is_authenticated:
        return _ask_to_sign_in()
    if needed is None or not current_user.may(needed):
        abort(403)
    return None


def _guard_api(needed: Role | str | None) -> Response | None:
    """The API takes tokens and nothing else; the pages take no tokens."""
    caller = api_access.token_caller()
    if needed not in _RANK or _RANK[caller.role] < _RANK[Role(needed)]:
        return api_access.too_little()
    return None


def _without_token(error: CSRFError) -> Response:
    """The token goes with the session: a page whose session ended is loaded anew, to sign in."""
    view = current_app.view_functions.get(request.endpoint or "")
    closed = getattr(view, "required_role", None) in _RANK
    if closed and wants_fragment() and not current_user.is_authenticated:
        return _ask_to_sign_in()
    return stale_form(error)


def _ask_to_sign_in() -> Response:
    """To the sign-in page, and from there back to where this person was."""
    session.clear()
    if request.headers.get("HX-Request") == "true":
        response = make_response("", 401)
        response.headers["HX-Refresh"] = "true"
        return response
    wanted = request.full_path.rstrip("?") if request.method == "GET" else None
    return make_response(redirect(current_app.url_for("auth.sign_in", next=wanted)))


def _signed_out(_error: SignedOutError) -> Response:
    answer = _ask_to_sign_in()
    flash("You were signed out: your account was removed. Nothing was changed.", "bad")
    return answer


def _signed_out_or_broken(error: IntegrityError) -> Response:
    """What a person keeps cannot be stored once they are deleted; all else is our own fault."""
    try:
        with reading() as session:
            if current_user.is_authenticated:
                me(session)
    except SignedOutError as gone:
        return _signed_out(gone)
    return storage_failed(error)
