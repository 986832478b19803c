"""Passwords: how they are kept and compared, and which are too easy to guess."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST = 12
LONGEST = 1000
"""Longer ones are refused before they are hashed, so that nobody makes us hash megabytes."""
AT_ONCE = 2
"""So many checks at the same moment; others wait, so that guessing cannot use up the memory."""
DIFFERENT = 5
"""So many different characters a password has beside what anybody would try first."""
OBVIOUS = (
    "tallybridge",
    "connectwise",
    "sophos",
    "password",
    "passwort",
    "contraseña",
    "administrator",
    "admin",
    "welcome",
    "letmein",
    "qwertyuiop",
    "qwertzuiop",
    "qwerty",
    "qwertz",
    "asdfghjkl",
    "asdfgh",
    "zxcvbnm",
    "iloveyou",
)

hasher = PasswordHasher(time_cost=3, memory_cost=65_536, parallelism=4, hash_len=32, salt_len=16)
"""Argon2id, RFC 9106's choice for machines with little memory: 64 MiB for each check.

https://www.rfc-editor.org/rfc/rfc9106#section-4. After a change of these numbers each password is
hashed anew when its owner signs in.
"""
_turns = threading.BoundedSemaphore(AT_ONCE)


def hashed(password: str) -> str:
    """What is kept of a password."""
    with _turns:
        return hasher.hash(password)


def matches(stored: str, password: str) -> bool:
    """Whether this is the password; takes as long when nothing is stored that could match."""
    if len(password) > LONGEST:
        return False
    try:
        with _turns:
            return hasher.verify(stored or nobodys(), password)
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return hasher.check_needs_rehash(stored)


def nobodys() -> str:
    """A hash that no password fits and that costs as much to check as a real one."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, tag = (_base64_length(n) * "A" for n in (hasher.salt_len, hasher.hash_len))
    return f"$argon2id$v=19${cost}${salt}${tag}"


def weakness(password: str, name: str) -> str | None:
    """Why a password is refused for the user of this name, as a sentence; None when it is good."""
    if len(password) < SHORTEST:
        return f"The password must have at least {SHORTEST} characters."
    if len(password) > LONGEST:
        return f"The password must have at most {LONGEST} characters."
    if len(set(_surprising(password, name))) < DIFFERENT:
        return (
            "The password is too easy to guess: little is left of it without the user's name, "
            "well-known words and rows of characters like 1234."
        )
    return None


def _surprising(password: str, name: str) -> str:
    """What is left of a password without all that is tried first."""
    left = password.casefold()
    for word in sorted({*OBVIOUS, *name.casefold().split(), name.casefold()}, key=len)[::-1]:
        left = left.replace(word, " ") if len(word) > 2 else left
    return "".join(_without_rows("".join(left.split())))


def _without_rows(text: str) -> Iterator[str]:
    """Without characters that repeat the one before, or follow it up or down the alphabet."""
    before = ""
    for character in text:
        if not before or abs(ord(character) - ord(before)) > 1:
            yield character
        before = character


def _base64_length(size: int) -> int:
    return (size * 8 + 5) // 6
