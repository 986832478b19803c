"""Every request has an id, which stands on all its log lines and error pages, and one log line."""

from __future__ import annotations

import logging
import re
import secrets
import time

from flask import Flask, Response, current_app, g, request
from structlog.contextvars import bind_contextvars, clear_contextvars

logger = logging.getLogger("tallybridge.access")

QUIET = ("/static/", "/icons.svg", "/healthz", "/metrics")
"""Asked for all the time; only their failures are worth a line."""
_PLAIN = re.compile(r"[A-Za-z0-9._-]{8,64}")
_LONGEST_PATH = 200


def init_app(app: Flask) -> None:
    """Before all other guards, so that what they refuse has its id and its line too."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def request_id() -> str:
    """What a person tells support, who finds it in the log."""
    return str(g.get("request_id", ""))


def _begin() -> None:
    clear_contextvars()  # threads serve many requests
    g.request_id = _given() or secrets.token_hex(8)
    g.began = time.monotonic()
    bind_contextvars(request=g.request_id)


def _given() -> str | None:
    """The id that a reverse proxy gave; without one anybody could write into our log."""
    given = request.headers.get("X-Request-Id", "")
    trusted = current_app.extensions["tallybridge"].config.proxy_hops > 0
    return given if trusted and _PLAIN.fullmatch(given) else None


def _end(response: Response) -> Response:
    response.headers["X-Request-Id"] = request_id()
    if response.status_code >= 400 or not request.path.startswith(QUIET):
        _write_line(response.status_code)
    return response


def _write_line(status: int) -> None:
    """Never the query: it may hold what a person typed."""
    who = g.get("_login_user")  # whoever was found already; no reading for the log alone
    caller = g.get("api_caller")
    logger.log(
        logging.WARNING if status >= 500 else logging.INFO,
        "request",
        extra={
            "method": request.method,
            "path": request.path[:_LONGEST_PATH],
            "status": status,
            "ms": round((time.monotonic() - g.get("began", time.monotonic())) * 1000),
            "user": caller.actor if caller else getattr(who, "name", None),
        },
    )


def _forget(_error: BaseException | None) -> None:
    clear_contextvars()
