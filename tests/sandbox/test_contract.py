"""Every answer has the shape that the vendor publishes."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.callers import ConnectWise, Sophos, replacing
from tests.sandbox.contracts import problems

pytestmark = pytest.mark.contract

LISTS = {
    "/company/companies": "Company",
    "/finance/agreements": "Agreement",
    "/finance/agreements/201/additions": "Addition",
    "/procurement/catalog": "CatalogItem",
    "/procurement/categories": "Category",
    "/procurement/subcategories": "SubCategory",
    "/procurement/types": "ProductType",
    "/procurement/unitOfMeasures": "UnitOfMeasure",
}
NEW_ADDITION = {"product": {"id": 1001}, "billCustomer": "Billable", "quantity": 3}
NEW_ITEM = {
    "identifier": "New",
    "description": "New",
    "subcategory": {"id": 31},
    "type": {"id": 1},
    "customerDescription": "New",
}


def judge(vendor: str, name: str, value: Any) -> None:
    assert problems(vendor, name, value) == []


def without_null_host(tenant: dict[str, Any]) -> dict[str, Any]:
    """The published shape calls apiHost a text; in practice it is null at times."""
    return {name: value for name, value in tenant.items() if (name, value) != ("apiHost", None)}


@pytest.mark.parametrize(("path", "name"), LISTS.items())
def test_lists_records_and_counts(connectwise: ConnectWise, path: str, name: str) -> None:
    rows = connectwise.get(path, pageSize=1000).json()
    assert rows
    for row in rows:
        judge("connectwise", name, row)
    judge("connectwise", name, connectwise.get(f"{path}/{rows[0]['id']}").json())
    judge("connectwise", "Count", connectwise.get(f"{path}/count").json())


def test_all_additions(shared: Sandbox, connectwise: ConnectWise) -> None:
    for agreement in shared.connectwise.agreements.rows:
        rows = connectwise.get(f"/finance/agreements/{agreement}/additions", pageSize=1000).json()
        for row in rows:
            judge("connectwise", "Addition", row)


def test_records_with_info(connectwise: ConnectWise) -> None:
    rows = connectwise.get(
        "/finance/agreements/201/additions", fields="id,product,billCustomer,_info"
    )
    for row in rows.json():
        assert row["_info"]["lastUpdated"]
        judge("connectwise", "Addition", row)


def test_written_records(psa: ConnectWise) -> None:
    made = psa.post("/finance/agreements/201/additions", NEW_ADDITION)
    judge("connectwise", "Addition", made.json())
    path = f"/finance/agreements/201/additions/{made.json()['id']}"
    judge("connectwise", "Addition", psa.patch(path, replacing("quantity", 4)).json())
    item = psa.post("/procurement/catalog", NEW_ITEM)
    judge("connectwise", "CatalogItem", item.json())
    path = f"/procurement/catalog/{item.json()['id']}"
    judge("connectwise", "CatalogItem", psa.patch(path, replacing("price", 4.5)).json())


def test_system_info(connectwise: ConnectWise) -> None:
    judge("connectwise", "Info", connectwise.get("/system/info").json())


def test_refusals(psa: ConnectWise) -> None:
    answers = [
        psa.get("/finance/agreements/999999"),
        psa.get("/finance/agreements", conditions="nonsense"),
        psa.post("/finance/agreements/201/additions", {}),
        psa.post("/finance/agreements/201/additions", {**NEW_ADDITION, "quantity": "3"}),
        psa.send("DELETE", "/procurement/catalog/1001"),
        psa.send("GET", "/system/info", headers={"Accept": "application/json"}),
        psa.send("GET", "/system/info", auth=("a", "b")),
    ]
    assert [answer.status_code for answer in answers] == [404, 400, 400, 500, 403, 406, 401]
    for answer in answers:
        judge("connectwise", "ErrorResponseMessage", answer.json())


def test_sophos_answers(sophos: Sophos) -> None:
    judge("sophos", "WhoAmI", sophos.get("/whoami/v1").json())
    tenants = sophos.get("/partner/v1/tenants", pageSize=100, pageTotal="true").json()
    tenants["items"] = [without_null_host(tenant) for tenant in tenants["items"]]
    judge("sophos", "TenantPage", tenants)
    for tenant in tenants["items"]:
        judge("sophos", "Tenant", tenant)
    firewalls = sophos.get("/licenses/v1/licenses/firewalls", pageTotal="true").json()
    judge("sophos", "FirewallPage", firewalls)
    for firewall in firewalls["items"]:
        judge("sophos", "Firewall", firewall)


@pytest.mark.parametrize("month", ["2026/7", "2026/8", "2026/9", "2026/10"])
def test_sophos_reports(sophos: Sophos, month: str) -> None:
    key = ""
    while True:
        page = sophos.usage(month, pageSize=100, pageTotal="true", pageFromKey=key).json()
        judge("sophos", "BillingPage", page)
        for line in page["items"]:
            judge("sophos", "BillingItem", line)
        key = page["pages"].get("nextKey", "")
        if not key:
            break


def test_sophos_licences(sophos: Sophos) -> None:
    for tenant in sophos.get("/partner/v1/tenants", pageSize=100).json()["items"]:
        answer = sophos.send("GET", "/licenses/v1/licenses", headers={"X-Tenant-ID": tenant["id"]})
        name = "TenantLicenses" if answer.status_code == 200 else "Error"
        judge("sophos", name, answer.json())


def test_sophos_refusals(sophos: Sophos) -> None:
    judge("sophos", "Error", sophos.usage("2026/11").json())
    judge("sophos", "Error", sophos.get("/nowhere").json())
    judge("sophos", "TokenError", sophos.token(client_secret="wrong").json())


@pytest.mark.parametrize(
    ("vendor", "name", "value"),
    [
        ("connectwise", "Company", {"identifier": "A", "name": 5}),
        ("connectwise", "Company", {"name": "no identifier"}),
        ("connectwise", "Agreement", {"name": "A", "type": {}, "company": {}, "contact": []}),
        ("connectwise", "Addition", {"product": {"id": "5"}, "billCustomer": "Billable"}),
        ("connectwise", "Addition", {"product": {"id": 5}, "billCustomer": "Perhaps"}),
        ("connectwise", "Addition", {**NEW_ADDITION, "odd": 1}),
        ("connectwise", "CatalogItem", {**NEW_ITEM, "description": "x" * 61}),
        ("connectwise", "Category", {"name": "A", "inactiveFlag": "no"}),
        ("connectwise", "SubCategory", {"name": "A"}),
        ("connectwise", "ProductType", {"name": "A", "typeXref": "Odd"}),
        ("connectwise", "UnitOfMeasure", {"name": None}),
        ("connectwise", "Count", {"count": "5"}),
        ("connectwise", "Info", {"isCloud": "yes"}),
        ("connectwise", "ErrorResponseMessage", {"errors": [{"code": 5}]}),
        ("connectwise", "ErrorResponseMessage", []),
        ("sophos", "WhoAmI", {"idType": "person"}),
        ("sophos", "Tenant", {"billingType": "monthly"}),
        ("sophos", "TenantPage", {"items": [{"id": 5}]}),
        ("sophos", "BillingItem", {"unitPrice": 4.2}),
        ("sophos", "BillingPage", {"items": [], "pages": {"nextKey": 5}}),
        ("sophos", "TenantLicenses", {"licenses": [{"quantity": 1.5}]}),
        ("sophos", "Firewall", {"modelType": "cloud"}),
        ("sophos", "FirewallPage", {"items": {}}),
        ("sophos", "Error", {"error": 5}),
        ("sophos", "TokenError", {"errorCode": None}),
    ],
)
def test_the_judge_is_awake(vendor: str, name: str, value: Any) -> None:
    assert problems(vendor, name, value)


def test_the_judge_lets_null_pass_where_the_contract_says_so() -> None:
    assert problems("connectwise", "Addition", {**NEW_ADDITION, "quantity": None}) == []
