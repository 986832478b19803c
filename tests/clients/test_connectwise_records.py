"""How ConnectWise's records become values of ours."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import responses

from services.clients.connectwise import ConnectWiseClient, PickItem
from services.clients.errors import IncompleteListing, UnexpectedResponse
from services.sync.model import Addition, Agreement, CatalogItem
from tests.clients.doubles import (
    BASE,
    Clock,
    add_discovery,
    addition,
    catalog_item,
    connectwise_client,
    query_of,
)

AGREEMENTS = f"{BASE}/finance/agreements"
ADDITIONS = f"{AGREEMENTS}/5/additions"
CATALOG = f"{BASE}/procurement/catalog"


@pytest.fixture
def connectwise(clock: Clock, net: responses.RequestsMock) -> ConnectWiseClient:
    add_discovery(net)
    return connectwise_client(clock)


def agreement(**changes: Any) -> dict[str, Any]:
    record = {
        "id": 5,
        "name": "Managed services",
        "company": {"id": 2, "identifier": "acme", "name": "Acme"},
        "type": {"id": 1, "name": "Managed"},
        "agreementStatus": "Active",
        "cancelledFlag": False,
        "endDate": "2027-12-31T00:00:00Z",
        "noEndingDateFlag": False,
        "billStartDate": "2025-01-01T00:00:00Z",
        "nextInvoiceDate": "2026-12-01T00:00:00Z",
        "prorateFlag": True,
    }
    return {name: value for name, value in (record | changes).items() if value is not ...}


def test_an_agreement(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.get(AGREEMENTS, json=[agreement()])
    assert connectwise.agreements(ids=[5]) == [
        Agreement(
            id=5,
            name="Managed services",
            company_id=2,
            company_name="Acme",
            status="Active",
            cancelled=False,
            end_date=dt.date(2027, 12, 31),
            no_ending_date=False,
            bill_start_date=dt.date(2025, 1, 1),
            next_invoice_date=dt.date(2026, 12, 1),
            prorate=True,
            type_name="Managed",
        )
    ]
    assert query_of(net.calls[-1])["conditions"] == "id in (5)"
    assert connectwise.agreements(company_ids=[3]) == []
    assert query_of(net.calls[-1])["conditions"] == "company/id in (3)"


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"nextInvoiceDate": "12/01/2026"}, "next_invoice_date", None),
        ({"nextInvoiceDate": "2026-02-31"}, "next_invoice_date", None),
        ({"endDate": ...}, "end_date", None),
        ({"endDate": ..., "noEndingDateFlag": ...}, "no_ending_date", True),
        ({"noEndingDateFlag": ...}, "no_ending_date", False),
        ({"noEndingDateFlag": True}, "no_ending_date", True),
        ({"cancelledFlag": None}, "cancelled", False),
        ({"prorateFlag": ...}, "prorate", False),
        ({"type": None}, "type_name", None),
        ({"name": None}, "name", "Agreement 5"),
    ],
)
def test_what_an_agreement_may_lack(
    changes: dict[str, Any],
    field: str,
    value: object,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.get(AGREEMENTS, json=[agreement(**changes)])
    assert getattr(connectwise.agreements()[0], field) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"company": ...},
        {"company": None},
        {"company": {"name": "Acme"}},
        {"endDate": "31/12/2027"},
        {"endDate": ""},
        {"billStartDate": "2025-02-30"},
        {"cancelledFlag": "perhaps"},
    ],
)
def test_an_agreement_that_cannot_be_trusted(
    changes: dict[str, Any], connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(AGREEMENTS, json=[agreement(**changes)])
    with pytest.raises(UnexpectedResponse, match=r"agreement \(id 5\)"):
        connectwise.agreements()


def test_additions_of_all_states(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    ended = addition(id=72, quantity=2.5, unitPrice=..., cancelledDate="2026-05-31T00:00:00Z")
    net.get(ADDITIONS, json=[addition(), ended])
    assert connectwise.additions(5) == [
        Addition(
            id=71,
            agreement_id=5,
            catalog_item_id=300,
            quantity=Decimal(12),
            effective_date=dt.date(2026, 1, 1),
            cancelled_date=None,
            description="Intercept X",
            unit_price=Decimal("4.5"),
            updated_at="2026-10-02T10:00:00Z",
        ),
        Addition(
            72, 5, 300, Decimal("2.5"), dt.date(2026, 1, 1), dt.date(2026, 5, 31),
            "Intercept X", None, "2026-10-02T10:00:00Z",
        ),
    ]  # fmt: skip
    assert "_info" in query_of(net.calls[-1])["fields"]


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"quantity": None}, "quantity", Decimal(0)),
        ({"quantity": 3}, "quantity", Decimal(3)),
        ({"agreementId": None}, "agreement_id", 5),
        ({"agreementId": ...}, "agreement_id", 5),
        ({"effectiveDate": ...}, "effective_date", None),
        ({"cancelledDate": None}, "cancelled_date", None),
        ({"_info": ...}, "updated_at", None),
        ({"description": None}, "description", None),
    ],
)
def test_what_an_addition_may_lack(
    changes: dict[str, Any],
    field: str,
    value: object,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.get(ADDITIONS, json=[addition(**changes)])
    assert getattr(connectwise.additions(5)[0], field) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"agreementId": 6},
        {"product": ...},
        {"product": None},
        {"product": {"identifier": "Sophos_CIXA"}},
        {"quantity": ...},
        {"quantity": "12"},
        {"quantity": True},
        {"cancelledDate": "31.05.2026"},
        {"cancelledDate": ""},
        {"cancelledDate": "2026-02-30T00:00:00Z"},
        {"effectiveDate": 20260101},
    ],
)
def test_one_addition_that_cannot_be_trusted_spoils_the_list(
    changes: dict[str, Any], connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(ADDITIONS, json=[addition(id=1), addition(**changes)])
    with pytest.raises(UnexpectedResponse, match=r"addition of agreement 5 \(id 71\)"):
        connectwise.additions(5)


def test_no_additions_are_believed_when_none_are_counted(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(ADDITIONS, json=[])
    net.get(f"{ADDITIONS}/count", json={"count": 0})
    assert connectwise.additions(5) == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"count": 2}, IncompleteListing),
        ({"count": -1}, IncompleteListing),
        ({"count": False}, UnexpectedResponse),
        ({"count": "0"}, UnexpectedResponse),
        ({}, UnexpectedResponse),
        ([], UnexpectedResponse),
    ],
)
def test_an_empty_list_that_is_none(
    answer: object,
    error: type[Exception],
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.get(ADDITIONS, json=[])
    net.get(f"{ADDITIONS}/count", json=answer)
    with pytest.raises(error, match="additions of agreement 5"):
        connectwise.additions(5)


def test_a_catalog_item(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.get(f"{CATALOG}/300", json=catalog_item())
    assert connectwise.catalog_item(300) == CatalogItem(
        id=300,
        identifier="Sophos_CIXA",
        description="Intercept X",
        product_class="Agreement",
        inactive=False,
        price=Decimal("4.5"),
        cost=Decimal("3.2"),
        customer_description="Endpoint protection",
        category_id=1,
        subcategory_id=2,
        type_id=3,
        unit_id=4,
        taxable=True,
        updated_at="2026-10-02T10:00:00Z",
    )


def test_a_bare_catalog_item(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.get(CATALOG, json=[{"id": 1, "identifier": "X", "price": None, "unitOfMeasure": None}])
    assert connectwise.catalog_items() == [CatalogItem(1, "X", "")]


@pytest.mark.parametrize(
    "item", [catalog_item(id=301), catalog_item(identifier=None), [], None, {"id": 300}]
)
def test_a_catalog_item_that_is_another_or_none(
    item: object, connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(f"{CATALOG}/300", json=item)
    with pytest.raises(UnexpectedResponse) as caught:
        connectwise.catalog_item(300)
    assert not caught.value.unclear


def test_choices(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    full = {"id": 2, "name": "Security", "defaultFlag": True, "inactiveFlag": False}
    below = {**full, "category": {"id": 1, "name": "Software"}}
    for path in ("categories", "types", "unitOfMeasures"):
        net.get(f"{BASE}/procurement/{path}", json=[full, {"id": 3, "inactiveFlag": True}])
    net.get(f"{BASE}/procurement/subcategories", json=[below])
    expected = [
        PickItem(2, "Security", default=True, inactive=False),
        PickItem(3, "#3", default=False, inactive=True),
    ]
    assert connectwise.categories() == connectwise.types() == connectwise.units() == expected
    assert connectwise.subcategories() == [
        PickItem(2, "Security", default=True, inactive=False, category_id=1)
    ]
