"""Signing in and out, and the choice of light or dark."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from flask import session as cookie
from flask_login import current_user, login_user, logout_user
from werkzeug.exceptions import TooManyRequests

from blueprints.access import SignedIn, public, requires
from blueprints.forms import SignInForm
from blueprints.support import installation, writing
from models import Role
from services.sign_in import ThrottledError, begin_session, check_password, end_session

blueprint = Blueprint("auth", __name__)

THEMES = ("auto", "light", "dark")


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Response:
    form = SignInForm()
    if form.validate_on_submit() and _sign_in(form):
        return make_response(redirect(_own_path(request.args.get("next")), 303))
    status = 422 if request.method == "POST" else 200
    return make_response(render_template("auth/sign_in.html", form=form), status)


@blueprint.post("/sign-out")
@requires(Role.VIEWER)
def sign_out() -> Response:
    with writing() as session, session.begin():
        end_session(session, current_user.get_id())
    logout_user()
    cookie.clear()
    return make_response(redirect(url_for("auth.sign_in"), 303))


@blueprint.post("/theme")
@public
def theme() -> Response:
    chosen = request.form.get("theme", "auto")
    response = make_response(redirect(_own_path(request.form.get("back")), 303))
    if chosen in THEMES:
        response.set_cookie(
            "theme", chosen, max_age=31_536_000, httponly=True, samesite="Lax",
            secure=request.is_secure,
        )  # fmt: skip
    return response


def _sign_in(form: SignInForm) -> bool:
    """A new session on the server for every sign-in; the cookie holds only its token."""
    try:
        with writing() as session, session.begin():
            now = installation().now()
            user = check_password(
                session,
                name=form.name.data,
                password=form.password.data,
                address=request.remote_addr or "",
                now=now,
            )
            if user is None:
                form.password.errors = ["Name or password is wrong."]
                return False
            token = begin_session(session, user, now=now)
            cookie.clear()
            login_user(SignedIn(token, user))
    except ThrottledError:
        raise TooManyRequests from None
    return True


def _own_path(wanted: str | None) -> str:
    """A path of ours, never another site's address."""
    path = wanted or ""
    parts = urlsplit(path)
    foreign = parts.scheme or parts.netloc or not path.startswith("/")
    if foreign or path.startswith("//") or parts.path.startswith("//") or "\\" in path:
        return url_for("overview.index")
    return path
