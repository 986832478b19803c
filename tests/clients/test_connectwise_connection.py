"""Finding the API, signing, and what refusals mean."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import responses

from services.clients.connectwise import ConnectWiseClient
from services.clients.errors import (
    AuthenticationFailed,
    HostNotAllowed,
    IncompleteListing,
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
    CANARY,
    DISCOVERY,
    HTML,
    Clock,
    add_discovery,
    calls_to,
    catalog_item,
    connectwise_client,
    query_of,
)

AGREEMENTS = f"{BASE}/finance/agreements"
MORE = {"Link": '<https://x/>; rel="next"'}
NEW_BASE = BASE.replace("v2026_4", "v2027_1")


@pytest.fixture
def connectwise(clock: Clock, net: responses.RequestsMock) -> ConnectWiseClient:
    add_discovery(net)
    return connectwise_client(clock)


def test_the_base_is_asked_for_once_and_without_keys(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    assert connectwise.discover() == connectwise.discover() == BASE
    assert len(net.calls) == 1
    assert "Authorization" not in net.calls[0].request.headers
    assert "clientId" not in net.calls[0].request.headers


@pytest.mark.parametrize(
    "site",
    [
        "na.myconnectwise.net",
        " https://na.myconnectwise.net/ ",
        "api-na.myconnectwise.net",
        "https://API-NA.myconnectwise.net",
    ],
)
def test_the_site_may_be_typed_in_several_ways(
    site: str, clock: Clock, net: responses.RequestsMock
) -> None:
    add_discovery(net)
    assert connectwise_client(clock, site=site).discover() == BASE


@pytest.mark.parametrize(
    ("site", "codebase", "base"),
    [
        ("psa.example.com", "v4_6_release/", "https://psa.example.com/v4_6_release/apis/3.0"),
        ("http://127.0.0.1:9001", "v2026_4/", "http://127.0.0.1:9001/v2026_4/apis/3.0"),
    ],
)
def test_own_servers_keep_their_host(
    site: str, codebase: str, base: str, clock: Clock, net: responses.RequestsMock
) -> None:
    url = site if "://" in site else f"https://{site}"
    net.get(f"{url}/login/companyinfo/acme", json={"Codebase": codebase, "SiteUrl": "x"})
    client = connectwise_client(clock, site=site, allowed_hosts=frozenset({site}))
    assert client.discover() == base


def test_a_strange_site_gets_nothing(clock: Clock, net: responses.RequestsMock) -> None:
    with pytest.raises(HostNotAllowed, match="TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"):
        connectwise_client(clock, site="psa.example.com").version()
    assert len(net.calls) == 0


def test_an_unknown_company_is_named(clock: Clock, net: responses.RequestsMock) -> None:
    net.get(f"{DISCOVERY.removesuffix('acme')}ac%2Fme%3F", body="null")
    with pytest.raises(AuthenticationFailed, match=r"company id 'ac/me\?'") as caught:
        connectwise_client(clock, company_id="ac/me?").discover()
    assert caught.value.permanent


@pytest.mark.parametrize(
    "codebase",
    [None, 5, "", "/", "../evil", "v2026_4/../../x", "v2026_4@evil.example", "v1_0/x", "x" * 99],
)
def test_a_strange_code_base_is_refused(
    codebase: object, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(DISCOVERY, json={"Codebase": codebase})
    with pytest.raises(UnexpectedResponse, match="code base"):
        connectwise_client(clock).discover()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"body": HTML}, UnexpectedResponse),
        ({"json": []}, UnexpectedResponse),
        ({"status": 404, "body": HTML}, NotFound),
        ({"status": 503}, Unavailable),
        ({"status": 302, "headers": {"Location": "https://evil.example"}}, UnexpectedResponse),
    ],
)
def test_a_discovery_that_fails(
    answer: dict[str, Any], kind: type[VendorError], clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(DISCOVERY, **answer)
    with pytest.raises(kind):
        connectwise_client(clock).discover()


def test_every_call_is_signed(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.get(f"{BASE}/system/info", json={"version": "v2026.4.1", "isCloud": True})
    assert connectwise.version() == "v2026.4.1"
    headers = net.calls[1].request.headers
    scheme, _, token = headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert base64.b64decode(token).decode() == f"acme+{CANARY}-public:{CANARY}-private"
    assert headers["clientId"] == "11112222-3333-4444-8555-666677778888"
    assert headers["Accept"] == "application/vnd.connectwise.com+json; version=2026.4"
    assert headers["User-Agent"].startswith("Tallybridge/")


@pytest.mark.parametrize("info", [[], {}, {"version": None}])
def test_a_server_without_a_version(
    info: object, connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(f"{BASE}/system/info", json=info)
    with pytest.raises(UnexpectedResponse):
        connectwise.version()


def test_the_system_information_may_be_refused(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(f"{BASE}/system/info", status=403, json={"message": "No"})
    with pytest.raises(PermissionDenied, match="needs the right to inquire it"):
        connectwise.version()


def test_a_list_without_end_is_refused(
    connectwise: ConnectWiseClient, net: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.clients.connectwise_api._MOST_PAGES", 3)
    for number in range(1, 9):
        net.get(AGREEMENTS, json=[{"id": number, "company": {"id": 1}}], headers=MORE)
    with pytest.raises(IncompleteListing, match="no end"):
        connectwise.agreements()


# --- a code base that moves -----------------------------------------------------------------------


def test_after_a_404_the_base_is_asked_for_again(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    connectwise.discover()
    net.get(AGREEMENTS, status=404, body=HTML)
    net.upsert("GET", DISCOVERY, json={"Codebase": "v2027_1/"})
    net.get(f"{NEW_BASE}/finance/agreements", json=[])
    assert connectwise.agreements() == []
    assert connectwise.discover() == NEW_BASE


def test_a_write_is_repeated_at_the_new_base(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    connectwise.discover()
    net.patch(f"{BASE}/procurement/catalog/300", status=404, body=HTML)
    net.upsert("GET", DISCOVERY, json={"Codebase": "v2027_1/"})
    net.patch(f"{NEW_BASE}/procurement/catalog/300", json=catalog_item(price=5))
    assert connectwise.update_catalog_item(300, {"price": 5}).price == 5


def test_a_404_at_the_same_base_is_final(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(AGREEMENTS, status=404, json={"code": "NotFound", "message": "Nothing here"})
    with pytest.raises(NotFound, match=r"Nothing here.*wrong API keys"):
        connectwise.agreements()
    assert len(calls_to(net, "companyinfo")) == 2
    assert len(calls_to(net, AGREEMENTS)) == 1


def test_a_missing_record_says_nothing_about_keys(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(f"{BASE}/procurement/catalog/9", status=404, json={"message": "CatalogItem 9"})
    with pytest.raises(NotFound) as caught:
        connectwise.catalog_item(9)
    assert "CatalogItem 9" in str(caught.value)
    assert "keys" not in str(caught.value)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ({"status": 401, "json": {"message": "Unauthorized"}}, AuthenticationFailed, "API keys"),
        ({"status": 401, "body": HTML}, AuthenticationFailed, "with a web page"),
        (
            {"status": 400, "json": {"message": "ClientId header is required"}},
            AuthenticationFailed,
            "client id",
        ),
        (
            {"status": 403, "json": {"message": "client id missing"}},
            AuthenticationFailed,
            "client id",
        ),
        ({"status": 403, "json": {"message": "Forbidden"}}, PermissionDenied, "Inquire All"),
        (
            {"status": 429, "headers": {"Retry-After": "600"}, "json": {"message": "Too many"}},
            RateLimited,
            "Too many",
        ),
        ({"status": 500, "json": {"message": "Cast failed"}}, Unavailable, "Cast failed"),
        ({"status": 400, "json": {"message": "Bad conditions"}}, Rejected, "Bad conditions"),
        ({"status": 400, "body": HTML}, UnexpectedResponse, "A web page came"),
        ({"status": 200, "body": HTML}, UnexpectedResponse, "A web page came"),
        ({"status": 200, "body": "[1"}, UnexpectedResponse, "cannot be read"),
        ({"status": 200, "json": {"id": 1}}, UnexpectedResponse, "cannot be read"),
        ({"status": 204}, UnexpectedResponse, "status 204"),
    ],
)
def test_answers_that_are_not_good(
    answer: dict[str, Any],
    kind: type[VendorError],
    words: str,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    headers = {"x-cw-request-id": "cw-9", **answer.pop("headers", {})}
    net.get(AGREEMENTS, headers=headers, **answer)
    with pytest.raises(kind, match=words) as caught:
        connectwise.agreements()
    assert type(caught.value) is kind
    assert caught.value.request_id == "cw-9"
    assert str(caught.value).endswith("[cw-9]")
    assert "<" not in str(caught.value)
    assert not caught.value.unclear


@pytest.mark.parametrize(
    ("what", "path", "right"),
    [
        ("catalog", "procurement/catalog", "Procurement > Product Catalog: Inquire All"),
        ("categories", "procurement/categories", "System > Table Setup: Inquire"),
        ("subcategories", "procurement/subcategories", "System > Table Setup: Inquire"),
        ("types", "procurement/types", "System > Table Setup: Inquire"),
        ("units", "procurement/unitOfMeasures", "System > Table Setup: Inquire"),
        ("companies", "company/companies", "Companies > Company Maintenance: Inquire All"),
        ("agreements", "finance/agreements", "Finance > Agreements: Inquire All"),
    ],
)
def test_probes_read_one_row_and_name_the_missing_right(
    what: str,
    path: str,
    right: str,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    net.get(f"{BASE}/{path}", json=[{"id": 1}])
    connectwise.probe(what)
    assert query_of(net.calls[-1]) == {"fields": "id", "page": "1", "pageSize": "1"}
    net.upsert("GET", f"{BASE}/{path}", status=403, json={"message": "No"})
    with pytest.raises(PermissionDenied) as caught:
        connectwise.probe(what)
    assert f"needs {right}." in str(caught.value)


def test_a_small_run_never_waits_and_a_large_one_keeps_the_limit(
    connectwise: ConnectWiseClient, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(f"{BASE}/procurement/types", json=[])
    for _ in range(999):
        connectwise.types()
    assert clock.slept == []
    assert connectwise.calls == 1000
    connectwise.types()
    assert sum(clock.slept) >= 60
