"""Who calls the API: the owner of the token in the Authorization header, and nobody else."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus

from flask import Response, abort, g, request
from sqlalchemy.exc import OperationalError

from blueprints.api_problems import problem
from blueprints.support import installation, reading, writing
from services.people import api_tokens
from services.people.api_tokens import Caller, TokenExpiredError
from services.people.throttle import ThrottledError

BLUEPRINT = "api"
logger = logging.getLogger("tallybridge.web")


def caller() -> Caller:
    """Who holds the token of this request; its guard has looked at it."""
    found: Caller = g.api_caller
    return found


def token_caller() -> Caller:
    """Look at the token of this request. Ends it with 401 or 429 when there is no good one."""
    given = request.authorization
    token = given.token if given is not None and given.type == "bearer" else None
    if not token:
        abort(_unknown("Send a token of yours as `Authorization: Bearer tb_...`."))
    try:
        with reading() as session:
            found = api_tokens.identify(session, token, now=installation().now())
    except TokenExpiredError:
        abort(_unknown("This token has expired. Make another one.", "invalid_token"))
    if found is None:
        _count_wrong()
        abort(_unknown("There is no such token, or it was revoked.", "invalid_token"))
    _note_use(found)
    g.api_caller = found
    return found


def too_little() -> Response:
    """The token is good, but not for this."""
    response = problem(HTTPStatus.FORBIDDEN)
    response.headers["WWW-Authenticate"] = 'Bearer realm="Tallybridge", error="insufficient_scope"'
    return response


def _unknown(detail: str, error: str | None = None) -> Response:
    response = problem(HTTPStatus.UNAUTHORIZED, f"{detail} Nothing was changed.")
    more = f', error="{error}"' if error else ""
    response.headers["WWW-Authenticate"] = f'Bearer realm="Tallybridge"{more}'
    return response


def _count_wrong() -> None:
    """Many wrong tokens of one address are not looked at for a while; a good one always is."""
    try:
        with writing() as session, session.begin():
            api_tokens.count_wrong(session, request.remote_addr or "", now=installation().now())
    except ThrottledError as error:
        response = problem(HTTPStatus.TOO_MANY_REQUESTS)
        response.headers["Retry-After"] = str(math.ceil(error.wait.total_seconds()))
        abort(response)


def _note_use(found: Caller) -> None:
    """A call must not fail because its time could not be noted."""
    now = installation().now()
    if not api_tokens.use_is_news(found, now=now):
        return
    try:
        with writing() as session, session.begin():
            api_tokens.note_use(session, found, now=now)
    except OperationalError as error:
        logger.warning("the use of a token could not be noted: %s", type(error).__name__)
