"""Reading what a client sends: JSON, patch operations, and the kinds of their values."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any, NoReturn

from sandbox.connectwise.errors import Problem, bad_request, invalid_object, wrong_type
from sandbox.connectwise.fields import Field
from sandbox.connectwise.tables import Record
from sandbox.wire import Request

INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
TYPE_NAMES = {
    "int": "System.Int32", "number": "System.Double", "text": "System.String",
    "flag": "System.Boolean", "date": "System.DateTime", "reference": "Reference",
    "list": "System.Collections.Generic.List",
}  # fmt: skip
REFERENCE_KEYS = {"id", "name", "identifier", "_info", "type", "serializedFlag"}


def read_json(request: Request) -> Any:
    """The JSON body of a write; anything else is refused."""
    kind = request.header("content-type").partition(";")[0].strip()
    if kind not in ("application/json", "application/vnd.connectwise.com+json"):
        raise bad_request("Content-Type must be application/json", "UnsupportedMediaType")
    try:
        return json.loads(
            request.body, parse_constant=_refuse_constant, object_pairs_hook=_unique_keys
        )
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request("The body is not valid JSON", "InvalidJson") from error


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(text)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def check_new(body: Any, fields: dict[str, Field], resource: str) -> Record:
    """The record of a POST: known fields of the right kinds, absent for null."""
    if not isinstance(body, dict):
        raise bad_request("The body must be an object")
    problems = [
        Problem("InvalidField", f"{name} is not a field of {resource}", name)
        for name in body
        if name not in fields
    ]
    problems += [
        Problem("ReadOnlyField", f"{name} is computed by the server", name)
        for name in body
        if name in fields and fields[name].computed
    ]
    if problems:
        raise invalid_object(resource, problems)
    return {
        name: checked(value, name, fields[name], resource)
        for name, value in body.items()
        if value is not None
    }


def checked(value: Any, name: str, field: Field, resource: str) -> Any:
    """The value if its JSON kind fits the field; numbers as floats, for money and amounts."""
    fits = {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
        "text": isinstance(value, str),
        "flag": isinstance(value, bool),
        "date": isinstance(value, str),
        "reference": isinstance(value, dict),
        "list": isinstance(value, list),
    }
    if not fits[field.kind]:
        raise wrong_type(name, TYPE_NAMES[field.kind])
    if field.kind == "number":
        return _checked_number(value, name)
    if field.kind == "date":
        return _checked_date(value, name, resource)
    if field.kind == "reference":
        return _checked_reference(value, name, resource)
    return value


def _checked_number(value: float, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise wrong_type(name, TYPE_NAMES["number"])
    return number


def _checked_date(value: str, name: str, resource: str) -> str:
    problem = Problem("InvalidDate", f"{name} must look like 2026-01-31T00:00:00Z", name)
    if not INSTANT.fullmatch(value):
        raise invalid_object(resource, [problem])
    try:
        datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError as error:
        raise invalid_object(resource, [problem]) from error
    return value


def _checked_reference(value: dict[str, Any], name: str, resource: str) -> dict[str, Any]:
    unknown = set(value) - REFERENCE_KEYS
    if unknown:
        text = f"{name} has no field {sorted(unknown)[0]}"
        raise invalid_object(resource, [Problem("InvalidField", text, name)])
    number = value.get("id")
    if number is None:
        problem = Problem("MissingRequiredField", f"{name}/id is required", name)
        raise invalid_object(resource, [problem])
    if not isinstance(number, int) or isinstance(number, bool):
        raise wrong_type(f"{name}.id", TYPE_NAMES["int"])
    return {"id": number}


def patched(body: Any, record: Record, fields: dict[str, Field], resource: str) -> Record:
    """The record after the operations. An operation on a nested path does nothing at all."""
    if not isinstance(body, list):
        raise bad_request("The body must be an array of operations")
    changed = dict(record)
    for operation in body:
        _apply(_checked_operation(operation), changed, fields, resource)
    return changed


def _checked_operation(operation: Any) -> dict[str, Any]:
    if not isinstance(operation, dict) or set(operation) - {"op", "path", "value"}:
        raise bad_request("An operation has op, path and value")
    if operation.get("op") not in ("add", "replace", "remove"):
        raise bad_request("op must be add, replace or remove")
    if not isinstance(operation.get("path"), str):
        raise bad_request("path is required")
    if operation["op"] != "remove" and "value" not in operation:
        raise bad_request("value is required")
    return operation


def _apply(
    operation: dict[str, Any], changed: Record, fields: dict[str, Field], resource: str
) -> None:
    path = operation["path"]
    first, slash, _ = path.partition("/")
    field = fields.get(first)
    if field is None:
        raise bad_request(f"The path '{path}' is not a field of {resource}", "InvalidPath")
    if slash:
        return  # as documented: answered with 200, without any effect
    if field.computed:
        problem = Problem("ReadOnlyField", f"{path} is computed by the server", path)
        raise invalid_object(resource, [problem])
    value = operation.get("value") if operation["op"] != "remove" else None
    if value is None:
        changed.pop(path, None)
    else:
        changed[path] = checked(value, path, field, resource)
