"""Signing in by an identity provider, and what it changes about signing in and out."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import NamedTuple

from flask import (
    Blueprint,
    Flask,
    Response,
    abort,
    current_app,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask_login import current_user

from blueprints.access import enter, public
from blueprints.auth import own_path
from blueprints.errors import refused
from blueprints.support import installation, writing
from services.clients.errors import Rejected, VendorError
from services.clients.identity import FLOW_LIFE, Flow, IdentityProvider, new_flow
from services.clients.identity_requests import TimedOut
from services.people.identity import Admission, Refusal, sign_in
from services.people.sign_in import end_session
from services.people.sign_in_ways import Provider, SignInWays, sign_in_ways
from services.secrets import WrongKeyError

blueprint = Blueprint("identity", __name__)

COOKIE = "signing_in"
"""Holds one attempt, sealed; the path it is sent to is the only one that needs it."""
ANSWER = "/sign-in/provider/answer"
_PASSWORDS = ("auth.sign_in", "auth.code")
_STATUS = {Rejected: 400, TimedOut: 504}

_log = logging.getLogger("tallybridge.identity")


class _Installed(NamedTuple):
    """How people sign in to this app, and the client of its identity provider."""

    ways: SignInWays
    client: IdentityProvider | None


def init_app(app: Flask) -> None:
    ways = sign_in_ways(app.extensions["tallybridge"].config)
    app.extensions["tallybridge_identity"] = _Installed(ways, _client_of(ways.provider))
    app.jinja_env.globals["sign_in_ways"] = lambda: _installed().ways
    app.before_request(_refuse_passwords)


@blueprint.get("/sign-in/provider")
@public
def start() -> Response:
    flow = new_flow(
        redirect_uri=url_for(".answer", _external=True),
        after=own_path(request.args.get("next")),
        now=installation().now(),
    )
    try:
        response = make_response(redirect(_client().authorization_url(flow)))
    except VendorError as error:
        return _problem(error)
    _remember(response, flow)
    return response


@blueprint.get(ANSWER)
@public
def answer() -> Response:
    now = installation().now()
    try:
        flow = _remembered()
        identity = _client().identity(request.args, flow, now=now)
    except VendorError as error:
        return _forget(_problem(error))
    address = request.remote_addr or ""
    outcome = sign_in(writing, identity, provider=_provider(), address=address, now=now)
    if isinstance(outcome, Refusal):
        _log.warning("nobody was signed in: %s", outcome.message)
        return _forget(_told(outcome.message, 403, there=_sign_out_there()))
    _begin(outcome)
    return _forget(make_response(redirect(flow.after, 303)))


@blueprint.get("/signed-out")
@public
def signed_out() -> Response:
    ways, client = _installed()
    if current_user.is_authenticated or (client is None and ways.header is None):
        return make_response(redirect(url_for("auth.sign_in")))
    page = render_template("identity/signed_out.html", ways=ways, there=_sign_out_there())
    return make_response(page)


@blueprint.get("/signed-out/there")
@public
def sign_out_there() -> Response:
    """Not a form: browsers let no form of ours lead to another site."""
    return make_response(redirect(_sign_out_there() or url_for("auth.sign_in")))


# --- the attempt, kept by the browser that began it ---------------------------------------------


def _remember(response: Response, flow: Flow) -> None:
    sealed = installation().vault.seal(COOKIE, json.dumps(dataclasses.asdict(flow)))
    response.set_cookie(
        COOKIE, sealed, max_age=FLOW_LIFE, path=ANSWER, httponly=True, samesite="Lax",
        secure=request.is_secure,
    )  # fmt: skip


def _remembered() -> Flow:
    """The attempt that this browser began. Raises Rejected."""
    try:
        sealed = request.cookies[COOKIE]
        return Flow(**json.loads(installation().vault.open(COOKIE, sealed)))
    except (KeyError, TypeError, ValueError, WrongKeyError):
        raise Rejected(
            "This browser did not begin to sign in, or it did so more than ten minutes ago, or "
            "it keeps no cookies. You were not signed in; begin again.",
            vendor=_client().name,
        ) from None


def _forget(response: Response) -> Response:
    response.delete_cookie(COOKIE, path=ANSWER, httponly=True, samesite="Lax")
    return response


# --- signing in ---------------------------------------------------------------------------------


def _begin(admission: Admission) -> None:
    """The browser holds the new token alone; a session that it had before is over."""
    if current_user.is_authenticated:
        with writing() as session, session.begin():
            end_session(session, current_user.get_id())
    enter(admission.token, admission.user)


def _sign_out_there() -> str | None:
    client = _installed().client
    if client is None:
        return None
    return client.sign_out_url(url_for("auth.sign_in", _external=True))


def _problem(error: VendorError) -> Response:
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return _told(error.user_message, status)
    return _told(error.user_message, 502)


def _told(message: str, status: int, *, there: str | None = None) -> Response:
    page = render_template(
        "identity/problem.html", message=message, name=_client().name, there=there
    )
    return make_response(page, status)


def _refuse_passwords() -> Response | None:
    """Where the password form is switched off, what it would send is not looked at."""
    asked = request.endpoint in _PASSWORDS and request.method == "POST"
    if not asked or _installed().ways.local:
        return None
    return refused(403, "Signing in with a password is switched off here. Nothing was changed.")


# --- what there is ------------------------------------------------------------------------------


def _client_of(provider: Provider | None) -> IdentityProvider | None:
    if provider is None:
        return None
    return IdentityProvider(
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=provider.client_secret.get_secret_value(),
        name=provider.name,
        groups_claim=provider.groups_claim,
        own_ca=provider.own_ca,
    )


def _installed() -> _Installed:
    found: _Installed = current_app.extensions["tallybridge_identity"]
    return found


def _client() -> IdentityProvider:
    return _installed().client or abort(404)


def _provider() -> Provider:
    return _installed().ways.provider or abort(404)
