"""Your account: how you sign in, and where you are signed in."""

from __future__ import annotations

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
from flask_login import current_user
from wtforms import PasswordField

from blueprints.access import enter, requires
from blueprints.support import actor, installation, me, reading, writing
from models import Role
from services.people.second_factor import codes_left
from services.people.sign_in import Proof, begin_session, check_password, is_of, sessions_of
from services.people.users import end_sessions

blueprint = Blueprint("account", __name__, url_prefix="/settings/account")


@blueprint.get("")
@requires(Role.VIEWER)
def index() -> Response:
    token = current_user.get_id()
    with reading() as session:
        user = me(session)
        found = sessions_of(session, user.id, now=installation().now())
        page = render_template(
            "account/index.html",
            user=user,
            sessions=[(login, is_of(login, token)) for login in found],
            codes=codes_left(session, user.id),
        )
    return make_response(page)


@blueprint.post("/sign-out-elsewhere")
@requires(Role.VIEWER)
def sign_out_elsewhere() -> Response:
    """All sessions end; this browser gets a new one."""
    now = installation().now()
    with writing() as session, session.begin():
        user = end_sessions(session, me(session).id, now=now)
        enter(begin_session(session, user, now=now), user)
    flash("You are signed out everywhere else.")
    return make_response(redirect(url_for(".index"), 303))


def prove(field: PasswordField) -> Proof | None:
    """Whether this is the password of who is signed in; guesses are counted. For `accept`."""
    return check_password(
        writing,
        name=actor(),
        password=field.data,
        address=request.remote_addr or "",
        now=installation().now(),
    )
