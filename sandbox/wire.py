"""HTTP on loopback: bytes in, bytes out, and the ways an answer can fail to arrive."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

JSON_TYPE = "application/json; charset=utf-8"
HOST = "127.0.0.1"
MAX_BODY = 4_000_000

# whole: as it is; none: the connection closes without an answer; half: the body breaks off.
Delivery = Literal["whole", "none", "half"]


def json_answer(
    status: int, value: object, headers: Mapping[str, str] | None = None, *, effect: bool = False
) -> Answer:
    """An answer with a JSON body."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, body, {"Content-Type": JSON_TYPE, **(headers or {})}, effect)


def html_answer(status: int, title: str) -> Answer:
    """A page as a proxy or a web server makes it."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1></body>"
    return Answer(status, f"{page}</html>".encode(), {"Content-Type": "text/html; charset=utf-8"})


@dataclass(frozen=True)
class Request:
    """One request as it came in; header names are in lower case."""

    method: str
    path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """The path with its query."""
        return f"{self.path}?{self.query_text}" if self.query_text else self.path

    def query(self) -> dict[str, str]:
        """The query as a dict; of a repeated name the last value counts."""
        return dict(parse_qsl(self.query_text, keep_blank_values=True))

    def query_list(self, name: str) -> list[str]:
        """All values of one name, whether repeated or separated by commas."""
        pairs = parse_qsl(self.query_text, keep_blank_values=True)
        return [part for key, text in pairs if key == name for part in text.split(",") if part]

    def header(self, name: str) -> str:
        """A header's value, or an empty text."""
        return self.headers.get(name.lower(), "")

    def with_query(self, query_text: str) -> Request:
        """The same request with another query."""
        return replace(self, query_text=query_text)


@dataclass(frozen=True)
class Answer:
    """What is sent back, whether it changed anything, how it gets through and after what delay."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool = False
    delivery: Delivery = "whole"
    delay: float = 0

    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)

    def with_json(self, value: object) -> Answer:
        """The same answer with another JSON body."""
        return replace(self, body=json.dumps(value, ensure_ascii=False).encode())


class Handler(BaseHTTPRequestHandler):
    """Reads one request after the other from a kept-alive connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        """Remember the connection, so that stopping the server can end it."""
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        """Forget the connection."""
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):  # the client is gone: nothing left to flush
            super().finish()

    def handle(self) -> None:
        """Serve until the client or the server hangs up."""
        try:
            super().handle()
        except OSError:  # the client hung up
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Stay quiet: what came in is in the sandbox's own log."""

    def serve_one(self) -> None:
        """Answer the request that has just been read."""
        request = self._read_request()
        if request is None:
            self._send(Answer(411, b"", {"Connection": "close"}))
            self.close_connection = True
            return
        self._send(self.server.answer(request))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = serve_one

    def _read_request(self) -> Request | None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit() or int(length) > MAX_BODY:
            return None
        body = self.rfile.read(int(length)) if length != "0" else b""
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, parts.path, parts.query, headers, body)

    def _send(self, answer: Answer) -> None:
        if answer.delivery == "none":
            self.close_connection = True
            return
        body = b"" if self.command == "HEAD" else answer.body
        data = self._head(answer) + body
        if answer.delivery == "half":
            self._break_off(data[: len(data) - max(1, len(body) // 2)])
            return
        self.wfile.write(data)

    def _head(self, answer: Answer) -> bytes:
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {answer.status} {phrase}", f"Date: {self.date_time_string()}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        lines += [f"Content-Length: {len(answer.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def _break_off(self, data: bytes) -> None:
        """Send a part, then reset the connection as a dying server does."""
        self.wfile.write(data)
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True


class Server(socketserver.ThreadingTCPServer):
    """One vendor's address: a thread per connection, none of which outlives the process."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int) -> None:
        super().__init__((HOST, port), Handler)
        self.answer: Callable[[Request], Answer] = lambda _: Answer(503, b"")
        self.connections: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        """The address a client uses."""
        return f"http://{HOST}:{self.server_address[1]}"

    def shutdown_request(self, request: Any) -> None:
        """Close without a polite shutdown where a reset was asked for."""
        try:
            lingers = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER)
        except OSError:
            lingers = 0
        if lingers:
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def begin(self) -> None:
        """Start answering in the background."""
        self._thread.start()

    def end(self) -> None:
        """Stop answering and hang up on everyone."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):  # it ended by itself meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.01)
