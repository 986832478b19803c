"""Who we are for Sophos: token, kind of credentials, and where both may go."""

from __future__ import annotations

from typing import Any

import pytest
import responses

from services.clients.errors import (
    AuthenticationFailed,
    HostNotAllowed,
    PermissionDenied,
    Unavailable,
    UnexpectedResponse,
    VendorError,
    WrongCredentialKind,
)
from services.clients.sophos import SophosAccess, SophosClient
from tests.clients.doubles import (
    API,
    CANARY,
    HTML,
    ID_URL,
    PARTNER,
    Clock,
    add_sophos_login,
    calls_to,
    sophos_client,
    sophos_error,
)

TENANTS = f"{API}/partner/v1/tenants"


@pytest.fixture
def sophos(clock: Clock, net: responses.RequestsMock) -> SophosClient:
    add_sophos_login(net)
    return sophos_client(clock)


def one_page(*items: Any) -> dict[str, Any]:
    return {"items": list(items), "pages": {"items": len(items), "total": 1, "maxSize": 100}}


def test_the_partner_is_asked_for_once(sophos: SophosClient, net: responses.RequestsMock) -> None:
    assert sophos.partner_id() == sophos.partner_id() == PARTNER
    assert sophos.calls == 2
    who = calls_to(net, "whoami")
    assert len(who) == 1
    assert who[0].request.headers["Authorization"] == f"Bearer {CANARY}-token"


def test_the_token_is_asked_for_as_documented(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    sophos.partner_id()
    assert net.calls[0].request.body == (
        f"grant_type=client_credentials&client_id=0a1b2c3d-client"
        f"&client_secret={CANARY}-sophos&scope=token"
    )


@pytest.mark.parametrize("kind", ["tenant", "organization"])
def test_other_kinds_of_credentials_are_refused(
    kind: str, clock: Clock, net: responses.RequestsMock
) -> None:
    add_sophos_login(net, kind=kind)
    with pytest.raises(WrongCredentialKind, match=f"kind '{kind}', and a 'partner'") as caught:
        sophos_client(clock).tenants()
    assert isinstance(caught.value, AuthenticationFailed)
    assert caught.value.permanent


def test_a_partner_id_that_cannot_be_one_is_refused(
    clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(ID_URL, json={"access_token": "t", "expires_in": 3600})
    net.get(f"{API}/whoami/v1", json={"id": "a\nb", "idType": "partner"})
    with pytest.raises(UnexpectedResponse, match="partner id"):
        sophos_client(clock).partner_id()


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "oauth.invalid_client_secret", "the client secret is wrong"),
        (401, "oauth.client_app_does_not_exist", "no such client id"),
        (400, "oauth.invalid_client_id", "client id is not valid"),
        (403, "oauth.client_disabled", "switched off"),
        (401, "oauth.brand_new", r"refused \(oauth\.brand_new\)"),
    ],
)
def test_refused_credentials_are_explained(
    status: int, code: str, words: str, clock: Clock, net: responses.RequestsMock
) -> None:
    error = {"errorCode": code, "message": "Unauthorized", "trackingId": "track-1"}
    net.post(ID_URL, status=status, json=error)
    with pytest.raises(AuthenticationFailed, match=words) as caught:
        sophos_client(clock).partner_id()
    assert caught.value.request_id == "track-1"
    assert len(net.calls) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status": 503}, Unavailable),
        ({"status": 403, "body": HTML}, PermissionDenied),
        ({"status": 400, "body": HTML}, UnexpectedResponse),
        ({"body": HTML}, UnexpectedResponse),
        ({"json": {"access_token": None}}, UnexpectedResponse),
        ({"json": {"access_token": "a\r\nb"}}, UnexpectedResponse),
        ({"json": []}, UnexpectedResponse),
    ],
)
def test_a_token_service_that_misbehaves(
    answer: dict[str, Any], kind: type[VendorError], clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(ID_URL, **answer)
    with pytest.raises(kind):
        sophos_client(clock).partner_id()


def test_the_token_is_kept_until_shortly_before_its_end(
    sophos: SophosClient, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(TENANTS, json=one_page())
    sophos.tenants()
    clock.now += 3530
    sophos.tenants()
    assert len(calls_to(net, ID_URL)) == 1
    clock.now += 20
    sophos.tenants()
    assert len(calls_to(net, ID_URL)) == 2


def test_a_refused_token_is_renewed_once(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(TENANTS, status=401, json=sophos_error("Unauthorized"))
    net.get(TENANTS, json=one_page())
    assert sophos.tenants() == []
    assert len(calls_to(net, ID_URL)) == 2


def test_a_token_refused_twice_is_an_error(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(TENANTS, status=401, json=sophos_error("Unauthorized", "Token expired"))
    with pytest.raises(AuthenticationFailed, match="Sophos says: Token expired"):
        sophos.tenants()
    assert len(calls_to(net, TENANTS)) == 2


def test_strange_hosts_get_no_credentials(clock: Clock, net: responses.RequestsMock) -> None:
    access = SophosAccess("id", "secret", api_url="https://api.central.sophos.com.evil.example")
    with pytest.raises(HostNotAllowed) as caught:
        SophosClient(access, sleep=clock.sleep).partner_id()
    assert caught.value.vendor == "Sophos"
    assert len(net.calls) == 0


def test_whoamis_hosts_are_not_followed(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(TENANTS, json=one_page({"id": "t-1", "name": "Acme"}))
    sophos.tenants()
    hosts = {(call.request.url or "").split("/")[2] for call in net.calls}
    assert hosts == {"id.sophos.com", "api.central.sophos.com"}


@pytest.mark.parametrize("answer", [{"status": 500}, {"body": "x"}])
def test_a_whoami_that_fails(
    answer: dict[str, Any], clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(ID_URL, json={"access_token": "t", "expires_in": "soon"})
    net.get(f"{API}/whoami/v1", **answer)
    with pytest.raises(VendorError, match="Sophos"):
        sophos_client(clock).partner_id()
