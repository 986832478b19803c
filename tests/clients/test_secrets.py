"""No secret ever shows: not in an error, not in a log line, not in a repr."""

from __future__ import annotations

import base64
import logging
import traceback
from typing import Any

import pytest
import requests
import responses

from services.clients.connectwise import ConnectWiseAccess
from services.clients.errors import VendorError
from services.clients.sophos import SophosAccess
from tests.clients.doubles import (
    API,
    BASE,
    CANARY,
    ID_URL,
    Clock,
    add_discovery,
    add_sophos_login,
    connectwise_client,
    sophos_client,
)

BASIC = base64.b64encode(f"acme+{CANARY}-public:{CANARY}-private".encode()).decode()


def answers(*secrets: str) -> list[dict[str, Any]]:
    """Everything a vendor may echo our secrets in."""
    found: list[dict[str, Any]] = [{"body": requests.ConnectionError("reset")}]
    for echo in (f"bad {', '.join(secrets)}", *(f"x<{s}>{'y' * 400}" for s in secrets), *secrets):
        error = {"message": echo, "error": echo, "errorCode": echo, "correlationId": echo}
        errors = {"message": echo, "errors": [{"code": echo, "message": echo, "field": echo}]}
        found += [{"status": s, "json": error} for s in (400, 401, 403, 404, 500)]
        found += [{"status": 400, "json": errors}, {"body": f"<html>{echo}</html>"}]
        found += [{"json": {"items": [{"id": echo}], "pages": {}}}, {"json": {"id": echo}}]
        found += [{"json": {"id": 300, "price": echo, "identifier": echo}}]
        found += [{"status": 503, "headers": {"x-cw-request-id": echo}}]
    return found


def text_of(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    chain = "".join(traceback.format_exception(error))
    return "\n".join([repr(error), str(error), chain, repr(vars(error)), caplog.text])


def assert_no_secret(text: str) -> None:
    assert CANARY not in text
    assert BASIC not in text


def test_no_repr_shows_a_secret(clock: Clock) -> None:
    sophos = SophosAccess("id", f"{CANARY}-sophos")
    connectwise = ConnectWiseAccess("site", "acme", f"{CANARY}-pub", f"{CANARY}-priv", "client")
    clients = (sophos_client(clock), connectwise_client(clock))
    for thing in (sophos, connectwise, *clients, *(vars(client) for client in clients)):
        assert_no_secret(repr(thing))


@pytest.mark.parametrize("answer", answers(f"{CANARY}-sophos", f"{CANARY}-token"))
def test_sophos_echoing_secrets(
    answer: dict[str, Any],
    clock: Clock,
    net: responses.RequestsMock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    add_sophos_login(net)
    net.get(f"{API}/partner/v1/tenants", **answer)
    with pytest.raises(VendorError) as caught:
        sophos_client(clock).tenants()
    assert_no_secret(text_of(caught.value, caplog))


@pytest.mark.parametrize("answer", answers(f"{CANARY}-sophos"))
def test_sophos_token_service_echoing_secrets(
    answer: dict[str, Any],
    clock: Clock,
    net: responses.RequestsMock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    net.post(ID_URL, **answer)
    with pytest.raises(VendorError) as caught:
        sophos_client(clock).partner_id()
    assert_no_secret(text_of(caught.value, caplog))


@pytest.mark.parametrize("answer", answers(f"{CANARY}-public", f"{CANARY}-private", BASIC))
def test_connectwise_echoing_secrets(
    answer: dict[str, Any],
    clock: Clock,
    net: responses.RequestsMock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    add_discovery(net)
    net.patch(f"{BASE}/procurement/catalog/300", **answer)
    with pytest.raises(VendorError) as caught:
        connectwise_client(clock).update_catalog_item(300, {"price": 5})
    assert_no_secret(text_of(caught.value, caplog))
