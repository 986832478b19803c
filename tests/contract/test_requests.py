"""Each request that our clients can send, judged by the vendors' contracts."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from sandbox import Sandbox
from services.clients.connectwise import ConnectWiseClient, NewCatalogItem
from services.clients.sophos import SophosClient
from services.sync.model import Month
from tests.contract.judge import CONNECTWISE_BASE, Contract, Sent, judge_connectwise, judge_sophos

pytestmark = pytest.mark.contract

ADDITION = "/finance/agreements/{parentId}/additions"
FULL_ITEM = NewCatalogItem(
    identifier="Sophos_Contract_Test",
    description="Contract test",
    customer_description="Made by a contract test",
    subcategory_id=0,
    type_id=0,
    product_class="Agreement",
    price=Decimal("4.50"),
    cost=Decimal("3.2"),
    taxable=True,
)


def newest_month(sandbox: Sandbox) -> Month:
    return Month(*max(sandbox.sophos.ready))


def test_sophos(sandbox: Sandbox, sophos: SophosClient, sent: list[Sent]) -> None:
    contract = Contract("sophos-subset.openapi.yaml")
    tenants = sophos.tenants()
    lines = sophos.usage(newest_month(sandbox))
    firewalls = sophos.firewalls()
    licences = [sophos.licences(tenants[0].id)]
    assert len(tenants) == len(sandbox.sophos.tenants)
    assert lines is not None
    assert len(lines) == len(sandbox.sophos.usage[newest_month(sandbox)])
    assert firewalls
    assert licences
    assert sophos.usage(Month(2001, 2)) is None
    assert {judge_sophos(contract, request) for request in sent} == {
        "token",
        "GET /whoami/v1",
        "GET /partner/v1/tenants",
        "GET /partner/v1/billing/usage/{year}/{month}",
        "GET /licenses/v1/licenses",
        "GET /licenses/v1/licenses/firewalls",
    }
    assert sophos.calls == len(sent) == len(sandbox.log)


def read_everything(connectwise: ConnectWiseClient) -> None:
    assert connectwise.version()
    everything = ("catalog", "categories", "subcategories", "types", "units")
    for what in (*everything, "companies", "agreements"):
        connectwise.probe(what)
    companies = connectwise.companies()
    assert connectwise.companies(ids=[c.id for c in companies]) == companies
    assert connectwise.companies(identifiers=[c.identifier for c in companies]) == companies
    agreements = connectwise.agreements()
    assert connectwise.agreements(ids=[a.id for a in agreements]) == agreements
    assert connectwise.agreements(company_ids={a.company_id for a in agreements}) == agreements
    items = connectwise.catalog_items()
    assert connectwise.catalog_items(ids=[i.id for i in items]) == items
    assert connectwise.catalog_items(identifiers=[i.identifier for i in items]) == items
    assert connectwise.catalog_items(updated_since=dt.datetime(2001, 1, 1, tzinfo=dt.UTC)) == items
    assert connectwise.catalog_item(items[0].id) == items[0]
    assert connectwise.categories()
    assert connectwise.units()


def write_everything(connectwise: ConnectWiseClient) -> None:
    subcategory = next(s for s in connectwise.subcategories() if not s.inactive)
    kind = next(t for t in connectwise.types() if not t.inactive)
    unit = next(u for u in connectwise.units() if not u.inactive)
    new = replace(FULL_ITEM, subcategory_id=subcategory.id, type_id=kind.id, unit_id=unit.id)
    item = connectwise.create_catalog_item(new)
    assert (item.price, item.cost, item.unit_id) == (Decimal("4.5"), Decimal("3.2"), unit.id)
    bare = replace(
        new, identifier="Sophos_Bare", product_class=None, unit_id=None, price=None, cost=None,
        taxable=None,
    )  # fmt: skip
    connectwise.create_catalog_item(bare)
    changes = {"price": Decimal("5.25"), "subcategory_id": subcategory.id, "taxable": False}
    assert connectwise.update_catalog_item(item.id, changes).price == Decimal("5.25")
    assert connectwise.update_catalog_item(item.id, {"inactive": True}).inactive
    connectwise.update_catalog_item(item.id, {"inactive": False})
    today = dt.datetime.now(dt.UTC).date()
    agreement = next(a for a in connectwise.agreements() if not a.why_not_writable(today))
    start = max(day for day in (today, agreement.bill_start_date) if day)
    addition = connectwise.create_addition(
        agreement.id, catalog_item_id=item.id, quantity=Decimal(12), effective_date=start
    )
    assert addition in [replace(a, updated_at=None) for a in connectwise.additions(agreement.id)]
    changed = connectwise.update_addition(agreement.id, addition.id, quantity=Decimal("2.5"))
    assert changed.quantity == Decimal("2.5")
    last = start + dt.timedelta(days=30)
    ended = connectwise.update_addition(agreement.id, addition.id, cancelled_date=last)
    assert ended.cancelled_date == last


def test_connectwise(sandbox: Sandbox, connectwise: ConnectWiseClient, sent: list[Sent]) -> None:
    contract = Contract("connectwise-subset.openapi.json")
    read_everything(connectwise)
    write_everything(connectwise)
    assert {judge_connectwise(contract, request) for request in sent} == {
        "discovery",
        "GET /system/info",
        "GET /company/companies",
        "GET /finance/agreements",
        f"GET {ADDITION}",
        f"POST {ADDITION}",
        f"PATCH {ADDITION}/{{id}}",
        "GET /procurement/catalog",
        "GET /procurement/catalog/{id}",
        "POST /procurement/catalog",
        "PATCH /procurement/catalog/{id}",
        "GET /procurement/categories",
        "GET /procurement/subcategories",
        "GET /procurement/types",
        "GET /procurement/unitOfMeasures",
    }
    assert connectwise.calls == len(sent) == len(sandbox.log)
    assert max(len(f"{s.path}?{s.query}") for s in sent) < 2500


# --- the judge is awake ---------------------------------------------------------------------------


def connectwise_request(method: str, path: str, body: Any, **query: str) -> Sent:
    headers = {
        "authorization": "Basic eA==",
        "accept": "application/vnd.connectwise.com+json; version=2026.4",
        "content-type": "application/json",
        "clientid": "x",
    }
    data = b"" if body is None else json.dumps(body).encode()
    return Sent(method, CONNECTWISE_BASE + path, tuple(query.items()), headers, data)


def step(path: str, value: object, op: str = "replace") -> list[dict[str, object]]:
    return [{"op": op, "path": path, "value": value}]


ADDITION_BODY = {"product": {"id": 1}, "billCustomer": "Billable", "quantity": 1}
ITEM_BODY = {
    "identifier": "x",
    "description": "x",
    "customerDescription": "x",
    "subcategory": {"id": 1},
    "type": {"id": 1},
}


@pytest.mark.parametrize(
    ("method", "path", "good", "bad"),
    [
        ("POST", "/finance/agreements/1/additions", ADDITION_BODY, {"quantity": "12"}),
        ("POST", "/finance/agreements/1/additions", ADDITION_BODY, {"billCustomer": "Yes"}),
        ("POST", "/finance/agreements/1/additions", ADDITION_BODY, {"effectiveDate": "1.1.26"}),
        ("POST", "/finance/agreements/1/additions", ADDITION_BODY, {"amount": 12}),
        ("POST", "/procurement/catalog", ITEM_BODY, {"subcategory": 1}),
        ("POST", "/procurement/catalog", ITEM_BODY, {"description": "x" * 61}),
        ("POST", "/procurement/catalog", ITEM_BODY, {"customer_description": "x"}),
    ],
)
def test_the_judge_refuses_bad_bodies(method: str, path: str, good: Any, bad: Any) -> None:
    contract = Contract("connectwise-subset.openapi.json")
    judge_connectwise(contract, connectwise_request(method, path, good))
    with pytest.raises(AssertionError):
        judge_connectwise(contract, connectwise_request(method, path, good | bad))
    for name in contract.document["components"]["schemas"]["Addition"]["required"]:
        if name in good:
            less = {n: v for n, v in good.items() if n != name}
            with pytest.raises(AssertionError, match="required"):
                judge_connectwise(contract, connectwise_request(method, path, less))


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        ("/finance/agreements/1/additions/2", step("quantity", 1), step("quantity", "1")),
        ("/finance/agreements/1/additions/2", step("quantity", 1), step("/quantity", 1)),
        ("/finance/agreements/1/additions/2", step("quantity", 1), step("quantity", 1, "set")),
        ("/finance/agreements/1/additions/2", step("quantity", 1), {"quantity": 1}),
        ("/procurement/catalog/2", step("type", {"id": 1}), step("type", 1)),
        ("/procurement/catalog/2", step("type", {"id": 1}), step("type/id", 1)),
    ],
)
def test_the_judge_refuses_bad_patches(path: str, good: Any, bad: Any) -> None:
    contract = Contract("connectwise-subset.openapi.json")
    judge_connectwise(contract, connectwise_request("PATCH", path, good))
    with pytest.raises(AssertionError):
        judge_connectwise(contract, connectwise_request("PATCH", path, bad))


@pytest.mark.parametrize(
    "bad",
    [
        connectwise_request("GET", "/procurement/catalog", None, pagesize="5"),
        connectwise_request("GET", "/procurement/catalog", None, pageSize="many"),
        connectwise_request("GET", "/procurement/catalogs", None),
        connectwise_request("GET", "/procurement/catalog/x", None),
        connectwise_request("GET", "/procurement/catalog", {}),
        replace(connectwise_request("GET", "/procurement/catalog", None), headers={}),
    ],
)
def test_the_judge_refuses_bad_reads(bad: Sent) -> None:
    contract = Contract("connectwise-subset.openapi.json")
    with pytest.raises((AssertionError, KeyError)):
        judge_connectwise(contract, bad)


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/partner/v1/tenants", {"cursor": "x"}, {"x-partner-id": "p"}),
        ("/partner/v1/tenants", {"pageTotal": "True"}, {"x-partner-id": "p"}),
        ("/partner/v1/tenants", {}, {}),
        ("/partner/v1/billing/usage/2026/13", {}, {"x-partner-id": "p"}),
        ("/partner/v1/billing/usage/2026/10", {"tenantId": "x"}, {"x-partner-id": "p"}),
        ("/licenses/v1/licenses", {}, {"x-partner-id": "p"}),
    ],
)
def test_the_judge_refuses_bad_sophos_requests(
    path: str, query: dict[str, str], headers: dict[str, str]
) -> None:
    contract = Contract("sophos-subset.openapi.yaml")
    signed = {"authorization": "Bearer x", **headers}
    with pytest.raises(AssertionError):
        judge_sophos(contract, Sent("GET", path, tuple(query.items()), signed, b""))
