"""Passwords: what a hash costs, which are refused, and that none is hashed that is too long."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters

from services.people import passwords


@pytest.fixture
def real() -> Iterator[PasswordHasher]:
    """The hasher of the product, not the cheap one of the tests."""
    cheap = passwords.hasher
    importlib.reload(passwords)
    yield passwords.hasher
    passwords.hasher = cheap


def test_a_hash_costs_what_is_promised(real: PasswordHasher) -> None:
    found = extract_parameters(passwords.hashed("correct horse battery"))
    assert (found.type.name, found.memory_cost, found.time_cost) == ("ID", 65_536, 3)
    assert (found.parallelism, found.hash_len, found.salt_len) == (4, 32, 16)


def test_a_name_without_an_account_costs_the_same(real: PasswordHasher) -> None:
    nobody, somebody = (
        extract_parameters(h) for h in (passwords.nobodys(), passwords.hashed("x" * 12))
    )
    assert nobody == somebody
    assert not passwords.outdated(passwords.nobodys())


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "$2b$12$bcrypt"])
def test_what_is_no_hash_fits_no_password(stored: str) -> None:
    for password in ("", "x", stored):
        assert not passwords.matches(stored, password)


def test_a_long_password_is_good_and_a_longer_one_is_not_hashed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "xk!pq Z " * 125
    assert len(long) == passwords.LONGEST
    assert passwords.weakness(long, "anna") is None
    stored = passwords.hashed(long)
    assert passwords.matches(stored, long)
    monkeypatch.setattr(passwords, "hasher", None)  # touching it would fail
    assert not passwords.matches(stored, long + "x")
    assert passwords.weakness(long + "x", "anna") == (
        "The password must have at most 1000 characters."
    )


def test_few_hashes_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        now = most = 0

        def verify(self, _stored: str, _password: str) -> bool:
            self.now += 1
            self.most = max(self.most, self.now)
            time.sleep(0.01)
            self.now -= 1
            return True

    slow = Slow()
    monkeypatch.setattr(passwords, "hasher", slow)
    threads = [threading.Thread(target=passwords.matches, args=("x", "y")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slow.most == passwords.AT_ONCE


@pytest.mark.parametrize(
    "password",
    [
        "Tallybridge1",
        "tallybridge2026!",
        "Tallybridge-Sophos",
        "password1234",
        "PasswordPassword",
        "Passwort 2026",
        "aaaaaaaaaaaa",
        "ababababababab",
        "123456789012",
        "0987654321098",
        "abcdefghijklmnop",
        "qwertyuiop12",
        "Admin Admin Admin",
        "annamaria 1234",
        "Anna Maria!!!",
        "annaANNAanna",
        "            ",
    ],
)
def test_what_is_tried_first_is_refused(password: str) -> None:
    reason = passwords.weakness(password, "Anna Maria")
    assert reason is not None
    assert "too easy to guess" in reason


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "twelve chars",
        "a new long password",
        "Xk3!pQ8z#vL2",
        "日本語のパスワード文字列です",
    ],
)
def test_others_are_not(password: str) -> None:
    assert passwords.weakness(password, "Jo") is None
