"""A caller of the JSON API: every answer is held against what the OpenAPI document says of it."""

from __future__ import annotations

import re
from typing import Any

from flask import Flask
from jsonschema import Draft202012Validator
from sqlalchemy import select
from werkzeug.test import TestResponse

from blueprints import api
from blueprints.api_document import document_of
from models import TokenScope, User
from services.people.api_tokens import make_token
from tests.web.client import Client
from tests.web.world import installation_of

PREFIX = "/api/v1"
DOCUMENT = document_of(api.operations, PREFIX)


def problems(document: dict[str, Any], method: str, response: TestResponse) -> list[str]:
    """Everything in an answer that the document does not say; empty when all is well."""
    found = []
    if "Set-Cookie" in response.headers:
        found.append("it sets a cookie")
    if response.headers.get("Cache-Control") != "no-store":
        found.append("it may be kept")
    operation = _operation(document, method, response.request.path)
    if operation is None:
        wanted = {"$ref": "#/components/schemas/Problem"}
        if response.status_code not in (404, 405):
            return [*found, f"{method} {response.request.path} is not in the document"]
        return [*found, *_body(document, response, {"application/problem+json": wanted})]
    described = operation["responses"].get(str(response.status_code))
    if described is None:
        return [*found, f"status {response.status_code} is not in the document"]
    for name, header in described.get("headers", {}).items():
        if header["required"] and name not in response.headers:
            found.append(f"the header {name} is missing")
    content = {media: each["schema"] for media, each in described["content"].items()}
    return [*found, *_body(document, response, content)]


def _operation(document: dict[str, Any], method: str, path: str) -> dict[str, Any] | None:
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[0-9]+", template), path):
            found: dict[str, Any] | None = operations.get(method.lower())
            return found
    return None


def _body(document: dict[str, Any], response: TestResponse, content: dict[str, Any]) -> list[str]:
    if response.content_type not in content:
        return [f"it is {response.content_type}"]
    schema = {**content[response.content_type], "components": document["components"]}
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(response.json)]


class Api:
    """Calls the API with a token, or without one; no answer escapes the document."""

    def __init__(self, client: Client, token: str | None = None) -> None:
        self.client = client
        self.token = token

    def __call__(
        self, method: str, path: str, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Any:
        sent = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        response = self.client.open(
            PREFIX + path, method=method, csrf=False, headers={**sent, **(headers or {})}, **kwargs
        )
        found = problems(DOCUMENT, method, response)
        assert not found, f"{method} {path}: {response.status}\n  " + "\n  ".join(found)
        return response

    def get(self, path: str, **query: Any) -> Any:
        """The document of an address that must be there."""
        response = self("GET", path, query_string=query)
        assert response.status_code == 200, response.text
        return response.json

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """Send a body, as JSON when there is one."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self("POST", path, headers=sent, **({} if body is None else {"json": body}))


def token_of(app: Flask, name: str, scope: str = "sync", *, days: int = 90, to: str = "") -> str:
    """A token of this user, made now."""
    installation = installation_of(app)
    with installation.session() as session, session.begin():
        owner = session.scalars(select(User).where(User.name == name)).one()
        return make_token(
            session,
            owner,
            name=to or f"{scope} {days}",
            scope=TokenScope(scope),
            days=days,
            now=installation.now(),
        )


def api_of(app: Flask, token: str | None = None) -> Api:
    """A caller with a browser of its own, so without cookies."""
    client = app.test_client()
    assert isinstance(client, Client)
    return Api(client, token)
