"""Every secret that this process has held, so that no log line shows one.

Whoever reads, makes or opens a secret adds it here; the logs hide what is known, whoever wrote
the line. It stands below the clients because they hold tokens that nobody else ever sees.
"""

from __future__ import annotations

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 4
"""What is shorter would only spoil every line."""
_MOST = 1000
_NOTHING = re.compile(r"(?!)")


class KnownSecrets:
    """A bounded memory of secrets: the newest, and those that are said to stay."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # Reentrant: memory may be cleared up in the middle, and what is thrown away then may log.
        self._lock = threading.RLock()
        self._staying: set[str] = set()
        self._passing: OrderedDict[str, None] = OrderedDict()
        self._pattern: re.Pattern[str] | None = _NOTHING

    def add(self, secret: str) -> None:
        """Hide this from now on, until very many newer ones were added."""
        if len(secret) < SHORTEST:
            return
        with self._lock:
            if secret in self._passing:
                self._passing.move_to_end(secret)
                return
            self._passing[secret] = None
            while len(self._passing) > self._most:
                self._passing.popitem(last=False)
            self._pattern = None

    def add_lasting(self, *secrets: str | None) -> None:
        """Hide these for as long as the process lives: keys, and what the environment sets."""
        with self._lock:
            self._staying |= {s for s in secrets if s is not None and len(s) >= SHORTEST}
            self._pattern = None

    def hide(self, text: str) -> str:
        """The text with every known secret blanked out, however it was escaped."""
        pattern = self._pattern
        if pattern is None:
            with self._lock:
                pattern = self._pattern = _pattern({*self._staying, *self._passing})
        return pattern.sub(HIDDEN, text)


def _pattern(secrets: Iterable[str]) -> re.Pattern[str]:
    forms = {form for secret in secrets for form in _forms(secret)}
    # The longest first: a secret may be part of another one.
    ordered = sorted(forms, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else _NOTHING


def _forms(secret: str) -> Iterable[str]:
    """As it is, and as addresses and JSON write it."""
    return secret, quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]


known_secrets = KnownSecrets()
"""Those of this process."""
