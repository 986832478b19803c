"""A started sandbox: two servers, their data, faults and log."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from sandbox.connectwise.api import ConnectWiseApi
from sandbox.control import PREFIX, control_answer
from sandbox.edits import Editor, state
from sandbox.faults import Faults
from sandbox.log import Log
from sandbox.options import Options
from sandbox.seeding.connectwise import seed_connectwise
from sandbox.seeding.sample import sample_config
from sandbox.seeding.sophos import seed_sophos
from sandbox.sophos import SophosApi
from sandbox.spoil import Api, Scene, spoiled
from sandbox.wire import Answer, Request, Server


class Sandbox:
    """Both vendors, answering on loopback from `begin` to `stop`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.latency_ms = options.latency_ms
        self.faults = Faults()
        self.log = Log()
        self.sophos = seed_sophos(options)
        self.connectwise, self._main_agreements = seed_connectwise(options, self.sophos)
        self._editor = Editor(self.sophos, self.connectwise)
        self._sophos_server = Server(options.sophos_port)
        self._connectwise_server = Server(options.connectwise_port)
        self._stopping = threading.Event()
        self._lock = threading.RLock()
        self._sophos_api = SophosApi(self.sophos, options, lambda: self.sophos_url)
        self._connectwise_api = ConnectWiseApi(
            self.connectwise, options, lambda: self.connectwise_url
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def sophos_url(self) -> str:
        """The address of Sophos' id host and API host, which are one here."""
        return self._sophos_server.url

    @property
    def connectwise_url(self) -> str:
        """The address of the ConnectWise site."""
        return self._connectwise_server.url

    def begin(self) -> None:
        """Start both servers in the background."""
        locked_sophos = _Locked(self._sophos_api, self._lock)
        locked_connectwise = _Locked(self._connectwise_api, self._lock)
        self._open(self._sophos_server, "sophos", locked_sophos, self.connectwise_url)
        self._open(self._connectwise_server, "connectwise", locked_connectwise, self.sophos_url)

    def stop(self) -> None:
        """Stop both servers; waiting faults end at once."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._sophos_server.end()
        self._connectwise_server.end()

    def env(self) -> dict[str, str]:
        """The environment that points the application here."""
        return {
            "TALLYBRIDGE_SOPHOS_CLIENT_ID": self.sophos.client_id,
            "TALLYBRIDGE_SOPHOS_CLIENT_SECRET": self.sophos.client_secret,
            "TALLYBRIDGE_SOPHOS_ID_URL": self.sophos_url,
            "TALLYBRIDGE_SOPHOS_API_URL": self.sophos_url,
            "TALLYBRIDGE_CONNECTWISE_SITE": self.connectwise_url,
            "TALLYBRIDGE_CONNECTWISE_COMPANY_ID": self.connectwise.company_id,
            "TALLYBRIDGE_CONNECTWISE_PUBLIC_KEY": self.connectwise.public_key,
            "TALLYBRIDGE_CONNECTWISE_PRIVATE_KEY": self.connectwise.private_key,
            "TALLYBRIDGE_CONNECTWISE_CLIENT_ID": self.connectwise.client_id,
            "TALLYBRIDGE_ALLOWED_VENDOR_HOSTS": f"{self.sophos_url},{self.connectwise_url}",
        }

    def sample_config(self) -> str:
        """Mappings that fit the seeded data, as YAML."""
        return sample_config(self.sophos, self.connectwise, self._main_agreements)

    def state(self) -> dict[str, Any]:
        """All that both vendors hold."""
        with self._lock:
            return state(self.sophos, self.connectwise)

    def edit(self, body: dict[str, Any]) -> Any:
        """Change something as a person or a vendor would; `action` says what."""
        with self._lock:
            return self._editor.run(body)

    def _open(self, server: Server, vendor: str, api: Api, elsewhere: str) -> None:
        scene = Scene(
            api=api,
            elsewhere=elsewhere,
            table_at=self._connectwise_api.table_at,
            first_key=self._sophos_api.first_key,
        )
        server.answer = lambda request: self._answer(vendor, request, scene)
        server.begin()

    def _answer(self, vendor: str, request: Request, scene: Scene) -> Answer:
        if request.path.startswith(PREFIX):
            return control_answer(self, request)
        if self.latency_ms > 0:
            self._wait(self.latency_ms / 1000)
        fault = self.faults.due(vendor, request)
        answer = spoiled(fault, request, scene) if fault else scene.api.answer(request)
        self.log.add(vendor, request, answer, fault.kind if fault else None)
        if answer.delay > 0:
            self._wait(answer.delay)
        return answer

    def _wait(self, seconds: float) -> None:
        self._stopping.wait(seconds)


class _Locked:
    """One request at a time, as far as the data is concerned."""

    def __init__(self, api: Api, lock: threading.RLock) -> None:
        self._api = api
        self._lock = lock

    def answer(self, request: Request) -> Answer:
        """The answer, with nobody else at work meanwhile."""
        with self._lock:
            return self._api.answer(request)


def start(options: Options | None = None) -> Sandbox:
    """A running sandbox; stop it, or use it as a context manager."""
    sandbox = Sandbox(options or Options())
    sandbox.begin()
    return sandbox
