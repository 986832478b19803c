"""An operation of the API, said once for the code that checks and the document that tells."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response
from pydantic import BaseModel

from blueprints.api_requests import read_body, read_query
from models import Role
from services.formats.json_shapes import InvalidProblem, Problem

View = Callable[..., Response]
Shape = type[BaseModel]

SMALL, LARGE = 100_000, 2_000_000
"""The most bytes that a body may have."""
EVERYWHERE = (401, 403, 422, 429, 500)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one address and method takes and gives. `keyed` ones know Idempotency-Key."""

    method: str
    rule: str
    name: str
    says: str
    more: str
    role: Role
    answer: Shape | None = None
    status: int = HTTPStatus.OK
    query: Shape | None = None
    body: Shape | None = None
    limit: int = SMALL
    problems: tuple[int, ...] = ()
    keyed: bool = False

    @property
    def path(self) -> str:
        """The address as OpenAPI writes it: `/runs/{run_id}`."""
        return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", self.rule)

    @property
    def errors(self) -> dict[int, Shape]:
        """Every status of a problem, with the shape of its document."""
        statuses = {*EVERYWHERE, *self.problems}
        if self.method != "GET":
            statuses |= {400, 413}
        if self.body is not None:
            statuses.add(415)
        return {s: InvalidProblem if s == 422 else Problem for s in sorted(statuses)}


class Operations:
    """The operations of a blueprint, in the order in which they were made."""

    def __init__(self, blueprint: Blueprint) -> None:
        self.blueprint = blueprint
        self.all: list[Operation] = []

    def get(self, rule: str, says: str, **what: Any) -> Callable[[View], View]:
        """Something to look at."""
        return self._add("GET", rule, says, **what)

    def post(self, rule: str, says: str, **what: Any) -> Callable[[View], View]:
        """Something to do."""
        return self._add("POST", rule, says, **what)

    def patch(self, rule: str, says: str, **what: Any) -> Callable[[View], View]:
        """Something to change in part."""
        return self._add("PATCH", rule, says, **what)

    def _add(self, method: str, rule: str, says: str, **what: Any) -> Callable[[View], View]:
        def add(view: View) -> View:
            made = Operation(
                method=method,
                rule=rule,
                name=view.__name__,
                says=says,
                more=" ".join((view.__doc__ or "").split()),
                role=view.required_role,  # type: ignore[attr-defined]
                **what,
            )
            self.all.append(made)
            self.blueprint.add_url_rule(
                rule,
                made.name,
                _reading(view, made),
                methods=[method],
                provide_automatic_options=False,
            )
            return view

        return add


def answer(document: dict[str, Any], status: int = HTTPStatus.OK) -> Response:
    """A document, its names in the order in which they were written."""
    return Response(json.dumps(document), status, content_type="application/json")


def _reading(view: View, operation: Operation) -> View:
    """The view with what it takes, read and checked."""

    @functools.wraps(view)
    def read(**path: Any) -> Response:
        query = read_query(operation.query)
        if operation.query is not None:
            path["query"] = query
        if operation.method != "GET":
            body = read_body(operation.body, limit=operation.limit)
            if operation.body is not None:
                path["body"] = body
        return view(**path)

    return read
