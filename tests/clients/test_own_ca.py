"""An own-hosted server whose certificate comes from the provider's own authority."""

from __future__ import annotations

import http.server
import time
from collections.abc import Iterator

import pytest
import requests

from services.clients import addresses
from services.clients.errors import Unavailable
from services.clients.http import Transport
from services.clients.identity_requests import Requests
from services.clients.limits import RateLimiter
from services.clients.sessions import new_session
from tests.certificates import HERE, Authority, authority, https, pem, written


class Listener(http.server.BaseHTTPRequestHandler):
    """Says `{}` to everybody, and remembers what it was asked."""

    heard: list[str] = []  # noqa: RUF012  (one list for all connections is the point)

    def do_GET(self) -> None:
        self.heard.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.fixture(scope="module")
def issuer() -> Authority:
    return authority("Example MSP")


@pytest.fixture(scope="module")
def server(issuer: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that the authority vouches for."""
    with https(written(tmp_path_factory.mktemp("tls") / "both.pem", issuer), Listener) as address:
        yield address


@pytest.fixture(autouse=True)
def nothing_heard() -> None:
    Listener.heard.clear()


def transport(own_ca: str) -> Transport:
    limiter = RateLimiter(((1000, 60.0),), monotonic=time.monotonic, sleep=time.sleep)
    return Transport(
        "ConnectWise", limiter, own_hosts={HERE}, own_ca=own_ca, sleep=lambda _seconds: None
    )


def test_the_own_authority_vouches_for_the_own_server(server: str, issuer: Authority) -> None:
    assert transport(pem(issuer[0])).read("GET", f"{server}/asked").status == 200
    assert Listener.heard == ["/asked"]


def test_without_it_or_with_another_one_nothing_is_sent(server: str) -> None:
    for own_ca in ("", pem(authority("Somebody else")[0])):
        with pytest.raises(Unavailable, match="certificate"):
            transport(own_ca).read("GET", server)
    assert Listener.heard == []


def test_it_vouches_for_no_other_host(
    server: str, issuer: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever holds the own authority's key could pose as Sophos."""
    monkeypatch.setattr(addresses, "may_connect", lambda *_args, **_kwargs: True)
    session = new_session({"psa.example.com"}, pem(issuer[0]))
    with session, pytest.raises(requests.exceptions.SSLError):
        session.get(server, timeout=10)
    assert Listener.heard == []


def test_it_vouches_for_the_identity_provider(server: str, issuer: Authority) -> None:
    def asking(own_ca: str) -> Requests:
        return Requests(
            "Keycloak", "us", "s3cret", own_host=HERE, own_ca=own_ca, monotonic=time.monotonic
        )

    assert asking(pem(issuer[0])).document(f"{server}/about") == {}
    with pytest.raises(Unavailable, match="certificate"):
        asking("").document(f"{server}/again")
    assert Listener.heard == ["/about"]
