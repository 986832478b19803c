"""Certificates for https servers on loopback, made when a test needs them."""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = "127.0.0.1"
Authority = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def authority(name: str) -> Authority:
    """A certificate authority of somebody's own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    made = _builder(subject, subject, key).add_extension(x509.BasicConstraints(True, None), True)
    return made.sign(key, hashes.SHA256()), key


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def written(file: Path, by: Authority | None = None) -> Path:
    """The file with a certificate for this machine and its key; signed by itself if by nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signer = (by[0].subject, by[1]) if by else (_name(HERE), key)
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HERE))])
    mine = _builder(_name(HERE), issuer, key).add_extension(here, critical=False)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(pem(mine.sign(signer, hashes.SHA256())).encode() + private)
    return file


@contextmanager
def https(file: Path, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on loopback that shows the certificate of this file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    server = http.server.ThreadingHTTPServer((HERE, 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://{HERE}:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
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
