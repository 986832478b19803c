"""Signing in and out, and the choice of light or dark."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask import session as cookie
from flask_login import current_user, logout_user
from sqlalchemy.orm import Session

from blueprints.access import enter, public, requires
from blueprints.forms import CodeForm, SignInForm
from blueprints.support import installation, reading, writing
from models import Role
from services.people.second_factor import finish_sign_in
from services.people.sign_in import (
    accept,
    begin_session,
    begin_waiting,
    check_password,
    end_session,
    find_waiting,
)
from services.people.sign_in_events import Way, signed_in

blueprint = Blueprint("auth", __name__)

THEMES = ("auto", "light", "dark")
WAITING = "waiting"
"""Where the cookie holds the token of somebody whose one-time code is still to come."""


@blueprint.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> Response:
    form = SignInForm()
    if form.validate_on_submit() and _sign_in(form):
        wanted = request.args.get("next")
        onward = url_for(".code", next=wanted) if WAITING in cookie else own_path(wanted)
        return make_response(redirect(onward, 303))
    status = 422 if request.method == "POST" else 200
    return make_response(render_template("auth/sign_in.html", form=form), status)


@blueprint.route("/sign-in/code", methods=["GET", "POST"])
@public
def code() -> Response:
    """After the password, for those who have a second factor; nobody is signed in yet."""
    form = CodeForm()
    if not _waits():
        flash("Sign in again: after the password there are five minutes to enter the code.")
        return make_response(redirect(url_for(".sign_in", next=request.args.get("next")), 303))
    if form.validate_on_submit() and _enter_code(form):
        return make_response(redirect(own_path(request.args.get("next")), 303))
    status = 422 if request.method == "POST" else 200
    return make_response(render_template("auth/code.html", form=form), status)


@blueprint.post("/sign-out")
@requires(Role.VIEWER)
def sign_out() -> Response:
    with writing() as session, session.begin():
        end_session(session, current_user.get_id())
    logout_user()
    cookie.clear()
    return make_response(redirect(url_for("identity.signed_out"), 303))


@blueprint.post("/theme")
@public
def theme() -> Response:
    chosen = request.form.get("theme", "auto")
    response = make_response(redirect(own_path(request.form.get("back")), 303))
    if chosen in THEMES:
        response.set_cookie(
            "theme", chosen, max_age=31_536_000, httponly=True, samesite="Lax",
            secure=request.is_secure,
        )  # fmt: skip
    return response


def _sign_in(form: SignInForm) -> bool:
    """A new session on the server for every sign-in; the cookie holds only its token.

    With a second factor it waits for the code, and lets nobody in until then.
    """
    now = installation().now()
    proof = check_password(
        writing,
        name=form.name.data,
        password=form.password.data,
        address=request.remote_addr or "",
        now=now,
    )
    with writing() as session, session.begin():
        user = accept(session, proof)
        if user is None:
            form.password.errors = ["Name or password is wrong."]
            return False
        _leave(session)
        if user.totp_since is None:
            signed_in(session, user, Way.PASSWORD, address=request.remote_addr or "", now=now)
            enter(begin_session(session, user, now=now), user)
        else:
            cookie.clear()
            cookie[WAITING] = begin_waiting(session, user, now=now)
    return True


def _leave(session: Session) -> None:
    """What this browser had before is over, wherever a copy of it is."""
    for token in (current_user.get_id(), cookie.get(WAITING)):
        end_session(session, token or "")


def _waits() -> bool:
    with reading() as session:
        return find_waiting(session, cookie.get(WAITING, ""), now=installation().now()) is not None


def _enter_code(form: CodeForm) -> bool:
    done = finish_sign_in(
        writing,
        installation().vault,
        token=cookie[WAITING],
        code=form.code.data,
        address=request.remote_addr or "",
        now=installation().now(),
    )
    if done is None:
        form.code.errors = ["This code is wrong, or it was used already. Wait for the next one."]
        return False
    user, token = done
    enter(token, user)
    return True


def own_path(wanted: str | None) -> str:
    """A path of ours, never another site's address."""
    path = wanted or ""
    return path if _is_own(path) else url_for("overview.index")


def _is_own(path: str) -> bool:
    try:
        parts = urlsplit(path)
    except ValueError:  # brackets that are no address, or letters that become a slash
        return False
    if parts.scheme or parts.netloc or not path.startswith("/") or not path.isprintable():
        return False
    return not (path.startswith("//") or parts.path.startswith("//") or "\\" in path)
