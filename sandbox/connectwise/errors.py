"""Refusals in ConnectWise's words and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.wire import Answer, json_answer


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one field."""

    code: str
    message: str
    field: str

    def as_json(self, resource: str) -> dict[str, Any]:
        """The entry of the error list."""
        return {
            "code": self.code,
            "message": self.message,
            "resource": resource,
            "field": self.field,
        }


class Refusal(Exception):
    """A request that the API refuses."""

    def __init__(
        self, status: int, code: str, message: str, errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"code": code, "message": message}
        if errors is not None:
            self.body["errors"] = errors

    def answer(self) -> Answer:
        """The refusal as an answer."""
        return json_answer(self.status, self.body)


def invalid_object(resource: str, problems: list[Problem]) -> Refusal:
    """400 with the list of what is wrong."""
    errors = [problem.as_json(resource) for problem in problems]
    return Refusal(400, "InvalidObject", f"{resource} object is invalid", errors)


def bad_request(message: str, code: str = "BadRequest") -> Refusal:
    """400 for a request that cannot be understood."""
    return Refusal(400, code, message)


def wrong_type(field: str, wanted: str) -> Refusal:
    """A wrong JSON type is a server error at ConnectWise."""
    text = f"Error converting value to type '{wanted}'. Path '{field}'."
    return Refusal(500, "ConnectWiseApi", text)


def not_found(what: str, number: object) -> Refusal:
    """404 for a record that is not there."""
    return Refusal(404, "NotFound", f"{what} {number} not found")


def forbidden() -> Refusal:
    """403: the role lacks the right."""
    return Refusal(403, "SecurityDenied", "You do not have security permission to do this.")
