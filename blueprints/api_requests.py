"""What callers of the API send: strict JSON and known parameters, or a problem that says where."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from flask import abort, request
from pydantic import BaseModel, ValidationError

from blueprints.api_problems import fault, invalid, problem
from services.plain_words import plain_reason

M = TypeVar("M", bound=BaseModel)
_NOTHING = (b"", b"{}")


class _NotJsonError(ValueError):
    """It is no JSON that two readers would read alike."""


def read_query(shape: type[M] | None) -> M | None:
    """The parameters of the address. Unknown and repeated ones are refused with 422."""
    repeated = [name for name, values in request.args.lists() if len(values) > 1]
    if repeated:
        abort(invalid([fault("it stands there twice", parameter=name) for name in repeated]))
    if shape is None:
        unknown = [fault("unknown name", parameter=name) for name in request.args]
        return abort(invalid(unknown)) if unknown else None
    try:
        return shape.model_validate(request.args.to_dict())
    except ValidationError as error:
        abort(
            invalid([fault(said, parameter=path[0]) for path, said in _said(error, request.args)])
        )


def read_body(shape: type[M] | None, *, limit: int) -> M | None:
    """The body. 415 for another media type, 413 beyond `limit` bytes, 400 for what is no JSON."""
    request.max_content_length = limit
    raw = request.get_data()
    if shape is None:
        return None if raw.strip() in _NOTHING else abort(problem(400, _NO_BODY))
    if request.mimetype != "application/json":
        abort(problem(415))
    try:
        value = _loads(raw)
    except (ValueError, RecursionError) as error:
        abort(problem(400, f"The body is not valid JSON: {_why(error)}. Nothing was changed."))
    try:
        return shape.model_validate(value, strict=True)
    except ValidationError as error:
        abort(invalid([fault(said, pointer=pointer(path)) for path, said in _said(error, value)]))


_NO_BODY = "This takes no body. Nothing was changed; send it without one."


def pointer(path: Iterable[object]) -> str:
    """A JSON pointer as a fragment, such as `#/products/0/code`."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return "#" + "".join(f"/{step}" for step in steps)


def _said(error: ValidationError, value: object) -> Iterable[tuple[list[str], str]]:
    for each in error.errors(include_url=False, include_input=False):
        missing = each["type"] == "missing"
        yield _path(each["loc"], value, missing=missing), plain_reason(each)


def _path(steps: Iterable[int | str], value: object, *, missing: bool) -> list[str]:
    """The steps that lead to a place in what was sent; others are pydantic's own."""
    found: list[str] = []
    for step in steps:
        try:
            value = value[step]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return [*found, str(step)] if missing else found
        found.append(str(step))
    return found


def _loads(raw: bytes) -> Any:
    text = raw.decode("utf-8")
    value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    whole = json.dumps(value, ensure_ascii=False)
    if "\\u0000" in whole:
        raise _NotJsonError("a text in it holds the character NUL")
    whole.encode("utf-8")  # a lone surrogate is half a character, which no database keeps
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotJsonError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is no number")


def _why(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} in line {error.lineno}, column {error.colno}"
    if isinstance(error, _NotJsonError):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it is not UTF-8 text" if isinstance(error, UnicodeError) else "a number is too long"
