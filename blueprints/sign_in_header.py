"""Signing in by a header that a reverse proxy sets: whom it names is who is there.

The header is believed only from the peer that opened the connection, and only if that is a proxy
named in the settings. A session begun by it lasts as long as the proxy goes on naming the same
person.
"""

from __future__ import annotations

import logging

from flask import Flask, Response, current_app, g, request
from flask import session as cookie
from flask_login import current_user, logout_user

from blueprints.access import enter
from blueprints.errors import refused
from blueprints.support import installation, writing
from models import Role, User
from services.people.identity import named
from services.people.sign_in import begin_session, end_session
from services.people.sign_in_events import Way, signed_in
from services.people.sign_in_ways import HeaderRefusedError, SignInHeader, sign_in_ways

BOUND = "named_by_proxy"
"""Marks the cookie of a session that the header began; it is signed, so nobody takes it out."""

_API = "api"
"""The pages of programs: they bring a token of their own with each request, and keep no session."""

_log = logging.getLogger("tallybridge.identity")


def init_app(app: Flask) -> None:
    header = sign_in_ways(app.extensions["tallybridge"].config).header
    if header is not None:
        app.before_request(lambda: _follow(header))
        app.after_request(_bind)


def _follow(header: SignInHeader) -> Response | None:
    """Runs before anybody is asked to sign in."""
    if request.endpoint == "static":
        return None
    try:
        name = header.believed(request.environ.get(_variable(header)), peer=_peer())
    except HeaderRefusedError as error:
        _log.warning("%s from %s was refused: %s", header.name, _peer(), error)
        return refused(403, str(error))
    g.named_by_proxy = name
    _end_what_does_not_fit(name)
    return _sign_in(name) if name is not None and _needs_somebody() else None


def _end_what_does_not_fit(name: str | None) -> None:
    """The proxy names another person, or nobody any more."""
    there = current_user.is_authenticated
    over = there and name is not None and current_user.name != name
    if over or (BOUND in cookie and cookie[BOUND] != name):
        if there:
            with writing() as session, session.begin():
                end_session(session, current_user.get_id())
        logout_user()
        cookie.clear()


def _sign_in(name: str) -> Response | None:
    if current_user.is_authenticated:
        return None
    if request.method not in ("GET", "HEAD"):
        return refused(403, "You were not signed in any more. Nothing was changed; load it again.")
    user = _begin(name)
    if user is None:
        _log.warning("the reverse proxy named %r, who has no account", name)
        return refused(
            403,
            f"The reverse proxy says that you are {name}, but there is no account of that name "
            "here. Nothing was changed. Ask an administrator to add a user named exactly so.",
        )
    return None


def _begin(name: str) -> User | None:
    """Let this browser in as who has this name; None when nobody has."""
    now = installation().now()
    with writing() as session, session.begin():
        user = named(session, name)
        if user is not None:
            signed_in(session, user, Way.HEADER, address=request.remote_addr or "", now=now)
            enter(begin_session(session, user, now=now), user)
    return user


def _bind(response: Response) -> Response:
    """No answer hands out a session that goes on without the header, whatever began it."""
    name = g.get("named_by_proxy")
    if name is not None and current_user.is_authenticated and cookie.get(BOUND) != name:
        cookie[BOUND] = name
    return response


def _needs_somebody() -> bool:
    """Whether this page is for people who are signed in to it."""
    if request.blueprint == _API:
        return False
    view = current_app.view_functions.get(request.endpoint or "")
    return isinstance(getattr(view, "required_role", None), Role)


def _variable(header: SignInHeader) -> str:
    return "HTTP_" + header.name.upper().replace("-", "_")


def _peer() -> str:
    """Who opened the connection, before ProxyFix put a forwarded address in its place."""
    before = request.environ.get("werkzeug.proxy_fix.orig") or request.environ
    return str(before.get("REMOTE_ADDR") or "")
