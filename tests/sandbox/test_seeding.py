"""The seeded data is the same each time, believable, and as awkward as the real thing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import yaml

from sandbox import Options, Sandbox
from sandbox.seeding import roles
from sandbox.seeding.connectwise import seed_connectwise
from sandbox.seeding.names import PRODUCTS
from sandbox.seeding.sample import sample_config
from sandbox.seeding.sophos import seed_sophos
from tests.sandbox.callers import quick

NEWEST = (2026, 10)


@pytest.fixture(scope="module")
def config(shared: Sandbox) -> Any:
    return yaml.safe_load(shared.sample_config())


@pytest.fixture(scope="module")
def lines(shared: Sandbox) -> list[dict[str, Any]]:
    return shared.sophos.usage[NEWEST]


def additions(sandbox: Sandbox) -> Iterator[tuple[int, dict[str, Any]]]:
    for agreement, table in sandbox.connectwise.additions.items():
        for row in table.rows.values():
            yield agreement, row


def everything(options: Options) -> tuple[Any, ...]:
    sophos = seed_sophos(options)
    world, agreements = seed_connectwise(options, sophos)
    rows = {number: table.rows for number, table in world.additions.items()}
    return sophos, world.catalog.rows, world.companies.rows, world.agreements.rows, rows, agreements


def test_the_same_options_give_the_same_data() -> None:
    assert everything(quick()) == everything(quick())


def test_another_seed_gives_other_data() -> None:
    assert seed_sophos(quick(seed=2)).usage != seed_sophos(quick()).usage


@pytest.mark.parametrize(("tenants", "products", "catalog"), [(0, 1, 0), (1, 1, 1), (130, 40, 900)])
def test_sizes(tenants: int, products: int, catalog: int) -> None:
    options = quick(tenants=tenants, products=products, catalog=catalog, months=1)
    sophos = seed_sophos(options)
    world, agreements = seed_connectwise(options, sophos)
    assert len(sophos.tenants) == len(agreements) == tenants
    assert len(sophos.products) == products
    assert len(world.catalog.rows) >= catalog
    assert yaml.safe_load(sample_config(sophos, world, agreements))["products"]


def test_the_months_end_with_the_newest_ready_one() -> None:
    early = seed_sophos(quick(today=date(2027, 1, 24)))
    assert sorted(early.ready) == [(2026, 9), (2026, 10), (2026, 11), (2026, 12)]
    assert max(early.usage) == (2027, 1)
    late = seed_sophos(quick(today=date(2027, 1, 25)))
    assert sorted(late.ready) == [(2026, 10), (2026, 11), (2026, 12), (2027, 1)]


def test_names_are_those_of_the_wild(shared: Sandbox) -> None:
    names = [tenant["name"] for tenant in shared.sophos.tenants]
    assert len(set(names)) == 60
    for text in ("'", '"', "<script>", "=HYPERLINK", "+1+1", "@SUM", "é", "θ", "北", "ش", "🐾"):
        assert any(text in name for name in names), text
    assert 200 in map(len, names)
    assert any(60 < len(name) < 100 for name in names)


def test_tenants_of_all_kinds(shared: Sandbox) -> None:
    tenants = shared.sophos.tenants
    assert {tenant["billingType"] for tenant in tenants} == {"usage", "trial", "term"}
    assert {tenant["status"] for tenant in tenants} == {"active", "suspended"}
    assert None in [tenant["apiHost"] for tenant in tenants]


def test_lines_of_all_kinds(shared: Sandbox, lines: list[dict[str, Any]]) -> None:
    codes = {line.get("productCode") for line in lines}
    assert {product.code for product in PRODUCTS} <= codes
    assert {line["accountStatus"] for line in lines} == {"active", "suspended", "canceled"}
    assert [line["sku"] for line in lines if "productCode" not in line] == ["WGLEGACY01"]
    assert f"{NEWEST[0]}-04-31" in [line["billingStartDate"] for line in lines]
    pairs = Counter((line.get("accountId"), line.get("productCode")) for line in lines)
    assert any(number > 1 for (account, _), number in pairs.items() if account)
    serials = {line["accountNumberOrSerialNumber"] for line in lines if "accountId" not in line}
    known = {firewall["serialNumber"]: firewall for firewall in shared.sophos.firewalls}
    assert serials - set(known)
    assert any(known[serial]["tenant"] for serial in serials & set(known))
    assert any(not known[serial]["tenant"] for serial in serials & set(known))


def test_split_lines_have_orders_of_their_own(lines: list[dict[str, Any]]) -> None:
    keys = Counter(
        (line.get("accountId"), line.get("productCode", line["sku"]), line["orderNumber"])
        for line in lines
        if "accountId" in line
    )
    assert set(keys.values()) == {1}


def test_the_net_price_is_that_of_the_whole_order(lines: list[dict[str, Any]]) -> None:
    orders: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        orders.setdefault((line["orderNumber"], line["orderLineItemNumber"]), []).append(line)
    shared_orders = [rows for rows in orders.values() if len(rows) > 1]
    assert shared_orders
    for rows in orders.values():
        total = sum(Decimal(row["unitPrice"]) * row["billableQuantity"] for row in rows)
        assert {row["netPrice"] for row in rows} == {f"{total:.2f}"}


def test_usage_moves(shared: Sandbox) -> None:
    def totals(month: tuple[int, int]) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for line in shared.sophos.usage[month]:
            key = (line.get("accountId", ""), line.get("productCode", ""))
            found[key] += line["billableQuantity"]
        return found

    before, after = totals((2026, 9)), totals(NEWEST)
    moves = Counter(
        "new" if not before[key] else "ended" if not after[key]
        else "up" if after[key] > before[key]
        else "down" if after[key] < before[key]
        else "same"
        for key in before | after
    )  # fmt: skip
    assert set(moves) == {"new", "ended", "up", "down", "same"}
    assert moves["same"] > moves["up"] + moves["down"]


def test_a_product_changes_its_name(shared: Sandbox) -> None:
    names = {
        line["productDescription"]
        for rows in shared.sophos.usage.values()
        for line in rows
        if line.get("productCode") == "CIXAMTR-ADV-MSP"
    }
    assert len(names) == 2


def test_agreements_of_all_kinds(shared: Sandbox) -> None:
    rows = list(shared.connectwise.agreements.rows.values())
    statuses = {row["agreementStatus"] for row in rows}
    assert statuses == {"Active", "Cancelled", "Expired", "Inactive"}
    assert {row["prorateFlag"] for row in rows} == {True, False}
    assert {"Monthly", "None"} == {row["billingCycle"]["name"] for row in rows}
    active = [row for row in rows if row["agreementStatus"] == "Active"]
    assert any(row.get("endDate", "9") < "2026-11-22" for row in active)
    assert any("parentAgreement" in row for row in active)
    assert any(row["billStartDate"] == "2026-10-15T00:00:00Z" for row in active)
    assert any(row.get("nextInvoiceDate", "").startswith("2026-11") for row in active)
    assert any("nextInvoiceDate" not in row for row in active)
    by_company = Counter(row["company"]["id"] for row in active if "parentAgreement" not in row)
    assert 2 in by_company.values()


def test_companies_of_all_kinds(shared: Sandbox) -> None:
    rows = list(shared.connectwise.companies.rows.values())
    live = Counter(row["name"] for row in rows if not row["deletedFlag"])
    assert any(row["deletedFlag"] and live[row["name"]] for row in rows)
    names = {tenant["name"] for tenant in shared.sophos.tenants}
    assert len([row for row in rows if row["name"] not in names]) > 5
    assert max(len(row["name"]) for row in rows) <= 156
    assert len({row["identifier"] for row in rows}) == len(rows)


def test_additions_of_all_kinds(shared: Sandbox) -> None:
    found = list(additions(shared))
    rows = [row for _, row in found]
    sophos = [row for row in rows if row["product"]["identifier"].startswith("Sophos_")]
    assert sophos
    assert len(sophos) < len(rows)
    assert any(row["lessIncluded"] > 0 for row in rows)
    ends = [row["cancelledDate"] for row in rows if "cancelledDate" in row]
    assert min(ends) < "2026-11-22" < max(ends)
    opened = Counter(
        (agreement, row["product"]["id"]) for agreement, row in found if "cancelledDate" not in row
    )
    assert any(number == 2 for number in opened.values())
    prices = {row["id"]: row["price"] for row in shared.connectwise.catalog.rows.values()}
    assert any(row["unitPrice"] != prices[row["product"]["id"]] for row in rows)
    for row in rows:
        assert row["billedQuantity"] == max(0, row["quantity"] - row["lessIncluded"])


def test_catalog_items_of_all_kinds(shared: Sandbox) -> None:
    rows = list(shared.connectwise.catalog.rows.values())
    assert len(rows) == 400
    assert {product.identifier for product in PRODUCTS} <= {row["identifier"] for row in rows}
    assert {row["productClass"] for row in rows} == {
        "Agreement", "Bundle", "Inventory", "NonInventory", "Service",
    }  # fmt: skip
    assert {row["inactiveFlag"] for row in rows} == {True, False}
    assert max(len(row["customerDescription"]) for row in rows) > 2000
    for table in (
        shared.connectwise.categories,
        shared.connectwise.types,
        shared.connectwise.units,
    ):
        flags = [(row["defaultFlag"], row["inactiveFlag"]) for row in table.rows.values()]
        assert Counter(default for default, _ in flags)[True] == 1
        assert any(inactive for _, inactive in flags)


# --- the sample configuration ---------------------------------------------------------------


def test_the_sample_names_what_exists(shared: Sandbox, config: Any) -> None:
    identifiers = {row["identifier"] for row in shared.connectwise.catalog.rows.values()}
    mapped = [row["catalog_item"] for row in config["products"] if row["catalog_item"]]
    assert set(mapped) <= identifiers
    tenants = {tenant["id"]: tenant["name"] for tenant in shared.sophos.tenants}
    for row in config["tenants"]:
        assert tenants[row["id"]] == row["name"]
        agreement = shared.connectwise.agreements.rows[row["agreement"]]
        assert agreement["company"]["identifier"] == row["company"]


def test_the_sample_leaves_some_things_open(shared: Sandbox, config: Any) -> None:
    products = config["products"]
    assert len(products) == 15
    assert len([row for row in products if row["catalog_item"] is None and row["sync"]]) == 2
    shared_items = Counter(row["catalog_item"] for row in products if row["catalog_item"])
    assert shared_items.most_common(1)[0][1] == 2
    rows = config["tenants"]
    assert 45 < len(rows) < 60
    assert 0 < len([row for row in rows if not row["sync"]]) < 5
    assert Counter(row["agreement"] for row in rows).most_common(1)[0][1] == 2
    agreements = shared.connectwise.agreements.rows
    statuses = Counter(agreements[row["agreement"]]["agreementStatus"] for row in rows)
    assert statuses == {"Active": len(rows) - 1, "Cancelled": 1}


def test_the_roles_repeat() -> None:
    assert roles.role(roles.CYCLE + roles.INVOICED) == roles.INVOICED
