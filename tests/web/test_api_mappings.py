"""Mappings over the API: listed, exported, and taken over whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from flask import Flask
from sqlalchemy.orm import Session

import models
from sandbox import Fault, Sandbox
from services.formats.config_file import export_config
from tests.web.api_client import Api, api_of, token_of
from tests.web.world import installation_of

Make = Callable[..., Flask]


def export(app: Flask) -> Any:
    """What the command line would export."""
    with installation_of(app).reading() as session:
        return yaml.safe_load(export_config(session))


def events(app: Flask) -> int:
    with installation_of(app).reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(models.AuditEvent)) or 0


def patch(caller: Api, body: Any, **query: Any) -> Any:
    return caller("PATCH", "/mappings", json=body, query_string=query)


# --- looking ------------------------------------------------------------------------------------


def test_products_and_customers_are_listed(reader: Api, database: Session) -> None:
    products = reader.get("/mappings/products", size=200)
    rows = database.scalars(
        sa.select(models.ProductMapping).order_by(models.ProductMapping.product_key)
    ).all()
    assert [each["code"] for each in products["items"]] == [row.product_key for row in rows]
    assert [each["sync"] for each in products["items"]] == [row.sync for row in rows]
    tenants = reader.get("/mappings/tenants", size=7, page=2)
    assert (len(tenants["items"]), tenants["total"], tenants["pages"]) == (7, 50, 8)
    names = [each["name"] for each in tenants["items"]]
    assert names == sorted(names)
    with_agreement = [each for each in tenants["items"] if each["agreement"]]
    assert all(isinstance(each["agreement"], int) for each in with_agreement)


def test_the_export_is_that_of_the_command_line_without_settings(app: Flask, reader: Api) -> None:
    whole = export(app)
    assert reader.get("/mappings") == {key: whole[key] for key in ("products", "tenants")}


# --- taking over --------------------------------------------------------------------------------


def test_what_was_exported_changes_nothing(app: Flask, caller: Api) -> None:
    before = events(app)
    response = patch(caller, caller.get("/mappings"))
    assert response.json == {"dry_run": False, "changes": []}
    assert events(app) == before


def test_only_what_is_mentioned_changes(app: Flask, caller: Api) -> None:
    before = export(app)
    product = before["products"][0]
    response = patch(caller, {"products": [{"code": product["code"], "sync": False}]})
    assert response.status_code == 200
    (said,) = response.json["changes"]
    assert said == f"product {product['code']}: sync on -> off"
    product["sync"] = False
    assert export(app) == before
    with installation_of(app).reading() as session:
        event = session.scalars(
            sa.select(models.AuditEvent).order_by(models.AuditEvent.id.desc()).limit(1)
        ).one()
    assert (event.action, event.actor) == ("config.import", "operator (API token sync 90)")


@pytest.mark.parametrize("dry_run", ["1", "true"])
def test_a_dry_run_keeps_nothing(app: Flask, caller: Api, dry_run: str) -> None:
    before, count = export(app), events(app)
    code = before["products"][0]["code"]
    response = patch(caller, {"products": [{"code": code, "sync": False}]}, dry_run=dry_run)
    assert response.json["dry_run"] is True
    assert len(response.json["changes"]) == 1
    assert (export(app), events(app)) == (before, count)


def test_null_clears(app: Flask, caller: Api) -> None:
    tenant = next(t for t in export(app)["tenants"] if t["agreement"])
    response = patch(caller, {"tenants": [{"id": tenant["id"], "company": None}]})
    assert response.status_code == 200
    after = next(t for t in export(app)["tenants"] if t["id"] == tenant["id"])
    assert (after["company"], after["agreement"], after["agreements"]) == (None, None, {})
    assert after["sync"] == tenant["sync"]


def good_and(app: Flask, **bad: Any) -> dict[str, Any]:
    """A body whose first product is right, followed by what is wrong."""
    code = export(app)["products"][0]["code"]
    good = {"code": code, "sync": False}
    return {"products": [good, *bad.get("products", [])], "tenants": bad.get("tenants", [])}


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown code": ({"products": [{"code": "NO-SUCH"}]}, "#/products/1", "unknown code"),
    "an unknown ConnectWise product": (
        {"products": [{"code": "CIXA-MSP", "catalog_item": "no such"}]},
        "#/products/1",
        "not a ConnectWise product",
    ),
    "an unknown customer": ({"tenants": [{"id": "x"}]}, "#/tenants/0", "unknown customer id"),
    "a customer twice": (
        {"tenants": [{"id": "x"}, {"id": "x"}]}, "#/tenants/1", "stands here a second time",
    ),
    "an agreement without company": (
        {"tenants": [{"id": "x", "company": None, "agreement": 1}]},
        "#/tenants/0",
        "has an agreement, but no company",
    ),
    "no code": ({"products": [{"sync": True}]}, "#/products/1/code", "it is missing"),
    "an unknown name": (
        {"products": [{"code": "a", "price": 3}]}, "#/products/1/price", "unknown name",
    ),
    "sync as text": (
        {"products": [{"code": "a", "sync": "no"}]}, "#/products/1/sync", "true or false",
    ),
    "true for an agreement": (
        {"tenants": [{"id": "x", "agreement": True}]}, "#/tenants/0/agreement", "in quotes",
    ),
    "true for one of the agreements": (
        {"tenants": [{"id": "x", "agreements": {"str": True}}]},
        "#/tenants/0/agreements/str",
        "in quotes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_all_or_nothing(app: Flask, caller: Api, name: str) -> None:
    bad, pointer, words = WRONG[name]
    before, count = export(app), events(app)
    body = json.dumps(good_and(app, **bad))
    response = caller("PATCH", "/mappings", data=body, content_type="application/json")
    assert response.status_code == 422, response.text
    assert response.json["detail"].startswith("Nothing was changed.")
    assert {e["pointer"] for e in response.json["errors"]} == {pointer}
    assert all(words in e["detail"] for e in response.json["errors"]), response.json["errors"]
    assert (export(app), events(app)) == (before, count)


@pytest.mark.parametrize("code", ["\ud800", "a\x00"])
def test_a_code_that_no_database_keeps_is_not_understood(
    app: Flask, caller: Api, code: str
) -> None:
    body = json.dumps(good_and(app, products=[{"code": code}]))
    response = caller("PATCH", "/mappings", data=body, content_type="application/json")
    assert response.status_code == 400


def test_settings_are_not_changed_by_a_token(app: Flask, caller: Api) -> None:
    """What operators may not change on the pages, their tokens may not change here."""
    before = export(app)
    response = patch(caller, {"settings": {"read_only": True}})
    assert response.status_code == 422
    assert response.json["errors"][0]["pointer"] == "#/settings"
    assert export(app) == before


def test_every_problem_is_told_at_once(app: Flask, caller: Api) -> None:
    body = good_and(app, products=[{"code": "A"}, {"code": "B"}], tenants=[{"id": "c"}])
    errors = patch(caller, body).json["errors"]
    assert [e["pointer"] for e in errors] == ["#/products/1", "#/products/2", "#/tenants/0"]


def test_a_vendor_that_does_not_answer_changes_nothing(
    app: Flask, caller: Api, sandbox: Sandbox
) -> None:
    before = export(app)
    sandbox.faults.add(Fault("unauthorized", "connectwise", times=None))
    response = patch(caller, good_and(app, products=[{"code": "CIXA", "catalog_item": "x"}]))
    assert response.status_code == 502
    assert "ConnectWise" in response.json["detail"]
    assert "Nothing was changed" in response.json["detail"]
    assert export(app) == before


def test_without_vendors_nothing_is_looked_up(make: Make) -> None:
    app = make(full=False, vendors=False)
    response = patch(api_of(app, token_of(app, "operator")), {"products": [{"code": "A"}]})
    assert response.status_code == 503
    assert "is not set" in response.json["detail"]


def test_a_large_body_is_taken_and_a_larger_one_is_not(caller: Api) -> None:
    many = [{"code": f"{n:0100d}"} for n in range(3_000)]
    assert patch(caller, {"products": many}).status_code == 422
    assert patch(caller, {"products": [{"code": "x" * 2_000_000}]}).status_code == 413
