"""Your own password: everybody may change it."""

from __future__ import annotations

from flask import Blueprint, Response, flash, make_response, redirect, render_template, url_for

from blueprints.access import enter, requires
from blueprints.account import prove
from blueprints.support import actor, installation, me, writing
from blueprints.users_forms import OwnPasswordForm
from models import Role
from services.people import passwords
from services.people.sign_in import accept, begin_session
from services.people.users import set_password

blueprint = Blueprint("own_password", __name__, url_prefix="/settings/password")


@blueprint.route("", methods=["GET", "POST"])
@requires(Role.VIEWER)
def index() -> Response:
    form = OwnPasswordForm()
    form.owner = actor()
    if form.validate_on_submit() and _changed(form):
        flash(
            "Your password is changed. You are signed out everywhere else; API tokens are revoked."
        )
        return make_response(redirect(url_for(".index"), 303))
    status = 422 if form.is_submitted() else 200
    return make_response(render_template("users/own_password.html", form=form), status)


def _changed(form: OwnPasswordForm) -> bool:
    """All sessions end; this browser gets a new one."""
    proof, now = prove(form.current), installation().now()
    kept = passwords.hashed(form.password.data) if proof else None
    with writing() as session, session.begin():
        me(session)
        user = accept(session, proof)
        if user is None:
            form.current.errors = ["This is not your present password. Nothing was changed."]
            return False
        set_password(session, user.id, form.password.data, actor=user.name, now=now, kept=kept)
        enter(begin_session(session, user, now=now), user)
    return True
