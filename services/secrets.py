"""Secrets at rest: encrypted with keys that never stand in the database."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.clients.known_secrets import known_secrets


class WrongKeyError(Exception):
    """A secret cannot be read with the keys given, or it belongs to another name."""


class Vault:
    """Encrypts and decrypts by name.

    The plaintext carries its own name, so that two stored secrets cannot be swapped. The first
    key encrypts; all are tried for reading. No log shows what passed through here.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        known_secrets.add_lasting(*keys)
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, name: str, secret: str) -> str:
        """The secret as text that may be stored."""
        known_secrets.add(secret)
        return self._fernet.encrypt(json.dumps([name, secret]).encode()).decode()

    def open(self, name: str, sealed: str) -> str:
        """The secret again; raises WrongKeyError."""
        try:
            stored_name, secret = json.loads(self._fernet.decrypt(sealed.encode()))
        except (InvalidToken, ValueError):
            raise WrongKeyError(
                f"The stored {name} cannot be read: TALLYBRIDGE_ENCRYPTION_KEY is not the key that "
                "it was stored with."
            ) from None
        if stored_name != name:
            raise WrongKeyError(f"The stored {name} is a value of another name.")
        known_secrets.add(str(secret))
        return str(secret)
