"""Secrets at rest: encrypted with keys that never stand in the database."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from services.clients.known_secrets import known_secrets


class WrongKeyError(Exception):
    """A secret cannot be read with the keys given, or it belongs to another name."""


_NOT_THE_KEY = "TALLYBRIDGE_ENCRYPTION_KEY is not the key that it was stored with."


class Vault:
    """Encrypts and decrypts by name.

    The plaintext carries its own name, so that two stored secrets cannot be swapped. The first
    key encrypts; all are tried for reading. Without any key nothing can be read or stored, and
    `why_not` says why. No log shows what passed through here.
    """

    def __init__(self, keys: Sequence[str], why_not: str = _NOT_THE_KEY) -> None:
        known_secrets.add_lasting(*keys)
        self._fernets = [Fernet(key) for key in keys]
        self.why_not = why_not

    def seal(self, name: str, secret: str) -> str:
        """The secret as text that may be stored; raises WrongKeyError when there is no key."""
        if not self._fernets:
            raise WrongKeyError(f"{name} cannot be stored: {self.why_not}")
        known_secrets.add(secret)
        return self._fernets[0].encrypt(json.dumps([name, secret]).encode()).decode()

    def open(self, name: str, sealed: str) -> str:
        """The secret again; raises WrongKeyError."""
        try:
            stored_name, secret = json.loads(self._decrypted(sealed))
        except (InvalidToken, ValueError):
            raise WrongKeyError(f"The stored {name} cannot be read: {self.why_not}") from None
        if stored_name != name:
            raise WrongKeyError(f"The stored {name} is a value of another name.")
        known_secrets.add(str(secret))
        return str(secret)

    def reads(self, sealed: str) -> bool:
        """Whether one of the keys can read it, whatever its name."""
        return self._reads(self._fernets, sealed)

    def is_newest(self, sealed: str) -> bool:
        """Whether it was stored with the first key."""
        return self._reads(self._fernets[:1], sealed)

    def renewed(self, sealed: str) -> str:
        """The same, its name included, under the first key; raises InvalidToken."""
        return self._fernets[0].encrypt(self._decrypted(sealed)).decode()

    def _decrypted(self, sealed: str) -> bytes:
        if not self._fernets:
            raise InvalidToken
        return MultiFernet(self._fernets).decrypt(sealed.encode())

    @staticmethod
    def _reads(fernets: Sequence[Fernet], sealed: str) -> bool:
        try:
            return bool(fernets) and MultiFernet(fernets).decrypt(sealed.encode()) != b""
        except InvalidToken:
            return False
