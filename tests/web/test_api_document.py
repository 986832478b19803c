"""The OpenAPI document: it names every address and nothing else, and tests really ask it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from jsonschema import Draft202012Validator

from tests.web.api_client import DOCUMENT, PREFIX, Api, problems
from tests.web.client import Client


def served(app: Flask) -> set[tuple[str, str]]:
    """What the app answers under the API's address."""
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api")
        for method in (rule.methods or set()) - {"HEAD"}
    }


def described() -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, operations in DOCUMENT["paths"].items()
        for method in operations
    }


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, each in DOCUMENT["paths"].items():
        for method, operation in each.items():
            yield method, path, operation


def test_every_address_is_in_the_document_and_the_other_way_round(app: Flask) -> None:
    assert served(app) == described()
    assert len(described()) == 14


def test_every_name_in_it_means_something() -> None:
    refs = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(DOCUMENT))
    schemas = DOCUMENT["components"]["schemas"]
    assert set(refs) == set(schemas)
    for name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("description") or "enum" in schema, name
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    for method, path, operation in operations():
        declared = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path
        assert operation["summary"], path
        assert ("requestBody" in operation) <= (method != "get"), path
        assert {"401", "429", "500"} <= set(operation["responses"]), path


def test_what_is_taken_and_given_allows_no_other_names() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        if schema.get("type") == "object":
            assert schema.get("additionalProperties") is False, name


def test_it_is_served_to_tokens_and_to_people(reader: Api, viewer: Client) -> None:
    assert reader.get("/openapi.json") == DOCUMENT
    assert viewer.get("/settings/api-tokens/openapi.json").json == DOCUMENT


# --- the check of every answer is awake ---------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda d: d["components"]["schemas"]["Run"]["properties"].pop("calls"), "Additional"),
        (lambda d: d["components"]["schemas"]["Run"]["required"].append("more"), "'more' is"),
        (
            lambda d: d["components"]["schemas"]["Change"]["properties"]["id"].update(
                type="string"
            ),
            "is not of type 'string'",
        ),
        (
            lambda d: d["paths"][f"{PREFIX}/runs/{{run_id}}"]["get"]["responses"].pop("200"),
            "status 200 is not in the document",
        ),
        (lambda d: d["paths"].pop(f"{PREFIX}/runs/{{run_id}}"), "is not in the document"),
        (
            lambda d: d["paths"][f"{PREFIX}/runs/{{run_id}}"]["get"]["responses"]["200"].update(
                headers={"X-More": {"required": True}}
            ),
            "the header X-More is missing",
        ),
        (
            lambda d: d["paths"][f"{PREFIX}/runs/{{run_id}}"]["get"]["responses"]["200"].update(
                content={"text/plain": {"schema": {}}}
            ),
            "it is application/json",
        ),
    ],
)
def test_an_answer_that_the_document_does_not_say_is_told(
    reader: Api, change: Any, found: str
) -> None:
    other = copy.deepcopy(DOCUMENT)
    change(other)
    response = reader("GET", "/runs/1")
    assert problems(DOCUMENT, "GET", response) == []
    assert any(found in each for each in problems(other, "GET", response))


def test_cookies_and_caches_are_told(reader: Api) -> None:
    response = reader("GET", "/status")
    response.headers["Set-Cookie"] = "session=1"
    response.headers["Cache-Control"] = "max-age=60"
    assert problems(DOCUMENT, "GET", response) == ["it sets a cookie", "it may be kept"]
