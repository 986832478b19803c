"""Writes: what is sent, what is believed, and what is unclear afterwards."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import requests
import responses

from services.clients.connectwise import ConnectWiseClient, NewCatalogItem
from services.clients.errors import (
    FieldError,
    NotFound,
    PermissionDenied,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedResponse,
    VendorError,
)
from tests.clients.doubles import (
    BASE,
    HTML,
    Clock,
    add_discovery,
    addition,
    calls_to,
    catalog_item,
    connectwise_client,
    sent_json,
)

ADDITIONS = f"{BASE}/finance/agreements/5/additions"
ADDITION = f"{ADDITIONS}/71"
CATALOG = f"{BASE}/procurement/catalog"
JANUARY = dt.date(2026, 1, 1)
MAY_31 = dt.date(2026, 5, 31)
NEW = NewCatalogItem("Sophos_CIXA", "Intercept X", "Endpoint protection", 2, 3)
Act = Callable[[ConnectWiseClient], object]


@pytest.fixture
def connectwise(clock: Clock, net: responses.RequestsMock) -> ConnectWiseClient:
    add_discovery(net)
    return connectwise_client(clock)


def create(client: ConnectWiseClient) -> object:
    return client.create_addition(
        5, catalog_item_id=300, quantity=Decimal(12), effective_date=JANUARY
    )


def update(client: ConnectWiseClient) -> object:
    return client.update_addition(5, 71, quantity=Decimal(12))


def create_item(client: ConnectWiseClient) -> object:
    return client.create_catalog_item(NEW)


def update_item(client: ConnectWiseClient) -> object:
    return client.update_catalog_item(300, {"price": Decimal("4.5")})


WRITES = [
    pytest.param(create, "POST", ADDITIONS, addition(), id="create addition"),
    pytest.param(update, "PATCH", ADDITION, addition(), id="update addition"),
    pytest.param(create_item, "POST", CATALOG, catalog_item(), id="create item"),
    pytest.param(update_item, "PATCH", f"{CATALOG}/300", catalog_item(), id="update item"),
]


# --- what is sent ---------------------------------------------------------------------------------


def test_a_new_addition(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.post(ADDITIONS, status=201, json=addition())
    made = connectwise.create_addition(
        5, catalog_item_id=300, quantity=Decimal("12.00"), effective_date=JANUARY
    )
    assert (made.id, made.quantity) == (71, Decimal(12))
    call = net.calls[-1]
    assert call.request.headers["Content-Type"] == "application/json"
    assert sent_json(call) == {
        "product": {"id": 300},
        "billCustomer": "Billable",
        "quantity": 12,
        "effectiveDate": "2026-01-01T00:00:00Z",
    }
    assert isinstance(sent_json(call)["quantity"], int)


@pytest.mark.parametrize(
    ("asked", "changes", "body"),
    [
        (
            {"quantity": Decimal(12)},
            {},
            [{"op": "replace", "path": "quantity", "value": 12}],
        ),
        (
            {"quantity": Decimal("2.5")},
            {"quantity": 2.5},
            [{"op": "replace", "path": "quantity", "value": 2.5}],
        ),
        (
            {"cancelled_date": MAY_31},
            {"cancelledDate": "2026-05-31T00:00:00Z"},
            [{"op": "replace", "path": "cancelledDate", "value": "2026-05-31T00:00:00Z"}],
        ),
        (
            {"quantity": Decimal(0), "cancelled_date": MAY_31},
            {"quantity": 0, "cancelledDate": "2026-05-31"},
            [
                {"op": "replace", "path": "quantity", "value": 0},
                {"op": "replace", "path": "cancelledDate", "value": "2026-05-31T00:00:00Z"},
            ],
        ),
    ],
)
def test_a_changed_addition(
    asked: dict[str, Any],
    changes: dict[str, Any],
    body: list[Any],
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.patch(ADDITION, json=addition(**changes))
    connectwise.update_addition(5, 71, **asked)
    assert sent_json(net.calls[-1]) == body


def test_a_new_catalog_item(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.post(CATALOG, status=201, json=catalog_item())
    connectwise.create_catalog_item(NEW)
    least = {
        "identifier": "Sophos_CIXA",
        "description": "Intercept X",
        "customerDescription": "Endpoint protection",
        "subcategory": {"id": 2},
        "type": {"id": 3},
    }
    assert sent_json(net.calls[-1]) == least
    full = NewCatalogItem(
        "Sophos_CIXA", "Intercept X", "Endpoint protection", 2, 3,
        "Agreement", 4, Decimal("4.50"), Decimal("3.2"), True,
    )  # fmt: skip
    connectwise.create_catalog_item(full)
    assert sent_json(net.calls[-1]) == least | {
        "productClass": "Agreement",
        "unitOfMeasure": {"id": 4},
        "price": 4.5,
        "cost": 3.2,
        "taxableFlag": True,
    }


def test_a_changed_catalog_item(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.patch(f"{CATALOG}/300", json=catalog_item(description="New", price=None))
    changes = {
        "description": "New",
        "subcategory": {"id": 2},
        "type_id": 3,
        "taxable": True,
        "price": None,
    }
    connectwise.update_catalog_item(300, changes)
    assert sent_json(net.calls[-1]) == [
        {"op": "replace", "path": "description", "value": "New"},
        {"op": "replace", "path": "subcategory", "value": {"id": 2}},
        {"op": "replace", "path": "type", "value": {"id": 3}},
        {"op": "replace", "path": "taxableFlag", "value": True},
        {"op": "replace", "path": "price", "value": None},
    ]


@pytest.mark.parametrize(
    "act",
    [
        lambda c: c.update_addition(5, 71),
        lambda c: c.update_addition(5, 71, quantity=Decimal("NaN")),
        lambda c: c.update_addition(5, 71, quantity=Decimal("0.12345678901234567891")),
        lambda c: c.update_addition(5, 71, quantity=Decimal("1e13")),
        lambda c: c.update_catalog_item(300, {}),
        lambda c: c.update_catalog_item(300, {"id": 5}),
        lambda c: c.update_catalog_item(300, {"calculatedPrice": 5}),
    ],
)
def test_senseless_changes_are_not_sent(
    act: Act, connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has its own words
        act(connectwise)
    assert len(net.calls) == 0


# --- what is believed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "method", "url", "answer"),
    [
        (create, "POST", ADDITIONS, addition(quantity=11)),
        (create, "POST", ADDITIONS, addition(quantity=...)),
        (create, "POST", ADDITIONS, addition(product={"id": 301})),
        (create, "POST", ADDITIONS, addition(agreementId=6)),
        (create, "POST", ADDITIONS, addition(effectiveDate="2026-01-02T00:00:00Z")),
        (create, "POST", ADDITIONS, addition(cancelledDate="2026-01-02T00:00:00Z")),
        (create, "POST", ADDITIONS, addition(billCustomer="DoNotBill")),
        (create, "POST", ADDITIONS, addition(id=None)),
        (update, "PATCH", ADDITION, addition(quantity=11.5)),
        (update, "PATCH", ADDITION, addition(quantity="12")),
        (update, "PATCH", ADDITION, addition(id=72)),
        (update, "PATCH", ADDITION, addition(agreementId=6)),
        (update, "PATCH", ADDITION, []),
        (update, "PATCH", ADDITION, None),
        (
            lambda c: c.update_addition(5, 71, cancelled_date=MAY_31),
            "PATCH",
            ADDITION,
            addition(),
        ),
        (create_item, "POST", CATALOG, catalog_item(identifier="Sophos_CIXA_1")),
        (create_item, "POST", CATALOG, catalog_item(subcategory={"id": 9})),
        (update_item, "PATCH", f"{CATALOG}/300", catalog_item(price=4)),
        (update_item, "PATCH", f"{CATALOG}/300", catalog_item(price=...)),
        (
            lambda c: c.update_catalog_item(300, {"taxable": False}),
            "PATCH",
            f"{CATALOG}/300",
            catalog_item(),
        ),
    ],
)
def test_an_answer_that_differs_from_what_was_asked_is_unclear(
    act: Act,
    method: str,
    url: str,
    answer: object,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.add(method, url, json=answer, headers={"x-cw-request-id": "cw-1"})
    with pytest.raises(UnexpectedResponse) as caught:
        act(connectwise)
    assert caught.value.unclear
    assert caught.value.request_id == "cw-1"
    assert len(calls_to(net, BASE)) == 1


def test_harmless_differences_are_accepted(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    item = NewCatalogItem("Sophos_CIXA", "Intercept X ", "Line 1\nLine 2", 2, 3, price=Decimal(4))
    net.post(CATALOG, json=catalog_item(customerDescription="Line 1\r\nLine 2", price=4.0))
    assert connectwise.create_catalog_item(item).id == 300


# --- what is unclear ------------------------------------------------------------------------------


@pytest.mark.parametrize(("act", "method", "url", "good"), WRITES)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"body": requests.ReadTimeout("timed out")}, Unavailable),
        ({"body": requests.ConnectionError("reset")}, Unavailable),
        ({"status": 500, "json": {"message": "A timeout has occured."}}, Unavailable),
        ({"status": 502, "body": HTML}, Unavailable),
        ({"status": 503}, Unavailable),
        ({"status": 302, "headers": {"Location": "/login"}}, UnexpectedResponse),
        ({"status": 200, "body": HTML}, UnexpectedResponse),
        ({"status": 200, "body": "{"}, UnexpectedResponse),
        ({"status": 204}, UnexpectedResponse),
        ({"status": 400, "body": HTML}, UnexpectedResponse),
    ],
)
def test_what_may_have_happened_is_unclear_and_never_repeated(
    answer: dict[str, Any],
    kind: type[VendorError],
    act: Act,
    method: str,
    url: str,
    good: object,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.add(method, url, **answer)
    with pytest.raises(kind) as caught:
        act(connectwise)
    assert caught.value.unclear
    assert "<" not in str(caught.value)
    assert len(calls_to(net, BASE)) == 1


@pytest.mark.parametrize(("act", "method", "url", "good"), WRITES)
@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (400, Rejected, "period has already been invoiced"),
        (403, PermissionDenied, r"(Add|Edit)\."),
        (404, NotFound, "invoiced"),
        (409, Rejected, "invoiced"),
        (422, Rejected, "invoiced"),
    ],
)
def test_refusals_are_clear_and_in_connectwises_words(  # noqa: PLR0917
    status: int,
    kind: type[VendorError],
    words: str,
    act: Act,
    method: str,
    url: str,
    good: object,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    message = "Since this period has already been invoiced there will not be an invoice."
    net.add(method, url, status=status, json={"code": "InvalidObject", "message": message})
    with pytest.raises(kind, match=words) as caught:
        act(connectwise)
    assert not caught.value.unclear
    assert caught.value.permanent


@pytest.mark.parametrize(("act", "method", "url", "good"), WRITES)
def test_429_was_certainly_not_done(
    act: Act,
    method: str,
    url: str,
    good: object,
    connectwise: ConnectWiseClient,
    clock: Clock,
    net: responses.RequestsMock,
) -> None:
    body = {"error": "ConnectWiseAPI", "message": "Too many requests. Please try again."}
    net.add(method, url, status=429, json=body, headers={"Retry-After": "30"})
    net.add(method, url, json=good)
    act(connectwise)
    assert clock.slept == [30.0]
    net.replace(method, url, status=429, json=body, headers={"Retry-After": "1"})
    net.remove(method, url)
    net.add(method, url, status=429, json=body, headers={"Retry-After": "1"})
    with pytest.raises(RateLimited, match="Too many requests") as caught:
        act(connectwise)
    assert not caught.value.unclear
    assert not caught.value.permanent


def test_refused_fields_are_kept(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    errors = [
        {"code": "ObjectExists", "message": "Already <b>there</b>", "field": "identifier"},
        {"code": "MissingRequiredField", "message": "type is required", "field": "type"},
        {"code": None, "message": None},
        "nonsense",
    ]
    body = {"code": "InvalidObject", "message": "product object is invalid", "errors": errors}
    net.post(CATALOG, status=400, json=body)
    with pytest.raises(Rejected) as caught:
        connectwise.create_catalog_item(NEW)
    assert caught.value.already_exists
    assert caught.value.fields == (
        FieldError("ObjectExists", "Already there", "identifier"),
        FieldError("MissingRequiredField", "type is required", "type"),
        FieldError("", "", ""),
    )
    assert str(caught.value) == (
        "ConnectWise refused the request while making a catalog item. It says: product object is "
        "invalid; identifier: Already there; type: type is required."
    )
