"""An own-hosted server whose certificate comes from the provider's own authority."""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.clients import addresses
from services.clients.errors import Unavailable
from services.clients.http import Transport
from services.clients.identity_requests import Requests
from services.clients.limits import RateLimiter
from services.clients.sessions import new_session

HERE = "127.0.0.1"
Key = ec.EllipticCurvePrivateKey


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


def authority(name: str) -> tuple[x509.Certificate, Key]:
    """A certificate authority of somebody's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = _builder(subject, subject, key).add_extension(x509.BasicConstraints(True, None), True)
    return made.sign(key, hashes.SHA256()), key


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    today = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
    )


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


@pytest.fixture(scope="module")
def issuer() -> tuple[x509.Certificate, Key]:
    return authority("Example MSP")


@pytest.fixture(scope="module")
def server(
    issuer: tuple[x509.Certificate, Key], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an https server on loopback that the authority vouches for."""
    certificate, signer = issuer
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HERE)])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HERE))])
    mine = _builder(name, certificate.subject, key).add_extension(here, critical=False)
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(pem(mine.sign(signer, hashes.SHA256())).encode() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listening = http.server.ThreadingHTTPServer((HERE, 0), Listener)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"https://{HERE}:{listening.server_address[1]}"
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def nothing_heard() -> None:
    Listener.heard.clear()


def transport(own_ca: str) -> Transport:
    limiter = RateLimiter(((1000, 60.0),), monotonic=time.monotonic, sleep=time.sleep)
    return Transport(
        "ConnectWise", limiter, own_hosts={HERE}, own_ca=own_ca, sleep=lambda _seconds: None
    )


def test_the_own_authority_vouches_for_the_own_server(
    server: str, issuer: tuple[x509.Certificate, Key]
) -> None:
    assert transport(pem(issuer[0])).read("GET", f"{server}/asked").status == 200
    assert Listener.heard == ["/asked"]


def test_without_it_or_with_another_one_nothing_is_sent(server: str) -> None:
    for own_ca in ("", pem(authority("Somebody else")[0])):
        with pytest.raises(Unavailable, match="certificate"):
            transport(own_ca).read("GET", server)
    assert Listener.heard == []


def test_it_vouches_for_no_other_host(
    server: str, issuer: tuple[x509.Certificate, Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or whoever holds the own authority's key could pose as Sophos."""
    monkeypatch.setattr(addresses, "may_connect", lambda *_args, **_kwargs: True)
    session = new_session({"psa.example.com"}, pem(issuer[0]))
    with session, pytest.raises(requests.exceptions.SSLError):
        session.get(server, timeout=10)
    assert Listener.heard == []


def test_it_vouches_for_the_identity_provider(
    server: str, issuer: tuple[x509.Certificate, Key]
) -> None:
    def asking(own_ca: str) -> Requests:
        return Requests(
            "Keycloak", "us", "s3cret", own_host=HERE, own_ca=own_ca, monotonic=time.monotonic
        )

    assert asking(pem(issuer[0])).document(f"{server}/about") == {}
    with pytest.raises(Unavailable, match="certificate"):
        asking("").document(f"{server}/again")
    assert Listener.heard == ["/about"]
