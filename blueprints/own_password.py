"""Your own password: the one setting that everybody may change."""

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
from flask import session as cookie
from flask_login import login_user
from werkzeug.exceptions import TooManyRequests

from blueprints.access import SignedIn, requires
from blueprints.support import actor, installation, writing
from blueprints.users_forms import OwnPasswordForm
from models import Role
from services.sign_in import ThrottledError, begin_session, check_password
from services.users import set_password

blueprint = Blueprint("own_password", __name__, url_prefix="/settings/password")


@blueprint.route("", methods=["GET", "POST"])
@requires(Role.VIEWER)
def index() -> Response:
    form = OwnPasswordForm()
    if form.validate_on_submit() and _changed(form):
        flash("Your password is changed. You are signed out everywhere else.")
        return make_response(redirect(url_for(".index"), 303))
    status = 422 if form.is_submitted() else 200
    return make_response(render_template("users/own_password.html", form=form), status)


def _changed(form: OwnPasswordForm) -> bool:
    """All sessions end; this browser gets a new one."""
    try:
        with writing() as session, session.begin():
            now = installation().now()
            user = check_password(
                session,
                name=actor(),
                password=form.current.data,
                address=request.remote_addr or "",
                now=now,
            )
            if user is None:
                form.current.errors = ["This is not your present password. Nothing was changed."]
                return False
            set_password(session, user.id, form.password.data, by=user, now=now)
            token = begin_session(session, user, now=now)
            cookie.clear()
            login_user(SignedIn(token, user))
    except ThrottledError:
        raise TooManyRequests from None
    return True
