"""ConnectWise's rules for additions and catalog items."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.connectwise.additions import ALREADY_INVOICED, BEFORE_BILLING_START
from sandbox.seeding import roles
from tests.sandbox.callers import ConnectWise, codes, connectwise_with, replacing

ADDITIONS = "/finance/agreements/203/additions"
CATALOG = "/procurement/catalog"
NEW = {
    "product": {"id": 1001},
    "billCustomer": "Billable",
    "quantity": 12,
    "effectiveDate": "2026-10-01T00:00:00Z",
}
ITEM = {
    "identifier": "Sophos_New",
    "description": "New",
    "subcategory": {"id": 33},
    "type": {"id": 4},
    "customerDescription": "New",
}


def agreement_of(sandbox: Sandbox, role: int) -> int:
    """The main agreement of the customer that plays a role."""
    for number, row in sandbox.connectwise.agreements.rows.items():
        if str(row["company"]["identifier"]).endswith(f"{role:03}"):
            return number
    raise LookupError(role)


def made(psa: ConnectWise, **changes: Any) -> dict[str, Any]:
    answer = psa.post(ADDITIONS, {**NEW, **changes})
    assert answer.status_code == 201, answer.text
    record: dict[str, Any] = answer.json()
    return record


# --- making additions -------------------------------------------------------------------


def test_a_new_addition_is_computed_and_listed(psa: ConnectWise) -> None:
    record = made(psa, lessIncluded=2, unitPrice=3.5)
    assert record["billedQuantity"] == 10
    assert record["extPrice"] == 35
    assert record["agreementStatus"] == "Active"
    assert record["product"]["identifier"] == "Sophos_Intercept_X_Advanced"
    assert "cancelledDate" not in record
    assert record in psa.get(ADDITIONS).json()
    assert psa.get(f"{ADDITIONS}/{record['id']}").json() == record


def test_billed_quantity_is_never_negative(psa: ConnectWise) -> None:
    assert made(psa, quantity=2, lessIncluded=5)["billedQuantity"] == 0


def test_posting_twice_makes_two(psa: ConnectWise) -> None:
    assert made(psa)["id"] != made(psa)["id"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"product": None}, "MissingRequiredField", "product"),
        ({"product": {}}, "MissingRequiredField", "product"),
        ({"product": {"id": 5}}, "InvalidReference", "product"),
        ({"product": {"id": 1001, "odd": 5}}, "InvalidField", "product"),
        ({"billCustomer": None}, "MissingRequiredField", "billCustomer"),
        ({"billCustomer": "billable"}, "OutOfRange", "billCustomer"),
        ({"quantity": -1}, "OutOfRange", "quantity"),
        ({"lessIncluded": -1}, "OutOfRange", "lessIncluded"),
        ({"serialNumber": "x" * 51}, "InvalidLength", "serialNumber"),
        ({"effectiveDate": "2023-12-31T00:00:00Z"}, "OutOfRange", "effectiveDate"),
        ({"effectiveDate": "2026-10-01T00:00:00.000Z"}, "InvalidDate", "effectiveDate"),
        ({"effectiveDate": "2026-10-01"}, "InvalidDate", "effectiveDate"),
        ({"effectiveDate": "2026-02-30T00:00:00Z"}, "InvalidDate", "effectiveDate"),
        ({"cancelledDate": "2026-09-30T00:00:00Z"}, "OutOfRange", "cancelledDate"),
        ({"Quantity": 5}, "InvalidField", "Quantity"),
        ({"note": "x"}, "InvalidField", "note"),
        ({"id": 5}, "ReadOnlyField", "id"),
        ({"billedQuantity": 5}, "ReadOnlyField", "billedQuantity"),
        ({"_info": {}}, "ReadOnlyField", "_info"),
    ],
)
def test_additions_that_are_refused(
    psa: ConnectWise, changes: dict[str, Any], code: str, field: str
) -> None:
    before = psa.get(f"{ADDITIONS}/count").json()
    answer = psa.post(ADDITIONS, {**NEW, **changes})
    assert answer.status_code == 400
    assert answer.json()["code"] == "InvalidObject"
    assert answer.json()["message"] == "addition object is invalid"
    assert (code, field) in codes(answer)
    assert {error["resource"] for error in answer.json()["errors"]} == {"addition"}
    assert psa.get(f"{ADDITIONS}/count").json() == before


def test_all_problems_are_told_at_once(psa: ConnectWise) -> None:
    answer = psa.post(ADDITIONS, {"quantity": -1})
    assert {field for _, field in codes(answer)} >= {"product", "billCustomer", "quantity"}


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": "12"},
        {"quantity": True},
        {"product": 1001},
        {"product": {"id": "1001"}},
        {"billCustomer": 5},
        {"effectiveDate": 20261001},
        {"taxableFlag": "yes"},
    ],
)
def test_a_wrong_json_type_is_a_server_error(psa: ConnectWise, changes: dict[str, Any]) -> None:
    answer = psa.post(ADDITIONS, {**NEW, **changes})
    assert answer.status_code == 500
    assert "timeout" not in answer.json()["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"quantity": NaN}', b'{"quantity": 1, "quantity": 2}', b"\xff"]
)
def test_a_body_that_is_no_object(psa: ConnectWise, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert psa.send("POST", ADDITIONS, data=body, headers=headers).status_code == 400


def test_numbers_beyond_measure(psa: ConnectWise) -> None:
    headers = {"Content-Type": "application/json"}
    for number in ("1e999", "9" * 400):
        body = f'{{"product":{{"id":1001}},"billCustomer":"Billable","quantity":{number}}}'
        assert psa.send("POST", ADDITIONS, data=body, headers=headers).status_code == 500


def test_the_content_type_counts(psa: ConnectWise) -> None:
    assert psa.send("POST", ADDITIONS, data="{}").status_code == 400


def test_bundles_are_no_additions(psa: ConnectWise) -> None:
    bundle = psa.get(CATALOG, conditions='productClass="Bundle"').json()[0]["id"]
    answer = psa.post(ADDITIONS, {**NEW, "product": {"id": bundle}})
    assert ("InvalidProductClass", "product") in codes(answer)


@pytest.mark.parametrize(
    "role",
    [roles.CANCELLED_AGREEMENT, roles.EXPIRED_AGREEMENT, roles.INACTIVE_AGREEMENT],
)
def test_agreements_that_are_not_active(psa: ConnectWise, fresh: Sandbox, role: int) -> None:
    path = f"/finance/agreements/{agreement_of(fresh, role)}/additions"
    assert ("InvalidAgreementStatus", "agreementId") in codes(psa.post(path, NEW))
    number = psa.get(path).json()[0]["id"]
    answer = psa.patch(f"{path}/{number}", replacing("quantity", 99))
    assert ("InvalidAgreementStatus", "agreementId") in codes(answer)


def test_before_the_billing_start(psa: ConnectWise, fresh: Sandbox) -> None:
    path = f"/finance/agreements/{agreement_of(fresh, roles.STARTS_MID_MONTH)}/additions"
    answer = psa.post(path, NEW)
    assert answer.json()["errors"][0]["message"] == BEFORE_BILLING_START
    later = {**NEW, "effectiveDate": "2026-10-15T00:00:00Z"}
    assert psa.post(path, later).status_code == 201


def test_periods_that_have_their_invoice(psa: ConnectWise, fresh: Sandbox) -> None:
    path = f"/finance/agreements/{agreement_of(fresh, roles.INVOICED)}/additions"
    answer = psa.post(path, NEW)
    assert answer.json()["errors"][0]["message"] == ALREADY_INVOICED
    record = psa.post(path, {**NEW, "effectiveDate": "2026-11-01T00:00:00Z"})
    assert record.status_code == 201
    one = f"{path}/{record.json()['id']}"
    assert psa.patch(one, replacing("quantity", 3)).status_code == 200
    early = psa.patch(one, replacing("effectiveDate", "2026-10-01T00:00:00Z"))
    assert early.json()["errors"][0]["message"] == ALREADY_INVOICED
    prorated = f"/finance/agreements/{agreement_of(fresh, roles.INVOICED_PRORATED)}/additions"
    assert psa.post(prorated, NEW).status_code == 201


def test_an_agreement_that_is_not_there(psa: ConnectWise) -> None:
    assert psa.post("/finance/agreements/9999/additions", NEW).status_code == 404


# --- changing ------------------------------------------------------------------------


def test_a_patch_changes_one_field_and_recomputes(psa: ConnectWise) -> None:
    before = made(psa, unitPrice=2)
    path = f"{ADDITIONS}/{before['id']}"
    after = psa.patch(path, replacing("quantity", 20)).json()
    differing = {name for name in after if after[name] != before[name]}
    assert differing == {"quantity", "billedQuantity", "extPrice", "extCost", "margin"}
    assert after["extPrice"] == 40
    assert psa.get(path).json() == after


def test_a_patch_is_seen_in_info(psa: ConnectWise, fresh: Sandbox) -> None:
    number = psa.get(ADDITIONS).json()[0]["id"]
    path = f"{ADDITIONS}/{number}"
    before = psa.get(path, fields="_info").json()["_info"]
    assert psa.patch(path, replacing("quantity", 77)).status_code == 200
    after = psa.get(path, fields="_info").json()["_info"]
    assert after["lastUpdated"] > before["lastUpdated"]
    assert after["updatedBy"] == fresh.connectwise.public_key
    assert after["lastUpdated"].startswith("2026-11-")


def test_add_and_remove(psa: ConnectWise) -> None:
    path = f"{ADDITIONS}/{made(psa)['id']}"
    ended = psa.patch(path, {"op": "add", "path": "cancelledDate", "value": "2026-12-31T00:00:00Z"})
    assert ended.json()["cancelledDate"] == "2026-12-31T00:00:00Z"
    assert "cancelledDate" not in psa.patch(path, {"op": "remove", "path": "cancelledDate"}).json()


@pytest.mark.parametrize(
    "operation",
    [
        replacing("Quantity", 5),
        replacing("/quantity", 5),
        replacing("nothing", 5),
        replacing("", 5),
        {"op": "replace", "path": "quantity"},
        {"op": "test", "path": "quantity", "value": 5},
        {"op": "Replace", "path": "quantity", "value": 5},
        {"path": "quantity", "value": 5},
        {"op": "replace", "value": 5},
        {"op": "replace", "path": "quantity", "value": 5, "from": "x"},
        "quantity",
        replacing("billedQuantity", 5),
        replacing("id", 5),
        replacing("quantity", -5),
        replacing("cancelledDate", "2020-01-01T00:00:00Z"),
        replacing("cancelledDate", "2027-01-01T00:00:00.5Z"),
        {"op": "remove", "path": "product"},
        {"op": "remove", "path": "billCustomer"},
    ],
)
def test_patches_that_are_refused(psa: ConnectWise, operation: Any) -> None:
    record = made(psa)
    path = f"{ADDITIONS}/{record['id']}"
    assert psa.patch(path, replacing("lessIncluded", 1), operation).status_code == 400
    assert psa.get(path).json() == record


def test_a_patch_is_an_array(psa: ConnectWise) -> None:
    path = f"{ADDITIONS}/{made(psa)['id']}"
    assert psa.send("PATCH", path, json=replacing("quantity", 5)).status_code == 400


def test_a_wrong_type_in_a_patch(psa: ConnectWise) -> None:
    path = f"{ADDITIONS}/{made(psa)['id']}"
    assert psa.patch(path, replacing("quantity", "5")).status_code == 500


def test_a_patch_of_a_record_with_an_old_fault(psa: ConnectWise, fresh: Sandbox) -> None:
    path = f"/finance/agreements/{agreement_of(fresh, roles.OLD_BAD_ADDITION)}/additions"
    rows = psa.get(path, conditions="effectiveDate<[2024-01-01T00:00:00Z]").json()
    answer = psa.patch(f"{path}/{rows[0]['id']}", replacing("quantity", 5))
    assert answer.json()["errors"][0]["message"] == BEFORE_BILLING_START
    item = psa.get(CATALOG, conditions='identifier="Sophos_Web_Gateway"').json()[0]["id"]
    answer = psa.patch(f"{CATALOG}/{item}", replacing("price", 5))
    assert codes(answer) == {("InvalidReference", "subcategory")}


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    ["/finance/agreements/201", f"{CATALOG}/1001", "/finance/agreements/201/additions/50001"],
)
def test_rights_that_we_do_not_have(psa: ConnectWise, method: str, path: str) -> None:
    before = psa.get(path).json()
    assert psa.send(method, path, json=before).status_code == 403
    assert psa.get(path).json() == before


@pytest.mark.parametrize(
    "path", ["/finance/agreements", "/company/companies", "/procurement/types", "/system/info"]
)
def test_what_we_only_read(psa: ConnectWise, path: str) -> None:
    assert psa.post(path, {"name": "x"}).status_code == 403


def test_writing_rights_can_be_missing() -> None:
    denied = frozenset({"finance/agreements:write", "procurement/catalog:write"})
    with connectwise_with(denied=denied) as psa:
        assert psa.post(ADDITIONS, NEW).status_code == 403
        assert psa.post(CATALOG, ITEM).status_code == 403
        assert psa.get(ADDITIONS).status_code == 200


# --- the catalog -----------------------------------------------------------------------


def test_a_new_item(psa: ConnectWise) -> None:
    answer = psa.post(CATALOG, {**ITEM, "price": 4.25})
    record = answer.json()
    assert answer.status_code == 201
    assert record["category"]["name"] == "Security"
    assert record["subcategory"]["name"] == "Network Security"
    assert record["productClass"] == "NonInventory"
    assert record["unitOfMeasure"]["name"] == "Each"
    assert record["calculatedPrice"] == 4.25
    assert psa.get(CATALOG, conditions='identifier="sophos_new"').json() == [record]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"identifier": None}, "MissingRequiredField", "identifier"),
        ({"identifier": ""}, "MissingRequiredField", "identifier"),
        ({"description": None}, "MissingRequiredField", "description"),
        ({"customerDescription": None}, "MissingRequiredField", "customerDescription"),
        ({"subcategory": None}, "MissingRequiredField", "subcategory"),
        ({"type": None}, "MissingRequiredField", "type"),
        ({"identifier": "x" * 76}, "InvalidLength", "identifier"),
        ({"description": "x" * 61}, "InvalidLength", "description"),
        ({"customerDescription": "x" * 6001}, "InvalidLength", "customerDescription"),
        ({"identifier": "SOPHOS_intercept_x_advanced"}, "ObjectExists", "identifier"),
        ({"subcategory": {"id": 5}}, "InvalidReference", "subcategory"),
        ({"subcategory": {"id": 42}}, "InvalidReference", "subcategory"),
        ({"type": {"id": 99}}, "InvalidReference", "type"),
        ({"type": {"id": 5}}, "InvalidReference", "type"),
        ({"unitOfMeasure": {"id": 6}}, "InvalidReference", "unitOfMeasure"),
        ({"category": {"id": 2}}, "InvalidReference", "category"),
        ({"productClass": "Software"}, "OutOfRange", "productClass"),
        ({"price": -1}, "OutOfRange", "price"),
        ({"calculatedPrice": 5}, "ReadOnlyField", "calculatedPrice"),
        ({"colour": "red"}, "InvalidField", "colour"),
    ],
)
def test_items_that_are_refused(
    psa: ConnectWise, changes: dict[str, Any], code: str, field: str
) -> None:
    answer = psa.post(CATALOG, {**ITEM, **changes})
    assert answer.status_code == 400
    assert (code, field) in codes(answer)
    assert psa.get(f"{CATALOG}/count").json() == {"count": 400}


def test_older_servers_take_shorter_identifiers() -> None:
    with connectwise_with(identifier_max_length=60) as psa:
        answer = psa.post(CATALOG, {**ITEM, "identifier": "x" * 61})
        assert codes(answer) == {("InvalidLength", "identifier")}
        assert psa.post(CATALOG, {**ITEM, "identifier": "x" * 60}).status_code == 201


def test_a_whole_reference_is_replaced(psa: ConnectWise) -> None:
    record = psa.patch(f"{CATALOG}/1001", replacing("subcategory", {"id": 34})).json()
    assert record["subcategory"] == {"id": 34, "name": "Productivity"}
    assert record["category"]["name"] == "Cloud"


def test_a_nested_path_gets_a_false_200(psa: ConnectWise, fresh: Sandbox) -> None:
    before = psa.get(f"{CATALOG}/1001").json()
    answer = psa.patch(f"{CATALOG}/1001", replacing("subcategory/id", 34))
    assert (answer.status_code, answer.json()) == (200, before)
    assert psa.get(f"{CATALOG}/1001").json() == before
    assert not fresh.log.entries(method="PATCH")[0].effect


def test_renaming_an_item_frees_its_name(psa: ConnectWise) -> None:
    taken = psa.patch(f"{CATALOG}/1002", replacing("identifier", "sophos_intercept_x_advanced"))
    assert codes(taken) == {("ObjectExists", "identifier")}
    assert psa.patch(f"{CATALOG}/1001", replacing("identifier", "Renamed")).status_code == 200
    freed = {**ITEM, "identifier": "Sophos_Intercept_X_Advanced"}
    assert psa.post(CATALOG, freed).status_code == 201
