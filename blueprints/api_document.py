"""The OpenAPI 3.1 document, made from the operations and shapes that the API works with."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from blueprints.api_operations import Operation, Operations
from blueprints.api_problems import MEDIA_TYPE
from models import Role
from services.formats.json_shapes import InvalidProblem, Problem

Schema = dict[str, Any]
JSON = "application/json"
_REF = "#/components/schemas/{model}"
_RIGHTS = {Role.VIEWER: "Needs a token of any scope.", Role.OPERATOR: "Needs the scope `sync`."}


def document_of(operations: Operations, prefix: str) -> Schema:
    """The whole document; what it says about an address is what its code checks."""
    schemas = _schemas(operations.all)
    queries = {op.query.__name__: schemas.pop(op.query.__name__) for op in operations.all
               if op.query is not None and op.query.__name__ in schemas}  # fmt: skip
    paths: dict[str, Schema] = {}
    for op in operations.all:
        paths.setdefault(prefix + op.path, {})[op.method.lower()] = _operation(op, queries)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tallybridge",
            "version": "1",
            "description": "Plans and runs, findings and mappings. All of it needs a personal "
            "token, made under Settings > API tokens. Nothing but a token signs in here.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(operations: Iterable[Operation]) -> Schema:
    taken = {shape for op in operations for shape in (op.query, op.body) if shape}
    given = {op.answer for op in operations if op.answer} | {Problem, InvalidProblem}
    asked = [(shape, "validation") for shape in sorted(taken | given, key=lambda s: s.__name__)]
    _, found = models_json_schema(asked, ref_template=_REF)  # type: ignore[arg-type]
    schemas: Schema = found["$defs"]
    return schemas


def _operation(op: Operation, queries: Schema) -> Schema:
    described: Schema = {
        "operationId": op.name,
        "summary": op.says,
        "description": " ".join(part for part in (op.more, _RIGHTS[op.role]) if part),
        "parameters": [*_path_parameters(op), *_query_parameters(op, queries), *_headers(op)],
        "responses": {str(op.status): _good(op)},
    }
    for status, shape in op.errors.items():
        described["responses"][str(status)] = _bad(status, shape)
    if op.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(op.body)}}}
    return described


def _good(op: Operation) -> Schema:
    schema = _ref(op.answer) if op.answer else {"type": "object"}
    described: Schema = {
        "description": HTTPStatus(op.status).phrase,
        "content": {JSON: {"schema": schema}},
    }
    if op.status == HTTPStatus.ACCEPTED:
        described["headers"] = {"Location": _header("The address of the run.")}
    return described


def _bad(status: int, shape: type[BaseModel]) -> Schema:
    described: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": _ref(shape)}},
    }
    headers = {
        401: ("WWW-Authenticate", "What is asked for."),
        429: ("Retry-After", "How many seconds to wait."),
    }
    if status in headers:
        name, says = headers[status]
        described["headers"] = {name: _header(says)}
    return described


def _path_parameters(op: Operation) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
        for name in re.findall(r"{(\w+)}", op.path)
    ]


def _query_parameters(op: Operation, queries: Schema) -> list[Schema]:
    if op.query is None:
        return []
    properties: Schema = queries[op.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _without_null(schema)}
        for name, schema in properties.items()
    ]


def _without_null(schema: Schema) -> Schema:
    """An address cannot say null: what is not given is left out."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "title")}
    if schema.get("default") is not None:
        kept["default"] = schema["default"]
    for branch in schema.get("anyOf", ()):
        kept |= branch if branch.get("type") != "null" else {}
    return kept


def _headers(op: Operation) -> list[Schema]:
    if not op.keyed:
        return []
    says = (
        "A key of your own. The same request with the same key again is the same run, as long as "
        "this process lives; another request with it is refused."
    )
    schema = {"type": "string", "pattern": "^[!-~]{1,100}$"}
    parameter = {"name": "Idempotency-Key", "in": "header", "required": False}
    return [{**parameter, "description": says, "schema": schema}]


def _header(says: str) -> Schema:
    return {"description": says, "required": True, "schema": {"type": "string"}}


def _ref(shape: type[BaseModel]) -> Schema:
    return {"$ref": _REF.format(model=shape.__name__)}
