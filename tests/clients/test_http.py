from __future__ import annotations

import datetime as dt
import logging
import socket
import ssl
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import responses
from urllib3.exceptions import NewConnectionError

from services.clients import http
from services.clients.errors import Unavailable, UnexpectedResponse, VendorError
from services.clients.http import Transport, retry_after
from services.clients.limits import RateLimiter
from services.clients.sessions import VERSION, new_session
from tests.clients.doubles import CANARY, HTML, Clock, transport

URL = "https://api-na.myconnectwise.net/v2026_4/apis/3.0/finance/agreements"
TIMEOUT_500 = {"code": "ConnectWiseApi", "message": "A timeout has occured. Please try again."}
NEVER_CONNECTED = requests.ConnectionError(
    type("MaxRetryError", (Exception,), {"reason": NewConnectionError(None, "refused")})()  # type: ignore[arg-type]
)


@pytest.fixture(autouse=True)
def full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest back-off every time."""
    monkeypatch.setattr(http._random, "uniform", lambda low, high: high)


def test_the_session_trusts_nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
    session = new_session()
    settings = session.merge_environment_settings(URL, {}, None, None, None)
    assert session.trust_env is False
    assert settings["verify"] is True
    assert dict(settings["proxies"]) == {}
    assert session.headers["User-Agent"] == f"Tallybridge/{VERSION}"


def test_the_version_is_that_of_the_project() -> None:
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == VERSION


def test_cookies_are_not_kept(clock: Clock, net: responses.RequestsMock) -> None:
    net.get(URL, json=[], headers={"Set-Cookie": "session=1; Path=/"})
    client = transport(clock)
    client.read("GET", URL)
    client.read("GET", URL)
    assert "Cookie" not in net.calls[1].request.headers


@pytest.mark.parametrize("status", [502, 503, 504])
def test_reads_are_repeated_while_a_gateway_is_broken(
    status: int, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(URL, status=status, body=HTML)
    client = transport(clock)
    assert client.read("GET", URL).status == status
    assert client.calls == len(net.calls) == 4
    assert clock.slept == [1.0, 2.0, 4.0]


def test_a_500_is_repeated_only_when_it_is_about_a_time_out(
    clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(URL, status=500, json=TIMEOUT_500)
    net.get(URL, status=500, json={"message": "Unable to cast object of type"})
    client = transport(clock)
    assert client.read("GET", URL).status == 500
    assert client.calls == 2


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("connection reset"),
        requests.ReadTimeout("read timed out"),
        requests.ConnectTimeout("slow"),
        requests.exceptions.ChunkedEncodingError("broken"),
        NEVER_CONNECTED,
    ],
)
def test_reads_are_repeated_after_a_broken_connection(
    error: Exception, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(URL, body=error)
    net.get(URL, body=error)
    net.get(URL, json=[1])
    assert transport(clock).read("GET", URL).body == b"[1]"
    assert len(clock.slept) == 2


def test_a_read_gives_up_after_four_tries(clock: Clock, net: responses.RequestsMock) -> None:
    net.get(URL, body=requests.ReadTimeout("read timed out"))
    with pytest.raises(Unavailable, match="did not answer within 60 seconds") as caught:
        transport(clock).read("GET", URL)
    assert len(net.calls) == 4
    assert not caught.value.unclear
    assert not caught.value.permanent


@pytest.mark.parametrize(
    ("header", "wait"),
    [({"Retry-After": "7"}, 7.0), ({"Retry-After": "0"}, None), ({}, 1.0)],
)
@pytest.mark.parametrize("write", [False, True])
def test_429_is_waited_for_and_repeated(
    header: dict[str, str],
    wait: float | None,
    write: bool,
    clock: Clock,
    net: responses.RequestsMock,
) -> None:
    method = "POST" if write else "GET"
    net.add(method, URL, status=429, headers=header, json={"message": "Too many requests."})
    net.add(method, URL, json={})
    client = transport(clock)
    reply = client.write("POST", URL, body={}) if write else client.read("GET", URL)
    assert reply.status == 200
    assert clock.slept == ([] if wait is None else [wait])


def test_a_long_retry_after_is_not_waited_for(clock: Clock, net: responses.RequestsMock) -> None:
    net.get(URL, status=429, headers={"Retry-After": "121"})
    assert transport(clock).read("GET", URL).status == 429
    assert len(net.calls) == 1
    assert clock.slept == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("1.5", 1.5),
        ("Sun, 22 Nov 2026 12:00:20 GMT", 20.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_both_forms(text: str, seconds: float | None) -> None:
    now = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
    assert retry_after({"Retry-After": text}, now) == seconds


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout("read timed out"),
        requests.ConnectionError("reset by peer"),
        requests.exceptions.ChunkedEncodingError("broken"),
    ],
)
def test_a_write_that_may_have_arrived_is_unclear_and_not_repeated(
    error: Exception, clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(URL, body=error)
    client = transport(clock)
    with pytest.raises(Unavailable, match="has to be read back") as caught:
        client.write("POST", URL, body={})
    assert caught.value.unclear
    assert client.calls == len(net.calls) == 1


@pytest.mark.parametrize("error", [requests.ConnectTimeout("slow"), NEVER_CONNECTED])
def test_a_write_that_never_left_is_repeated_and_clear(
    error: Exception, clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(URL, body=error)
    client = transport(clock)
    with pytest.raises(Unavailable, match=r"could not be reached at api-na\.my") as caught:
        client.write("POST", URL, body={})
    assert not caught.value.unclear
    assert len(net.calls) == 4
    assert client.calls == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_write_is_not_repeated_after_a_5xx(
    status: int, clock: Clock, net: responses.RequestsMock
) -> None:
    net.post(URL, status=status, json=TIMEOUT_500, headers={"Retry-After": "1"})
    assert transport(clock).write("POST", URL, body={}).status == status
    assert len(net.calls) == 1
    assert clock.slept == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status: int, clock: Clock, net: responses.RequestsMock) -> None:
    for method in ("GET", "POST"):
        net.add(method, URL, status=status, headers={"Location": "https://evil.example/"})
    client = transport(clock)
    with pytest.raises(UnexpectedResponse, match="redirect") as reading:
        client.read("GET", URL)
    with pytest.raises(UnexpectedResponse, match="redirect") as writing:
        client.write("POST", URL, body={})
    assert not reading.value.unclear
    assert writing.value.unclear
    assert len(net.calls) == 2


def test_a_certificate_error_is_said_and_not_repeated(
    clock: Clock, net: responses.RequestsMock
) -> None:
    cause = ssl.SSLCertVerificationError("CERTIFICATE_VERIFY_FAILED")
    net.post(URL, body=requests.exceptions.SSLError(cause))
    client = transport(clock)
    with pytest.raises(Unavailable, match=r"certificate of api-na\.my") as caught:
        client.write("POST", URL, body={})
    assert caught.value.permanent
    assert not caught.value.unclear
    assert client.calls == 0
    assert len(net.calls) == 1


def test_other_tls_trouble_of_a_write_is_unclear(clock: Clock, net: responses.RequestsMock) -> None:
    net.post(URL, body=requests.exceptions.SSLError("EOF occurred"))
    with pytest.raises(Unavailable, match="TLS failed") as caught:
        transport(clock).write("POST", URL, body={})
    assert caught.value.unclear


def test_a_huge_answer_is_cut_off(
    clock: Clock, net: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 1024)
    net.get(URL, body=b"x" * 1025)
    with pytest.raises(UnexpectedResponse, match="too much"):
        transport(clock).read("GET", URL)


def test_an_answer_that_drips_is_given_up(clock: Clock, net: responses.RequestsMock) -> None:
    def slow_clock() -> float:
        clock.now += 200
        return clock.now

    limiter = RateLimiter(((1000, 60.0),), monotonic=clock.monotonic, sleep=clock.sleep)
    client = Transport("Sophos", limiter, sleep=clock.sleep, monotonic=slow_clock)
    net.get(URL, body=b"x" * 200_000)
    with pytest.raises(Unavailable, match="did not answer within"):
        client.read("GET", URL)


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\x00b", "ключ"])
def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(
    value: str, clock: Clock
) -> None:
    with pytest.raises(Unavailable, match="could not be formed") as caught:
        transport(clock).read("GET", URL, headers={"X-Key": f"{CANARY}{value}"})
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_the_log_has_no_query_no_headers_and_no_body(
    clock: Clock, net: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    net.post(URL, status=400, json={"message": CANARY}, headers={"x-cw-request-id": "cw-1"})
    caplog.set_level(logging.DEBUG)
    transport(clock).write("POST", f"{URL}?key={CANARY}", body={"a": CANARY})
    record = next(r for r in caplog.records if r.name == "tallybridge.vendor")
    assert record.getMessage() == (
        "ConnectWise POST /v2026_4/apis/3.0/finance/agreements -> 400 in 0 ms, request id cw-1"
    )
    assert record.levelno == logging.WARNING


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"x-cw-request-id": "cw-1"}, "{}", "cw-1"),
        ({}, '{"correlationId": "c-1", "requestId": "r-1"}', "c-1"),
        ({}, '{"trackingId": "t-1"}', "t-1"),
        ({}, HTML, None),
        ({}, "[]", None),
    ],
)
def test_the_request_id_is_found(
    headers: dict[str, str],
    body: str,
    expected: str | None,
    clock: Clock,
    net: responses.RequestsMock,
) -> None:
    net.get(URL, status=400, headers=headers, body=body)
    assert transport(clock).read("GET", URL).request_id == expected


# --- against real sockets -------------------------------------------------------------------------


class RawServer:
    """Answers each connection on loopback with fixed bytes, then closes it."""

    def __init__(self, answer: bytes, *, hold: threading.Event | None = None) -> None:
        self.requests = 0
        self._answer = answer
        self._hold = hold
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/x"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                self.requests += 1
                if self._hold:
                    self._hold.wait(5)
                connection.sendall(self._answer)

    def close(self) -> None:
        self._socket.close()


def real_transport(read_timeout: float = 5.0) -> Transport:
    return Transport(
        "ConnectWise",
        RateLimiter(((1000, 60.0),)),
        timeout=(1.0, read_timeout),
        own_hosts={"127.0.0.1"},
        sleep=lambda seconds: None,
    )


@pytest.fixture
def hold() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def failed_write(client: Transport, url: str) -> VendorError:
    with pytest.raises(VendorError) as caught:
        client.write("POST", url, body={"a": 1})
    return caught.value


def test_a_real_refused_connection_is_clear() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    error = failed_write(client := real_transport(), f"http://127.0.0.1:{port}/")
    assert "could not be reached" in str(error)
    assert not error.unclear
    assert client.calls == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"nonsense\r\n\r\n",
    ],
)
def test_a_real_broken_answer_leaves_a_write_unclear(answer: bytes) -> None:
    server = RawServer(answer)
    error = failed_write(client := real_transport(), server.url)
    server.close()
    assert isinstance(error, Unavailable)
    assert error.unclear
    assert client.calls == server.requests == 1


def test_a_real_read_time_out_leaves_a_write_unclear(hold: threading.Event) -> None:
    server = RawServer(b"", hold=hold)
    error = failed_write(real_transport(0.2), server.url)
    server.close()
    assert "did not answer within 0.2 seconds" in str(error)
    assert error.unclear


def test_plain_http_where_tls_is_expected_is_said() -> None:
    server = RawServer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    error = failed_write(real_transport(), server.url.replace("http:", "https:"))
    server.close()
    assert "TLS failed" in str(error)
