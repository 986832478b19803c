"""Stand-ins for the tests of the vendor clients: a clock, accesses, answers of both vendors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import responses

from services.clients.connectwise import ConnectWiseAccess, ConnectWiseClient
from services.clients.http import Transport
from services.clients.limits import RateLimiter
from services.clients.sophos import SophosAccess, SophosClient

CANARY = "canary-5ecret"
ID_URL = "https://id.sophos.com/api/v2/oauth2/token"
API = "https://api.central.sophos.com"
PARTNER = "3f8a4d6e-1111-4222-8333-944455556666"
SITE = "https://na.myconnectwise.net"
DISCOVERY = f"{SITE}/login/companyinfo/acme"
BASE = "https://api-na.myconnectwise.net/v2026_4/apis/3.0"
HTML = "<!DOCTYPE html><html><body><h1>Proxy says no</h1></body></html>"


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def transport(clock: Clock, *, secrets: Iterable[str] = ()) -> Transport:
    limiter = RateLimiter(((1000, 60.0),), monotonic=clock.monotonic, sleep=clock.sleep)
    return Transport(
        "ConnectWise", limiter, secrets=secrets, sleep=clock.sleep, monotonic=clock.monotonic
    )


def sophos_client(clock: Clock) -> SophosClient:
    access = SophosAccess("0a1b2c3d-client", f"{CANARY}-sophos")
    return SophosClient(access, sleep=clock.sleep, monotonic=clock.monotonic)


def connectwise_client(clock: Clock, **changes: Any) -> ConnectWiseClient:
    access: dict[str, Any] = {
        "site": "na.myconnectwise.net",
        "company_id": "acme",
        "public_key": f"{CANARY}-public",
        "private_key": f"{CANARY}-private",
        "client_id": "11112222-3333-4444-8555-666677778888",
    }
    return ConnectWiseClient(
        ConnectWiseAccess(**(access | changes)), sleep=clock.sleep, monotonic=clock.monotonic
    )


def add_sophos_login(mock: responses.RequestsMock, *, kind: str = "partner") -> None:
    token = {"access_token": f"{CANARY}-token", "errorCode": "success", "expires_in": 3600}
    mock.post(ID_URL, json=token)
    who = {"id": PARTNER, "idType": kind, "apiHosts": {"global": "http://evil.example/"}}
    mock.get(f"{API}/whoami/v1", json=who)


def add_discovery(mock: responses.RequestsMock, codebase: str = "v2026_4/") -> None:
    info = {
        "CompanyName": "Acme",
        "Codebase": codebase,
        "VersionCode": "v2026.4",
        "CompanyID": "acme",
        "IsCloud": True,
        "SiteUrl": "evil.example",
    }
    mock.get(DISCOVERY, json=info)


def sophos_error(error: str = "NotFound", message: str = "No data") -> dict[str, str]:
    return {
        "error": error,
        "message": message,
        "correlationId": "corr-1",
        "code": "notFound",
        "requestId": "req-1",
    }


def usage_line(**changes: Any) -> dict[str, Any]:
    line = {
        "accountId": "t-1",
        "productCode": "CIXA-MSP",
        "sku": "SKU1",
        "productDescription": "Intercept X Advanced",
        "productGroup": "User",
        "billableQuantity": 47,
        "actualQuantity": 45,
        "orderNumber": "SO-1",
        "orderLineItemNumber": "10",
        "accountNumberOrSerialNumber": "",
        "assignedAccountIdentifier": "Acme Ltd",
        "unitPrice": "3.20",
        "unitPriceCurrency": "EUR",
        "billingStartDate": "2026-10-01",
        "billingEndDate": "2026-10-31",
    }
    return {name: value for name, value in (line | changes).items() if value is not ...}


def addition(**changes: Any) -> dict[str, Any]:
    record = {
        "id": 71,
        "agreementId": 5,
        "product": {"id": 300, "identifier": "Sophos_CIXA"},
        "billCustomer": "Billable",
        "quantity": 12.0,
        "unitPrice": 4.5,
        "effectiveDate": "2026-01-01T00:00:00Z",
        "description": "Intercept X",
        "_info": {"lastUpdated": "2026-10-02T10:00:00Z"},
    }
    return {name: value for name, value in (record | changes).items() if value is not ...}


def catalog_item(**changes: Any) -> dict[str, Any]:
    record = {
        "id": 300,
        "identifier": "Sophos_CIXA",
        "description": "Intercept X",
        "customerDescription": "Endpoint protection",
        "inactiveFlag": False,
        "category": {"id": 1, "name": "Software"},
        "subcategory": {"id": 2, "name": "Security"},
        "type": {"id": 3, "name": "License"},
        "productClass": "Agreement",
        "unitOfMeasure": {"id": 4, "name": "Each"},
        "price": 4.5,
        "cost": 3.2,
        "taxableFlag": True,
        "_info": {"lastUpdated": "2026-10-02T10:00:00Z"},
    }
    return {name: value for name, value in (record | changes).items() if value is not ...}


def sent_json(call: responses.Call) -> Any:
    body = call.request.body
    assert isinstance(body, bytes)
    return json.loads(body)


def query_of(call: responses.Call) -> Mapping[str, str]:
    params: Mapping[str, str] = call.request.params  # type: ignore[attr-defined]
    return params


def calls_to(mock: responses.RequestsMock, part: str) -> list[responses.Call]:
    return [call for call in mock.calls if part in (call.request.url or "")]
