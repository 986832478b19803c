"""Your second factor: switched on, off, and what to do without the phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import Blueprint, Response, flash, make_response, redirect, render_template, url_for
from flask import session as cookie
from flask_wtf import FlaskForm
from markupsafe import Markup
from sqlalchemy.orm import Session

from blueprints.access import enter, requires
from blueprints.account import prove
from blueprints.forms import CodeForm
from blueprints.support import installation, me, writing
from blueprints.users_forms import OwnerForm
from models import Role, User
from services.people import second_factor
from services.people.accounts import AccountError
from services.people.sign_in import accept, begin_session

blueprint = Blueprint("second_factor", __name__, url_prefix="/settings/account/second-factor")
T = TypeVar("T")
PROVED = "proved"
"""Where the cookie holds when, in seconds since 1970, the password was given to see the secret."""
FOR_THE_SECRET = 600
"""How many seconds it may be seen for: the browser may be left open."""


@blueprint.route("", methods=["GET", "POST"])
@requires(Role.VIEWER)
def start() -> Response:
    """The password first, then a secret; one that was never confirmed is replaced."""
    form = OwnerForm()
    done = _as_owner(form, _propose) if form.is_submitted() else None
    return _page("start", form) if done is None else _to(".confirm")


@blueprint.route("/confirm", methods=["GET", "POST"])
@requires(Role.VIEWER)
def confirm() -> Response:
    """The first code switches it on; the recovery codes are in this answer and nowhere else."""
    form, now, vault = CodeForm(), installation().now(), installation().vault
    with writing() as session, session.begin():
        user = me(session)
        secret = second_factor.proposed(user, vault)
        if secret is None or not _proved_lately():
            return _to("account.index" if secret is None else ".start")
        if not form.validate_on_submit():
            return _shown(form, user, secret)
        codes = second_factor.confirm(session, user, vault, form.code.data, now=now)
        if codes is None:
            form.code.errors = ["This code is wrong. Check your phone's clock, and try the next."]
            return _shown(form, user, secret)
        enter(begin_session(session, user, now=now), user)
    return _codes(codes, "Second factor is on")


@blueprint.route("/recovery-codes", methods=["GET", "POST"])
@requires(Role.VIEWER)
def recovery_codes() -> Response:
    form, now = OwnerForm(), installation().now()

    def renew(session: Session, user: User) -> list[str]:
        return second_factor.renew_codes(session, user, now=now)

    codes = _as_owner(form, renew) if form.is_submitted() else None
    return _page("renew", form) if codes is None else _codes(codes, "New recovery codes")


@blueprint.route("/off", methods=["GET", "POST"])
@requires(Role.VIEWER)
def off() -> Response:
    form, now = OwnerForm(), installation().now()

    def switch_off(session: Session, user: User) -> bool:
        second_factor.remove(session, user, actor=user.name, now=now)
        enter(begin_session(session, user, now=now), user)
        return True

    if not form.is_submitted() or _as_owner(form, switch_off) is None:
        return _page("off", form)
    flash("Your second factor is off. You are signed out everywhere else.")
    return _to("account.index")


def _proved_lately() -> bool:
    age: float = installation().now().timestamp() - cookie.get(PROVED, 0)
    return 0 <= age <= FOR_THE_SECRET


def _propose(_session: Session, user: User) -> bool:
    second_factor.propose(user, installation().vault)
    cookie[PROVED] = installation().now().timestamp()
    return True


def _as_owner(form: OwnerForm, change: Callable[[Session, User], T]) -> T | None:
    """Do what only the owner of the password may; else the form says why it was not done."""
    if not form.validate():
        return None
    proof = prove(form.current)
    try:
        with writing() as session, session.begin():
            me(session)
            user = accept(session, proof)
            if user is None:
                form.current.errors = ["This is not your password. Nothing was changed."]
                return None
            return change(session, user)
    except AccountError as error:
        form.refused = str(error)
        return None


def _to(endpoint: str) -> Response:
    return make_response(redirect(url_for(endpoint), 303))


def _page(name: str, form: FlaskForm, **context: object) -> Response:
    status = 422 if form.is_submitted() else 200
    page = render_template(f"account/second_factor_{name}.html", form=form, **context)
    return make_response(page, status)


def _shown(form: CodeForm, user: User, secret: str) -> Response:
    """The secret as a picture and as text."""
    link = second_factor.setup_link(user, secret)
    groups = [secret[i : i + 4] for i in range(0, len(secret), 4)]
    picture = Markup(second_factor.picture(link))  # noqa: S704 - numbers, drawn by us
    return _page("confirm", form, secret=" ".join(groups), picture=picture)


def _codes(codes: list[str], title: str) -> Response:
    return make_response(render_template("account/codes.html", codes=codes, title=title))
