"""Error pages that say what happened and what to do, and that cannot fail themselves."""

from __future__ import annotations

import errno
import logging
import math
from http import HTTPStatus

from flask import Flask, Response, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DatabaseError, OperationalError
from werkzeug.exceptions import HTTPException

from blueprints.api_problems import http_problem, problem, wants_problem
from blueprints.htmx import wants_fragment
from blueprints.request_log import request_id
from blueprints.support import installation
from services.clients.errors import VendorError
from services.connections import NotConfiguredError
from services.damage import damage_of, unusable
from services.database import DatabaseUnusableError
from services.people.throttle import ThrottledError
from services.secrets import WrongKeyError
from services.upkeep.backup import BackupError

logger = logging.getLogger("tallybridge.web")

_TITLES = {
    400: "Not done",
    403: "Not allowed",
    404: "No such page",
    405: "Not possible here",
    413: "Too large",
    429: "Too many attempts",
    500: "Something went wrong here",
    502: "The other side did not answer well",
    503: "Not possible now",
}
_ADVICE = {
    400: "The request was not understood. Go back, reload the page and try again.",
    403: "Your role does not allow this. Ask an administrator.",
    404: "There is no such page. It may have been moved or removed.",
    405: "This address does not take such a request. Go back and try again.",
    413: "That is too much at once. Send less.",
    429: "Too many attempts. Wait a quarter of an hour and try again.",
}

_OUR_FAULT = "It is in the log. Look whether what you did is there before you do it again."
_NO_ROOM = (
    "The data volume is full, or cannot be written. Nothing was changed; make room there and try "
    "again."
)


def init_app(app: Flask) -> None:
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(ThrottledError, _throttled)
    for expected in (VendorError, NotConfiguredError, WrongKeyError, DatabaseUnusableError):
        app.register_error_handler(expected, _expected)
    app.register_error_handler(BackupError, _said_already)
    for storage in (DatabaseError, OSError):
        app.register_error_handler(storage, storage_failed)
    app.register_error_handler(Exception, _unexpected)


def stale_form(_error: CSRFError) -> Response:
    """The answer to a form whose token does not count."""
    return _page(
        400,
        "The form is no longer valid, or your session ended. Nothing was changed; go back, reload "
        "and try again.",
    )


def _http_error(error: HTTPException) -> Response:
    if error.response is not None or (error.code or 500) < 400:
        return make_response(error.get_response())
    if wants_problem():
        return http_problem(error)
    return _page(error.code or 500, _ADVICE.get(error.code or 500, error.description or ""))


def _throttled(error: ThrottledError) -> Response:
    """Says when to come back; what was sent was not looked at."""
    logger.warning("too many failed attempts", extra={"address": request.remote_addr})
    seconds = math.ceil(error.wait.total_seconds())
    minutes = math.ceil(seconds / 60)
    span = "a minute" if minutes <= 1 else f"{minutes} minutes"
    if minutes > 120:
        span = f"{math.ceil(minutes / 60)} hours"
    advice = f"Too many failed attempts. This one was not looked at. Try again in {span}."
    response = _page(429, advice)
    response.headers["Retry-After"] = str(seconds)
    return response


def _expected(error: Exception) -> Response:
    return _page(502 if isinstance(error, VendorError) else 503, f"{error} Nothing was changed.")


def _said_already(error: BackupError) -> Response:
    return _page(503, str(error))


def storage_failed(error: DatabaseError | OSError) -> Response:
    """A database or a volume that cannot be used now; everything else of these is our own fault."""
    if isinstance(error, OperationalError) or damage_of(error) is not None:
        logger.warning("database: %s", getattr(error, "orig", error))
        return _page(503, unusable(installation().engine, error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        logger.warning("data volume: %s", error)
        return _page(503, _NO_ROOM)
    return _unexpected(error)


def _unexpected(error: Exception) -> Response:
    logger.error("unexpected", exc_info=error)
    return _page(500, _OUR_FAULT)


def refused(status: int, advice: str) -> Response:
    """The answer to a request that is refused for a reason of its own."""
    return _page(status, advice)


def _page(status: int, advice: str) -> Response:
    """As a full page, or for htmx as a notice that goes to the live region.

    For callers of the API as a problem document.
    """
    if wants_problem():
        return problem(status, advice)
    title = _TITLES.get(status) or (HTTPStatus(status).phrase if status in set(HTTPStatus) else "")
    template = "errors/notice.html" if wants_fragment() else "errors/page.html"
    response = make_response(
        render_template(
            template, title=title, advice=advice, status=status, request_id=request_id()
        ),
        status,
    )
    if wants_fragment():
        response.headers["HX-Retarget"] = "#notices"
        response.headers["HX-Reswap"] = "innerHTML"
    return response
