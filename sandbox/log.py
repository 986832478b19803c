"""Everything the sandbox was asked, without secrets."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from sandbox.wire import Answer, Request

HIDDEN = "***"
SECRET_HEADERS = {"authorization", "cookie"}
SECRET_FIELDS = {"client_secret"}
MAX_ENTRIES = 200_000


def body_without_secrets(request: Request) -> Any:
    """The body as JSON or form fields where it is one, else as text; None when empty."""
    if not request.body:
        return None
    if request.header("content-type").startswith("application/x-www-form-urlencoded"):
        fields = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        return {name: HIDDEN if name in SECRET_FIELDS else fields[name] for name in fields}
    try:
        return json.loads(request.body)
    except ValueError:
        return request.body.decode("utf-8", "replace")


def headers_without_secrets(request: Request) -> dict[str, str]:
    """Header names in lower case; the secret ones without their values."""
    return {
        name: HIDDEN if name in SECRET_HEADERS else value for name, value in request.headers.items()
    }


@dataclass(frozen=True)
class Entry:
    """One request and what became of it. `status` is 0 when no answer was sent."""

    number: int
    at: str
    vendor: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int
    effect: bool
    fault: str | None


class Log:
    """The requests in the order of their answers; safe to use from many threads."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._lock = threading.Lock()
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries())

    def add(self, vendor: str, request: Request, answer: Answer, fault: str | None) -> None:
        """Note one request."""
        status = 0 if answer.delivery == "none" else answer.status
        with self._lock:
            self._number += 1
            self._entries.append(
                Entry(
                    number=self._number,
                    at=datetime.now(UTC).isoformat(),
                    vendor=vendor,
                    method=request.method,
                    path=request.path,
                    query=request.query(),
                    headers=headers_without_secrets(request),
                    body=body_without_secrets(request),
                    status=status,
                    effect=answer.effect,
                    fault=fault,
                )
            )

    def entries(
        self, vendor: str | None = None, method: str | None = None, path: str | None = None
    ) -> list[Entry]:
        """The entries that fit; `path` is a regular expression searched in the path."""
        with self._lock:
            found = list(self._entries)
        return [
            entry
            for entry in found
            if vendor in (None, entry.vendor)
            and method in (None, entry.method)
            and (path is None or re.search(path, entry.path))
        ]

    def writes(self) -> list[Entry]:
        """ConnectWise requests that wanted to change something, whether or not they did."""
        changing = {"POST", "PATCH", "PUT", "DELETE"}
        return [entry for entry in self.entries("connectwise") if entry.method in changing]

    def effects(self) -> list[Entry]:
        """The requests that changed something."""
        return [entry for entry in self.entries() if entry.effect]

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()

    def as_json(self) -> list[dict[str, Any]]:
        """All entries as plain values."""
        return [asdict(entry) for entry in self.entries()]
