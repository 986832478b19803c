"""Keys by which callers mark a request that they may send again: one key, one request."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

_KEPT = 1000


class KeyReusedError(Exception):
    """The key came before with another request; nothing was done."""


class RequestKeys:
    """What each key was first sent with, as long as this process lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: OrderedDict[str, str] = OrderedDict()

    def claim(self, key: str, request: bytes) -> None:
        """Remember a request under its key. Raises KeyReusedError when it is not the same one."""
        said = hashlib.sha256(request).hexdigest()
        with self._lock:
            if self._first.setdefault(key, said) != said:
                raise KeyReusedError
            while len(self._first) > _KEPT:
                self._first.popitem(last=False)
