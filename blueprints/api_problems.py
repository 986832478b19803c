"""Errors of the JSON API: problem documents (RFC 9457) in plain words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from flask import Response, request
from werkzeug.exceptions import HTTPException

PREFIX = "/api/"
MEDIA_TYPE = "application/problem+json"

DETAILS = {
    400: "The request was not understood. Nothing was changed.",
    403: "This token may not do that: its scope, or the role of its owner, does not allow it. "
    "Nothing was changed.",
    404: "There is nothing at this address. Nothing was changed.",
    405: "This address does not take such a request. Nothing was changed.",
    413: "That is too much at once. Nothing was changed; send less.",
    415: "Send JSON, with Content-Type: application/json. Nothing was changed.",
    429: "Too many wrong tokens came from your address. Wait a quarter of an hour.",
}


def wants_problem() -> bool:
    """Whether errors of this request are problem documents instead of pages."""
    return request.path.startswith(PREFIX)


def problem(status: int, detail: str | None = None, **more: Any) -> Response:
    """A problem document; without a detail the usual words of its status."""
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail or DETAILS.get(status, f"{title}."),
        **more,
    }
    return Response(json.dumps(document), status, content_type=MEDIA_TYPE)


def fault(
    detail: str, *, pointer: str | None = None, parameter: str | None = None
) -> dict[str, Any]:
    """One thing that is wrong with what was sent, and where."""
    return {"pointer": pointer, "parameter": parameter, "detail": detail}


def invalid(errors: Sequence[dict[str, Any]]) -> Response:
    """What was sent has the wrong shape or names what is not there."""
    detail = "Nothing was changed. Correct what is listed and send it again."
    return problem(422, detail, errors=list(errors))


def http_problem(error: HTTPException) -> Response:
    """An error of the server framework in our words; which methods are allowed stays in it."""
    status = error.code or 500
    response = problem(status, None if status in DETAILS else error.description)
    for name, value in error.get_headers(None):
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response
