"""The web page as it is installed, in a process of its own, and a browser that keeps the time."""

from __future__ import annotations

import http.client
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urljoin
from zlib import MAX_WBITS, decompress

from bench.children import ROOT, BenchError, clean_environment

_START_SECONDS = 30.0
_ANSWER_SECONDS = 30.0
_HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, how many bytes it was on the wire, and after how many milliseconds."""

    status: int
    headers: Mapping[str, str]
    text: str
    size: int
    ms: float


@dataclass(slots=True)
class Browser:
    """One signed-in person with one connection that is kept open, and no cache.

    It asks for gzip, as browsers do over plain http; over https they take smaller ones as well.
    """

    port: int
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    _connection: http.client.HTTPConnection | None = None

    def sign_in(self, name: str, password: str) -> None:
        """Through the form; afterwards `token` is good for every other form."""
        self._take_token(self.get("/sign-in"))
        answer = self.post("/sign-in", {"name": name, "password": password}, htmx=False)
        if answer.status != 303:
            raise BenchError(f"signing in was answered {answer.status}")
        self._take_token(self.get("/runs"))

    def get(self, path: str, *, htmx: bool = False) -> Answer:
        return self._ask("GET", path, None, _HTMX if htmx else {})

    def post(self, path: str, values: Mapping[str, str], *, htmx: bool = True) -> Answer:
        body = urlencode({"csrf_token": self.token, **values})
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, body, {**headers, **(_HTMX if htmx else {})})

    def _take_token(self, answer: Answer) -> None:
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', answer.text)
        if found is None:
            raise BenchError("a page without a CSRF token")
        self.token = found[1]

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        sent = {"Accept-Encoding": "gzip, deflate", **headers}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        try:
            connection = self._connected()
            begun = time.perf_counter()
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{method} {path} was not answered: {error!r}") from None
        ms = (time.perf_counter() - begun) * 1000
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.split(";")[0].partition("=")
            self.cookies[name] = value
        encoding = response.headers.get("Content-Encoding", "")
        text = _plain(content, encoding).decode(errors="replace")
        if response.status >= 400:
            raise BenchError(f"{method} {path} was answered {response.status}")
        return Answer(response.status, dict(response.headers), text, len(content), ms)

    def _connected(self) -> http.client.HTTPConnection:
        """The open connection, or a new one where the server has closed it meanwhile."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=_ANSWER_SECONDS
            )
        if self._connection.sock and select.select([self._connection.sock], [], [], 0)[0]:
            self._connection.close()  # nothing is asked, so what came is the end
        if self._connection.sock is None:
            self._connection.connect()
        return self._connection


def _plain(content: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return decompress(content, MAX_WBITS | 16)
    return decompress(content) if encoding == "deflate" else content


def everything(browser: Browser, page: str) -> dict[str, int]:
    """The bytes on the wire of a page and of all that it refers to, by address."""
    sizes: dict[str, int] = {}
    open_ones = [page]
    while open_ones:
        path = open_ones.pop()
        answer = browser.get(path)
        sizes[path] = answer.size
        found = re.findall(_REFERS, answer.text)
        wanted = [urljoin(path, next(filter(None, parts))).split("#")[0] for parts in found]
        open_ones += sorted({each for each in wanted if each not in {*sizes, *open_ones}})
    return sizes


_REFERS = re.compile(
    r'<link [^>]*href="([^"]+)"|<script [^>]*src="([^"]+)"|<use href="([^"#]+)#'
    r'|@import url\("([^"]+)"\)|^(?:import|export) [^;]*?"([^"]+\.js)"',
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Server:
    """The running web page: where it listens, and the process that answers."""

    port: int
    worker: int

    def megabytes(self) -> float:
        """The memory that the process which answers holds now."""
        text = Path(f"/proc/{self.worker}/status").read_text(encoding="ascii")
        return int(text.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def web_page(environment: Mapping[str, str]) -> Iterator[Server]:
    """Start it with gunicorn.conf.py as it is, on a free port, and stop it at the end."""
    port = _free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py"]
    command += ["-b", f"127.0.0.1:{port}", "--graceful-timeout", "1", "app:create_app()"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**clean_environment(), **environment}, start_new_session=True
    ) as process:
        try:
            _wait_for(process, port)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            yield Server(port, int(children.read_text(encoding="ascii").split()[0]))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # nothing in there is to be kept


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with suppress(BenchError):
            Browser(port).get("/icons.svg")
            return
        time.sleep(0.1)
    raise BenchError("the web page did not start")
