"""Where connections may go: what a name resolves to is judged at the moment of connecting."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.clients.addresses import may_connect
from services.clients.errors import HostNotAllowed, Unavailable
from services.clients.hosts import own_hosts
from services.clients.http import Transport
from services.clients.limits import RateLimiter

NAME = "psa.example.com"
PUBLIC = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c")
NETWORKS = ("10.1.2.3", "172.16.0.9", "192.168.178.20", "100.64.1.1", "fd12:3456::9")
LOOPBACK = (
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "2002:7f00:1::",  # 6to4
    "64:ff9b::7f00:1",  # NAT64
    "2001:0:0:0:0:0:8088:8080",  # Teredo: 127.119.127.127 inside
)
NEVER = (
    "169.254.169.254",  # metadata of most clouds
    "169.254.10.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",  # an address to refuse, not one to listen on
    "::",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    "::ffff:169.254.169.254",
    "::a9fe:a9fe",
    "2002:a9fe:a9fe::",  # 6to4
    "64:ff9b::a9fe:a9fe",  # NAT64
    "not-an-address",
    "",
)


@pytest.mark.parametrize("address", PUBLIC)
@pytest.mark.parametrize("own", [(), (NAME,)])
def test_public_addresses_may_be_connected_to(address: str, own: tuple[str, ...]) -> None:
    assert may_connect(address, host=NAME, own_hosts=own)


@pytest.mark.parametrize("address", [*NETWORKS, "::ffff:10.1.2.3", "2002:a01:203::"])
def test_private_ones_only_for_hosts_that_the_operator_listed(address: str) -> None:
    assert may_connect(address, host=NAME, own_hosts={NAME})
    assert not may_connect(address, host=NAME, own_hosts=())
    assert not may_connect(address, host="na.myconnectwise.net", own_hosts={NAME})


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_only_where_it_is_written_so(address: str) -> None:
    assert not may_connect(address, host=NAME, own_hosts={NAME})
    assert not may_connect(address, host="127.0.0.1", own_hosts=())
    assert may_connect(address, host="127.0.0.1", own_hosts={"127.0.0.1"})
    assert may_connect(address, host="localhost", own_hosts={"localhost"})


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("host", [NAME, "169.254.169.254", "localhost"])
def test_link_local_metadata_and_the_like_never(address: str, host: str) -> None:
    assert not may_connect(address, host=host, own_hosts={host})


def test_own_hosts_are_read_from_the_setting() -> None:
    listed = frozenset({"psa.example.com", "other.example.com:8443", "http://127.0.0.1:8080", "!"})
    assert own_hosts(listed) == {"psa.example.com", "other.example.com", "127.0.0.1"}


# --- with real sockets --------------------------------------------------------------------------


class Listener:
    """Counts who connects, and answers like a small web server."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.connections += 1
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


Names = Callable[..., list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Let names resolve to what a test says, one answer a look-up, the last one for ever."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answer(*answers: list[str]) -> list[str]:
        def look_up(host: str, port: int, *rest: Any, **more: Any) -> Any:
            if host != NAME:  # an address by its numbers
                return real(host, port, *rest, **more)
            given = answers[min(len(asked), len(answers) - 1)]
            asked.append(host)
            return [entry for a in given for entry in real(a, port, 0, socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return answer


def transport(*own: str, sleep: Callable[[float], None] = lambda _: None) -> Transport:
    limiter = RateLimiter(((1000, 60.0),))
    return Transport("ConnectWise", limiter, timeout=(1, 5), own_hosts=own, sleep=sleep)


def test_a_name_that_stands_for_this_machine_is_refused_before_connecting(
    listener: Listener, names: Names
) -> None:
    names(["127.0.0.1"])
    waits: list[float] = []
    client = transport(NAME, sleep=waits.append)
    with pytest.raises(HostNotAllowed, match="so nothing was sent there") as caught:
        client.read("GET", f"http://{NAME}:{listener.port}/")
    assert caught.value.permanent
    assert (listener.connections, client.calls, waits) == (0, 0, [])


def test_one_bad_address_among_good_ones_refuses_the_name(listener: Listener, names: Names) -> None:
    names([PUBLIC[0], "127.0.0.1"])
    with pytest.raises(HostNotAllowed):
        transport().write("POST", f"http://{NAME}:{listener.port}/", body={})
    assert listener.connections == 0


def test_a_rebound_name_is_judged_by_the_look_up_that_is_connected_to(
    listener: Listener, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a permitted address, at every later look-up this machine: there is no later one."""
    asked = names(["10.9.9.9"], ["127.0.0.1"])
    connected: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", refuse)
    client = transport(NAME)
    with pytest.raises(HostNotAllowed):  # the second try looks up anew, and is judged anew
        client.read("GET", f"http://{NAME}:{listener.port}/")
    assert connected == [("10.9.9.9", listener.port)]
    assert len(asked) == 2
    assert listener.connections == 0


def test_a_kept_connection_is_not_looked_up_again(listener: Listener) -> None:
    client = transport("127.0.0.1")
    assert client.read("GET", f"http://127.0.0.1:{listener.port}/").status == 200
    assert listener.connections == 1


def test_all_addresses_of_a_name_are_tried(
    listener: Listener, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(["10.9.9.9", "10.8.8.8"])
    tried: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(Unavailable, match="could not be reached"):
        transport(NAME).write("POST", f"http://{NAME}:{listener.port}/", body={})
    assert tried[:2] == ["10.9.9.9", "10.8.8.8"]


def test_a_name_without_an_address_could_not_be_reached(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(Unavailable, match=f"could not be reached at {NAME}"):
        transport().read("GET", f"https://{NAME}/")
