"""An independent judge of the requests that we send, by the vendors' published contracts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import yaml
from openapi_schema_validator import OAS30Validator, oas30_format_checker

FOLDER = Path(
    os.environ.get("CONTRACTS") or Path(__file__).resolve().parents[3] / "shared" / "contracts"
)
CONNECTWISE_BASE = "/v2026_4/apis/3.0"


@dataclass(frozen=True)
class Sent:
    """One request as it left us."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def of(cls, request: requests.PreparedRequest) -> Sent:
        parts = urlsplit(request.url or "")
        body = request.body or b""
        return cls(
            method=request.method or "",
            path=parts.path,
            query=tuple(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=False)),
            headers={name.lower(): str(value) for name, value in request.headers.items()},
            body=body if isinstance(body, bytes) else str(body).encode(),
        )


class Contract:
    """One vendor's OpenAPI document."""

    def __init__(self, name: str) -> None:
        path = FOLDER / name
        if not path.exists():
            pytest.skip(f"the contract {name} is not here (set CONTRACTS)")
        self.document = _document(path)

    def judge(self, sent: Sent) -> str:
        """The operation that a request is of; an AssertionError says what is wrong with it."""
        template, values = self._template(sent)
        operation = self.document["paths"][template][sent.method.lower()]
        shared = self.document["paths"][template].get("parameters", [])
        declared = [self._resolved(p) for p in [*shared, *operation.get("parameters", [])]]
        self._judge_parameters(declared, values, sent)
        self._judge_body(template, operation, sent)
        return f"{sent.method} {template}"

    def _template(self, sent: Sent) -> tuple[str, dict[str, str]]:
        exact_first = sorted(self.document["paths"], key=lambda text: text.count("{"))
        for template in exact_first:
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
            match = re.fullmatch(pattern, sent.path)
            if match and sent.method.lower() in self.document["paths"][template]:
                return template, match.groupdict()
        raise AssertionError(f"{sent.method} {sent.path} is in no contract")

    def _judge_parameters(
        self, declared: list[dict[str, Any]], path_values: dict[str, str], sent: Sent
    ) -> None:
        places: dict[str, dict[str, str]] = {
            "path": path_values,
            "query": dict(sent.query),
            "header": dict(sent.headers),
        }
        assert len(dict(sent.query)) == len(sent.query), "a query parameter came twice"
        known = {p["name"] for p in declared if p["in"] == "query"}
        assert set(places["query"]) <= known, f"unknown query: {set(places['query']) - known}"
        for parameter in declared:
            name = parameter["name"]
            key = name.lower() if parameter["in"] == "header" else name
            value = places[parameter["in"]].get(key)
            assert value is not None or not parameter.get("required"), f"{name} is missing"
            if value is not None:
                self.validate(_typed(value, parameter["schema"]), parameter["schema"], name)

    def _judge_body(self, template: str, operation: dict[str, Any], sent: Sent) -> None:
        if "requestBody" not in operation:
            assert not sent.body, "a body where none belongs"
            return
        assert sent.headers["content-type"] == "application/json"
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        body = json.loads(sent.body)
        self.validate(body, schema, "body")
        if sent.method == "PATCH":
            entity = self._entity(self.document["paths"][template]["get"])
            for step in body:
                self._judge_field(step["path"], step.get("value"), entity)
        else:
            for name, value in body.items():
                self._judge_field(name, value, self._resolved(schema))

    def _judge_field(self, name: str, value: object, entity: dict[str, Any]) -> None:
        """The schemas allow unknown names; the servers do not."""
        assert name in entity["properties"], f"{name} is no field"
        self.validate(value, entity["properties"][name], name)

    def _entity(self, operation: dict[str, Any]) -> dict[str, Any]:
        content = operation["responses"]["200"]["content"]
        return self._resolved(next(iter(content.values()))["schema"])

    def _resolved(self, thing: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in thing:
            found: Any = self.document
            for part in thing["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            thing = found
        return thing

    def validate(self, value: object, schema: dict[str, Any], what: str) -> None:
        whole = {"components": self.document["components"], "allOf": [schema]}
        validator = OAS30Validator(whole, format_checker=oas30_format_checker)
        errors = [e.message for e in validator.iter_errors(value)]
        assert not errors, f"{what}: {errors[0]}"


@cache
def _document(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    return found


def _typed(text: str, schema: Mapping[str, Any]) -> object:
    """A parameter's text as the value that its schema speaks of."""
    kind = schema.get("type")
    if kind == "integer":
        assert re.fullmatch(r"-?\d+", text), f"{text!r} is no integer"
        return int(text)
    if kind == "boolean":
        assert text in {"true", "false"}, f"{text!r} is no boolean"
        return text == "true"
    return text.split(",") if kind == "array" else text


def judge_connectwise(contract: Contract, sent: Sent) -> str:
    """Discovery is outside the contract; everything else is below the base and signed."""
    if sent.path.startswith("/login/companyinfo/"):
        assert sent.method == "GET"
        assert not {"authorization", "clientid", "cookie"} & set(sent.headers)
        return "discovery"
    assert sent.path.startswith(CONNECTWISE_BASE)
    assert re.fullmatch(r"Basic [\w+/=]+", sent.headers["authorization"])
    assert sent.headers["accept"] == "application/vnd.connectwise.com+json; version=2026.4"
    path = sent.path.removeprefix(CONNECTWISE_BASE)
    return contract.judge(Sent(sent.method, path, sent.query, sent.headers, sent.body))


def judge_sophos(contract: Contract, sent: Sent) -> str:
    """The token service is outside the contract; everything else carries a bearer token."""
    if sent.path == "/api/v2/oauth2/token":
        assert sent.method == "POST"
        assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
        form = dict(parse_qsl(sent.body.decode()))
        assert set(form) == {"grant_type", "client_id", "client_secret", "scope"}
        assert (form["grant_type"], form["scope"]) == ("client_credentials", "token")
        return "token"
    assert re.fullmatch(r"Bearer \S+", sent.headers["authorization"])
    return contract.judge(sent)
