from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import responses

from services.clients.errors import (
    NotFound,
    PermissionDenied,
    RateLimited,
    Unavailable,
    UnexpectedResponse,
    VendorError,
)
from services.clients.sophos import Licence, SophosClient
from services.sync.model import Firewall, Month, Tenant, UsageLine
from tests.clients.doubles import (
    API,
    HTML,
    PARTNER,
    Clock,
    add_sophos_login,
    calls_to,
    sophos_client,
    sophos_error,
    usage_line,
)

OCTOBER = Month(2026, 10)
USAGE = f"{API}/partner/v1/billing/usage/2026/10"
TENANTS = f"{API}/partner/v1/tenants"
LICENCES = f"{API}/licenses/v1/licenses"
FIREWALLS = f"{LICENCES}/firewalls"


@pytest.fixture
def sophos(clock: Clock, net: responses.RequestsMock) -> SophosClient:
    add_sophos_login(net)
    return sophos_client(clock)


def one_page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "pages": {"items": len(items), "total": 1, "maxSize": 100}}


# --- records --------------------------------------------------------------------------------------


def test_tenants(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(
        TENANTS,
        json=one_page(
            {"id": " t-1 ", "name": "Acme", "billingType": "usage", "status": "active"},
            {"id": "T-2", "name": None, "showAs": "Shown", "apiHost": None, "products": 5},
            {"id": "t-3"},
        ),
    )
    assert sophos.tenants() == [
        Tenant("t-1", "Acme", "usage", "active"),
        Tenant("T-2", "Shown"),
        Tenant("t-3", "t-3"),
    ]
    request = calls_to(net, TENANTS)[0].request
    assert request.params == {"page": "1", "pageSize": "100", "pageTotal": "true"}  # type: ignore[attr-defined]
    assert request.headers["X-Partner-ID"] == PARTNER


def test_usage_lines(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(USAGE, json=one_page(usage_line()))
    assert sophos.usage(OCTOBER) == [
        UsageLine(
            tenant_id="t-1",
            product_key="CIXA-MSP",
            product_name="Intercept X Advanced",
            quantity=Decimal(47),
            serial=None,
            product_group="User",
            account_name="Acme Ltd",
            order="SO-1/10",
            unit_price=Decimal("3.20"),
            currency="EUR",
            actual_quantity=Decimal(45),
            start=dt.date(2026, 10, 1),
            end=dt.date(2026, 10, 31),
        )
    ]


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"accountId": ""}, "tenant_id", None),
        ({"accountId": None}, "tenant_id", None),
        ({"accountId": ...}, "tenant_id", None),
        ({"accountId": " A-b "}, "tenant_id", "A-b"),
        ({"productCode": ""}, "product_key", "SKU1"),
        ({"productCode": ...}, "product_key", "SKU1"),
        ({"productDescription": ...}, "product_name", "CIXA-MSP"),
        ({"billableQuantity": Decimal("2.5")}, "quantity", Decimal("2.5")),
        ({"billableQuantity": -3}, "quantity", Decimal(-3)),
        ({"billableQuantity": 0}, "quantity", Decimal(0)),
        ({"actualQuantity": "many"}, "actual_quantity", None),
        ({"unitPrice": "free"}, "unit_price", None),
        ({"unitPrice": 3}, "unit_price", Decimal(3)),
        ({"billingEndDate": "2021-04-31"}, "end", None),
        ({"billingEndDate": ...}, "end", None),
        ({"orderNumber": 77, "orderLineItemNumber": ...}, "order", "77"),
        ({"accountNumberOrSerialNumber": "C0FFEE"}, "serial", "C0FFEE"),
        ({"contactName": {"strange": 1}, "brandNew": []}, "quantity", Decimal(47)),
    ],
)
def test_usage_lines_are_read_leniently_where_that_is_safe(
    changes: dict[str, Any],
    field: str,
    value: object,
    sophos: SophosClient,
    net: responses.RequestsMock,
) -> None:
    line = usage_line(**changes)
    if isinstance(line["billableQuantity"], Decimal):
        line["billableQuantity"] = float(line["billableQuantity"])
    net.get(USAGE, json=one_page(line))
    lines = sophos.usage(OCTOBER)
    assert lines is not None
    assert getattr(lines[0], field) == value


@pytest.mark.parametrize(
    "changes",
    [
        {"productCode": None, "sku": " "},
        {"billableQuantity": 0.0000005},
        {"billableQuantity": ...},
        {"billableQuantity": None},
        {"billableQuantity": "47"},
        {"billableQuantity": True},
        {"billableQuantity": 10**15},
        {"accountId": {"id": "t-1"}},
    ],
)
def test_a_usage_line_that_cannot_be_trusted_spoils_the_report(
    changes: dict[str, Any], sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(USAGE, json=one_page(usage_line(), usage_line(**changes)))
    with pytest.raises(UnexpectedResponse, match="order SO-1/10"):
        sophos.usage(OCTOBER)


@pytest.mark.parametrize("line", [None, 5, "x", []])
def test_a_usage_line_that_is_no_record_spoils_the_report(
    line: object, sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(USAGE, json=one_page(line))
    with pytest.raises(UnexpectedResponse, match="without an order number"):
        sophos.usage(OCTOBER)


def test_firewalls(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(
        FIREWALLS,
        json=one_page(
            {"serialNumber": "C1", "tenant": {"id": "t-1"}, "billingTenant": {"id": "t-2"}},
            {"serialNumber": "C2", "tenant": {}, "model": "XGS 87"},
            {"serialNumber": "C3", "tenant": None},
            {"tenant": {"id": "t-1"}},
        ),
    )
    assert sophos.firewalls() == [
        Firewall("C1", "t-1", "t-2"),
        Firewall("C2", None, None, "XGS 87"),
        Firewall("C3", None, None),
    ]
    assert "pageSize" not in (calls_to(net, FIREWALLS)[0].request.url or "")


def test_licences(sophos: SophosClient, net: responses.RequestsMock) -> None:
    product = {"code": "CIXA-MSP", "name": "Intercept X", "genericCode": "CIXA"}
    usage = {"current": {"count": 41, "date": "2026-11-20", "collectedAt": "?"}}
    full = {"id": "l-1", "product": product, "type": "usage", "quantity": 50, "usage": usage}
    net.get(LICENCES, json={"licenses": [full, {"product": {"code": "X"}, "unlimited": True}]})
    assert sophos.licences("t-1") == [
        Licence(
            "l-1", "CIXA-MSP", "Intercept X", "usage", Decimal(50), False,
            Decimal(41), dt.date(2026, 11, 20),
        ),
        Licence("", "X", "X", unlimited=True),
    ]  # fmt: skip
    request = calls_to(net, LICENCES)[0].request
    assert request.headers["X-Tenant-ID"] == "t-1"
    assert "X-Partner-ID" not in request.headers


def test_licences_may_be_forbidden(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(LICENCES, status=403, json=sophos_error("Forbidden", "No partner assistance"))
    with pytest.raises(PermissionDenied, match="No partner assistance") as caught:
        sophos.licences("t-1")
    assert caught.value.request_id == "corr-1"
    with pytest.raises(ValueError, match="tenant id"):
        sophos.licences("t-1\r\nX: y")


@pytest.mark.parametrize("row", [None, {"name": "no id"}, {"id": " "}, {"id": {}}])
def test_a_tenant_without_an_id_spoils_the_list(
    row: object, sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(TENANTS, json=one_page(row))
    with pytest.raises(UnexpectedResponse, match="customer"):
        sophos.tenants()


def test_a_licence_without_a_product_is_refused(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(LICENCES, json={"licenses": [{"id": "l-1", "product": None}]})
    with pytest.raises(UnexpectedResponse, match="without a product code"):
        sophos.licences("t-1")


# --- answers that are not good --------------------------------------------------------------------


def test_a_month_without_a_report_is_not_ready(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(USAGE, status=404, json=sophos_error(message="No data for requested year or month"))
    assert sophos.usage(OCTOBER) is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status": 404, "body": HTML}, UnexpectedResponse),
        ({"status": 404, "json": {"message": "no route"}}, NotFound),
        ({"status": 404, "body": ""}, NotFound),
        ({"status": 403, "json": sophos_error("Forbidden")}, PermissionDenied),
        ({"status": 429, "headers": {"Retry-After": "900"}}, RateLimited),
        ({"status": 500, "json": sophos_error("InternalServerError")}, Unavailable),
        ({"status": 400, "json": sophos_error("BadRequest")}, VendorError),
        ({"body": HTML}, UnexpectedResponse),
        ({"body": "{"}, UnexpectedResponse),
        ({"json": []}, UnexpectedResponse),
        ({"json": {"pages": {}}}, UnexpectedResponse),
        ({"json": {"items": None, "pages": {}}}, UnexpectedResponse),
        ({"json": {"items": {}, "pages": {}}}, UnexpectedResponse),
        ({"json": {"items": []}}, UnexpectedResponse),
        ({"status": 202, "json": {"items": [], "pages": {}}}, UnexpectedResponse),
    ],
)
def test_no_other_answer_counts_as_a_report(
    answer: dict[str, Any],
    kind: type[VendorError],
    sophos: SophosClient,
    net: responses.RequestsMock,
) -> None:
    net.get(USAGE, **answer)
    with pytest.raises(kind) as caught:
        sophos.usage(OCTOBER)
    assert "<" not in str(caught.value)
