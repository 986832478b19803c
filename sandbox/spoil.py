"""How each kind of fault changes the answer to a request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

from sandbox.connectwise import api as connectwise
from sandbox.connectwise.tables import Table
from sandbox.faults import Fault, FaultKind
from sandbox.sophos import TOKEN_PATH, error_answer, token_error
from sandbox.wire import JSON_TYPE, Answer, Request, html_answer, json_answer

LISTS = ("items", "licenses")
TIMEOUT_TEXT = "A timeout has occured. Please try again."
JSON_HEADERS = {"Content-Type": JSON_TYPE}
FOREIGN_ANSWERS: dict[FaultKind, Answer] = {
    "error_502_html": html_answer(502, "502 Bad Gateway"),
    "html_200": html_answer(200, "Sign in"),
    "wrong_shape": json_answer(200, "unexpected"),
    "bad_json": Answer(200, b'{"items": [1, 2', JSON_HEADERS),
    "reset_mid_body": Answer(200, b'{"id":' + b" " * 2000, JSON_HEADERS, delivery="half"),
}


class Api(Protocol):
    """A vendor that answers."""

    def answer(self, request: Request) -> Answer:
        """The honest answer."""


@dataclass(frozen=True)
class Scene:
    """What a fault needs to know beyond the request."""

    api: Api
    elsewhere: str
    table_at: Callable[[str], Table | None]
    first_key: Callable[[str], str]


def spoiled(fault: Fault, request: Request, scene: Scene) -> Answer:
    """The answer with its fault; with its effect only where the fault comes after it."""
    if fault.kind in BUILT_ON_ANSWER:
        return BUILT_ON_ANSWER[fault.kind](fault, request, scene)
    effect = fault.when == "after" and scene.api.answer(request).effect
    if fault.kind == "timeout":
        return Answer(504, b"", effect=effect, delivery="none", delay=fault.wait)
    if fault.kind == "disconnect":
        return Answer(502, b"", effect=effect, delivery="none")
    return replace(_error(fault, request, scene), effect=effect)


def _error(fault: Fault, request: Request, scene: Scene) -> Answer:
    """An answer that has nothing to do with what was asked."""
    if fault.kind in FOREIGN_ANSWERS:
        return FOREIGN_ANSWERS[fault.kind]
    if fault.kind == "redirect":
        return Answer(302, b"", {"Location": f"{scene.elsewhere}/elsewhere"})
    if fault.vendor == "sophos":
        return _sophos_error(fault, request)
    return _connectwise_error(fault)


def _sophos_error(fault: Fault, request: Request) -> Answer:
    status, error, message = {
        "error_500": (500, "InternalServerError", "Something went wrong."),
        "error_500_timeout": (500, "InternalServerError", TIMEOUT_TEXT),
        "error_503": (503, "ServiceUnavailable", "Please try again later."),
        "rate_limited": (429, "TooManyRequests", "Rate limit exceeded."),
        "unauthorized": (401, "Unauthorized", "The access token is wrong or expired."),
        "forbidden": (403, "Forbidden", "Forbidden."),
        "not_found": (404, "NotFound", "The requested resource was not found."),
    }[fault.kind]
    if request.path == TOKEN_PATH:
        return token_error(status, f"oauth.{error[0].lower()}{error[1:]}", message)
    headers = {"Retry-After": str(ceil(fault.wait))} if fault.kind == "rate_limited" else {}
    return error_answer(status, error, message, headers)


def _connectwise_error(fault: Fault) -> Answer:
    if fault.kind == "rate_limited":
        return connectwise.too_many(ceil(fault.wait))
    status, code, message = {
        "error_500": (500, "InternalError", "An unexpected error occurred."),
        "error_500_timeout": (500, "ConnectWiseApi", TIMEOUT_TEXT),
        "error_503": (503, "ServiceUnavailable", "The service is unavailable."),
        "unauthorized": (401, "Unauthorized", "Provided credentials are not authorized"),
        "forbidden": (403, "SecurityDenied", "You do not have security permission to do this."),
        "not_found": (404, "NotFound", "The resource does not exist"),
    }[fault.kind]
    return json_answer(status, {"code": code, "message": message})


def _broken(fault: Fault, honest: Answer) -> Answer:
    """The honest answer, damaged."""
    if fault.kind == "reset_mid_body":
        return replace(honest, delivery="half")
    if fault.kind == "bad_json":
        return replace(honest, body=honest.body[: max(1, len(honest.body) - 2)] + b",")
    value = honest.json()
    return honest.with_json([value] if isinstance(value, dict) else {"value": value})


def _slow(fault: Fault, request: Request, scene: Scene) -> Answer:
    return replace(scene.api.answer(request), delay=fault.wait)


def _with_rows(answer: Answer, change: Callable[[list[Any]], list[Any]]) -> Answer:
    """The answer with its list changed, wherever the list is; others stay as they are."""
    if answer.status != 200:
        return answer
    value = answer.json()
    if isinstance(value, list):
        return answer.with_json(change(value))
    for name in LISTS:
        if isinstance(value, dict) and isinstance(value.get(name), list):
            return answer.with_json({**value, name: change(value[name])})
    return answer


def _empty_list(_fault: Fault, request: Request, scene: Scene) -> Answer:
    answer = _with_rows(scene.api.answer(request), lambda _rows: [])
    headers = {name: text for name, text in answer.headers.items() if name != "Link"}
    value = answer.json()
    if isinstance(value, dict) and isinstance(value.get("pages"), dict):
        value["pages"].pop("nextKey", None)
        counts = {name: 0 for name in ("items", "total") if name in value["pages"]}
        value["pages"] |= counts
        answer = answer.with_json(value)
    return replace(answer, headers=headers)


def _short_list(_fault: Fault, request: Request, scene: Scene) -> Answer:
    """Every third row is lost, the first and the last only when there is nothing between."""

    def thinned(rows: list[Any]) -> list[Any]:
        if len(rows) < 3:
            return rows[:-1]
        return [row for position, row in enumerate(rows) if position % 3 != 1 or row is rows[-1]]

    return _with_rows(scene.api.answer(request), thinned)


def _repeated_key(_fault: Fault, request: Request, scene: Scene) -> Answer:
    """The next key is the key that was just used."""
    answer = scene.api.answer(request)
    value = answer.json()
    if answer.status != 200 or not isinstance(value, dict) or "pages" not in value:
        return answer
    used = request.query().get("pageFromKey") or scene.first_key(request.path)
    value["pages"]["nextKey"] = used
    return answer.with_json(value)


def _repeated_page(_fault: Fault, request: Request, scene: Scene) -> Answer:
    """Page one's rows, under the paging of the page that was asked for."""
    paging = {"page", "pageFromKey", "pageId"}
    pairs = parse_qsl(request.query_text, keep_blank_values=True)
    query = urlencode([(name, text) for name, text in pairs if name not in paging])
    first = scene.api.answer(request.with_query(query))
    asked = scene.api.answer(request)
    value = first.json()
    if isinstance(value, dict) and "items" in value and asked.status == 200:
        return asked.with_json({**asked.json(), "items": value["items"]})
    return replace(first, headers=asked.headers)


def _lagging_list(fault: Fault, request: Request, scene: Scene) -> Answer:
    """Rows that clients made just now are not in the list yet."""
    answer = scene.api.answer(request)
    table = scene.table_at(request.path)
    if request.method != "GET" or table is None:
        return answer
    hidden = table.newer_than(fault.wait)
    return _with_rows(answer, lambda rows: [row for row in rows if row.get("id") not in hidden])


def _false_200(_fault: Fault, request: Request, scene: Scene) -> Answer:
    """A change is answered with the old record and is not made."""
    if request.method != "PATCH":
        return scene.api.answer(request)
    return scene.api.answer(replace(request, method="GET", body=b"", query_text=""))


def _damaged(fault: Fault, request: Request, scene: Scene) -> Answer:
    """The honest answer, damaged on its way; a change that comes `before` is not made."""
    reading = request.method in ("GET", "HEAD") or request.path == TOKEN_PATH
    if not reading and fault.when == "before":
        return _error(fault, request, scene)
    return _broken(fault, scene.api.answer(request))


# The kinds that begin with the honest answer.
BUILT_ON_ANSWER: dict[FaultKind, Callable[[Fault, Request, Scene], Answer]] = {
    "slow": _slow,
    "empty_list": _empty_list,
    "short_list": _short_list,
    "repeated_key": _repeated_key,
    "repeated_page": _repeated_page,
    "lagging_list": _lagging_list,
    "false_200": _false_200,
    "reset_mid_body": _damaged,
    "bad_json": _damaged,
    "wrong_shape": _damaged,
}
