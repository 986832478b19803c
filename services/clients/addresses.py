"""Which machines a connection may be made to, decided when it is made.

A name that was checked yesterday, or a moment ago, may resolve to another address now ("DNS
rebinding"). So the addresses are looked up here, judged, and one that was judged is connected to:
nothing is looked up a second time.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, ClassVar

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NameResolutionError, NewConnectionError

_SHARED = IPv4Network("100.64.0.0/10")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")
_METADATA = frozenset(
    # Where clouds hand keys to whoever asks: never a vendor, not even an own-hosted one.
    ip_address(text)
    for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192")
)


class AddressRefusedError(NewConnectionError):
    """A name resolves to an address that our credentials are not sent to."""


def may_connect(address: str, *, host: str, own_hosts: Collection[str]) -> bool:
    """Whether `address`, which `host` resolved to, may be connected to.

    A public address always. A private one for a host that the operator listed (`own_hosts`), and
    loopback only if that host is itself written as loopback. Link-local, metadata, multicast and
    reserved addresses never; addresses that hide another one count as the hidden one.
    """
    try:
        real = _unwrapped(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if real in _METADATA or real.is_link_local or real.is_multicast or real.is_unspecified:
        return False
    if real.is_loopback:
        return host in own_hosts and is_loopback_name(host)
    if real.is_global:
        return True
    return host in own_hosts and _is_of_a_network(real)


def is_loopback_name(host: str) -> bool:
    """Whether a host is written as this very machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_of_a_network(address: IPv4Address | IPv6Address) -> bool:
    """What people number their own networks with; the rest that is not public is reserved."""
    shared = isinstance(address, IPv4Address) and address in _SHARED  # carrier-grade NAT, VPNs
    return shared or (address.is_private and not address.is_reserved)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside an IPv6 one, where a gateway would take it out."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    compatible = address in _COMPATIBLE and not (address.is_loopback or address.is_unspecified)
    if compatible or any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class CheckedAdapter(HTTPAdapter):
    """Connects to addresses that `may_connect` lets through, and to no others.

    `own_ca`, certificates in PEM, vouches for `own_hosts` beside the public authorities, and for
    nobody else.
    """

    def __init__(self, own_hosts: Collection[str] = (), own_ca: str = "", **kwargs: Any) -> None:
        self._own_hosts = frozenset(own_hosts)
        self._own_ca = own_ca
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by the base class: pools whose connections judge before they connect."""
        super().init_poolmanager(*args, **kwargs)
        checked = type(
            "Checked", (_Checked,), {"own_hosts": self._own_hosts, "own_ca": self._own_ca}
        )
        plain = type("CheckedHTTP", (checked, HTTPConnection), {})
        secure = type("CheckedHTTPS", (checked, HTTPSConnection), {})
        self.poolmanager.pool_classes_by_scheme = {
            "http": type("HTTPPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("HTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class _Checked:
    """Mixed into urllib3's connections, before the class that makes the socket."""

    own_hosts: ClassVar[frozenset[str]]
    own_ca: ClassVar[str]
    host: str
    port: int
    ca_cert_data: str | None
    _dns_host: str

    def connect(self) -> None:
        if self.own_ca and self.host.strip("[]").lower() in self.own_hosts:
            self.ca_cert_data = self.own_ca
        super().connect()  # type: ignore[misc]

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            return self._connect_to_one_of(self._judged(name))
        finally:
            self._dns_host = name  # the certificate is checked against the name

    def _judged(self, name: str) -> list[str]:
        host = self.host.strip("[]").lower()
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, 0, socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, _as_gaierror(error)) from error  # type: ignore[arg-type]
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for address in addresses:
            if not may_connect(address, host=host, own_hosts=self.own_hosts):
                raise AddressRefusedError(self, f"{host} is {address}")  # type: ignore[arg-type]
        return addresses

    def _connect_to_one_of(self, addresses: list[str]) -> socket.socket:
        for number, address in enumerate(addresses, 1):
            self._dns_host = address
            try:
                connected: socket.socket = super()._new_conn()  # type: ignore[misc]
            except NewConnectionError:
                if number == len(addresses):
                    raise
            else:
                return connected
        raise AddressRefusedError(self, "the name has no address")  # type: ignore[arg-type]


def _as_gaierror(error: Exception) -> socket.gaierror:
    return error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
