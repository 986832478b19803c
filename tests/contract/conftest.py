from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from sandbox import Options, Sandbox, start
from services.clients.connectwise import ConnectWiseAccess, ConnectWiseClient
from services.clients.sophos import SophosAccess, SophosClient
from tests.contract.judge import Sent


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    options = Options(tenants=12, catalog=60, sophos_limits=(), report_ready=True)
    with start(options) as running:
        yield running


@pytest.fixture
def patience(request: pytest.FixtureRequest) -> float:
    """Seconds that our clients wait for an answer: few only where a test lets them wait in vain."""
    call = getattr(request.node, "callspec", None)
    return 0.2 if call and call.params.get("kind") in {"timeout", "slow"} else 10


@pytest.fixture
def sophos(sandbox: Sandbox, patience: float) -> SophosClient:
    env = sandbox.env()
    access = SophosAccess(
        client_id=env["TALLYBRIDGE_SOPHOS_CLIENT_ID"],
        client_secret=env["TALLYBRIDGE_SOPHOS_CLIENT_SECRET"],
        id_url=env["TALLYBRIDGE_SOPHOS_ID_URL"],
        api_url=env["TALLYBRIDGE_SOPHOS_API_URL"],
        allowed_hosts=frozenset(env["TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"].split(",")),
    )
    return SophosClient(access, timeout=(1, patience), sleep=_no_time)


@pytest.fixture
def connectwise(sandbox: Sandbox, patience: float) -> ConnectWiseClient:
    return connectwise_of(sandbox, patience)


def connectwise_of(sandbox: Sandbox, patience: float = 10, **changes: Any) -> ConnectWiseClient:
    env = sandbox.env()
    access = ConnectWiseAccess(
        site=env["TALLYBRIDGE_CONNECTWISE_SITE"],
        company_id=env["TALLYBRIDGE_CONNECTWISE_COMPANY_ID"],
        public_key=env["TALLYBRIDGE_CONNECTWISE_PUBLIC_KEY"],
        private_key=env["TALLYBRIDGE_CONNECTWISE_PRIVATE_KEY"],
        client_id=env["TALLYBRIDGE_CONNECTWISE_CLIENT_ID"],
        allowed_hosts=frozenset(env["TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"].split(",")),
    )
    return ConnectWiseClient(replace(access, **changes), timeout=(1, patience), sleep=_no_time)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """Every request that leaves us, as it left."""
    found: list[Sent] = []
    send = HTTPAdapter.send

    def watched(
        self: HTTPAdapter, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        found.append(Sent.of(request))
        return send(self, request, *args, **kwargs)

    monkeypatch.setattr(HTTPAdapter, "send", watched)
    return found


def _no_time(seconds: float) -> None:
    """Waiting takes no time in tests."""
