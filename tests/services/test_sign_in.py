"""Signing in: guesses are counted before they are looked at, whoever else guesses meanwhile."""

from __future__ import annotations

import datetime as dt
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher, extract_parameters
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

import models
from services.people import passwords, throttle
from services.people.accounts import create_user
from services.people.sign_in import Proof, accept, begin_session, check_password, find_session
from services.people.throttle import Limit, Of, ThrottledError, claim, neighbourhood, succeeded
from services.people.users import set_password

GOOD, HERE = "correct horse battery", "203.0.113.7"
MINUTE = dt.timedelta(minutes=1)
Open = Callable[[], Session]


@pytest.fixture
def open_session(engine: Engine, now: dt.datetime) -> Open:
    """Sessions of a database that has the users anna and ben."""
    opener = sessionmaker(engine, expire_on_commit=False)
    with opener() as session, session.begin():
        for name in ("anna", "ben"):
            create_user(
                session, name=name, password=GOOD, role=models.Role.ADMIN, actor="root", now=now
            )
    return opener


class Counting:
    """A hasher that says how often a password was looked at."""

    def __init__(self, real: PasswordHasher) -> None:
        self.real, self.checks, self._lock = real, 0, threading.Lock()
        self.stored = ""

    def verify(self, stored: str, password: str) -> bool:
        with self._lock:
            self.checks, self.stored = self.checks + 1, stored
        return self.real.verify(stored, password)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting(passwords.hasher)
    monkeypatch.setattr(passwords, "hasher", made)
    return made


def attempt(
    open_session: Open, now: dt.datetime, password: str, name: str = "anna", address: str = HERE
) -> Proof | None:
    return check_password(open_session, name=name, password=password, address=address, now=now)


def guess(open_session: Open, now: dt.datetime, name: str = "anna", address: str = HERE) -> str:
    try:
        attempt(open_session, now, "a wrong password", name, address)
    except ThrottledError:
        return "throttled"
    return "checked"


def sign_in(
    open_session: Open, now: dt.datetime, name: str = "anna", address: str = HERE
) -> models.User | None:
    proof = attempt(open_session, now, GOOD, name, address)
    with open_session() as session, session.begin():
        return accept(session, proof)


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- how many guesses come through --------------------------------------------------------------


def test_of_a_thousand_guesses_ten_are_looked_at(
    open_session: Open, counting: Counting, now: dt.datetime
) -> None:
    ends = Counter(guess(open_session, now) for _ in range(1000))
    assert ends == {"checked": 10, "throttled": 990}
    assert counting.checks == 10


def test_of_a_thousand_guesses_of_eight_at_once_ten_are_looked_at(
    open_session: Open, counting: Counting, now: dt.datetime
) -> None:
    todo: Iterator[int] = iter(range(1000))
    ends: list[str] = []

    def work() -> None:
        ends.extend(guess(open_session, now) for _ in todo)

    in_threads(8, work)
    assert Counter(ends) == {"checked": 10, "throttled": 990}
    assert counting.checks == 10


@pytest.mark.parametrize(
    ("names", "addresses", "checked"),
    [
        (1, 1, 10),  # one account from one address
        (100, 1, 50),  # many accounts from one address
        (1, 500, 100),  # one account from many addresses
    ],
)
def test_each_limit_holds_by_itself(
    open_session: Open,
    counting: Counting,
    now: dt.datetime,
    names: int,
    addresses: int,
    checked: int,
) -> None:
    for number in range(500):
        name = "anna" if names == 1 else f"user {number % names}"
        guess(
            open_session,
            now,
            name,
            f"198.51.{number % addresses // 256}.{number % addresses % 256}",
        )
    assert counting.checks == checked


def test_over_hours_guessing_stays_slow(
    open_session: Open, counting: Counting, now: dt.datetime
) -> None:
    for minute in range(3 * 60):
        guess(open_session, now + minute * MINUTE)
    assert counting.checks == 3 * 4 * 10


# --- what a person meets ------------------------------------------------------------------------


def test_who_is_throttled_is_told_for_how_long(open_session: Open, now: dt.datetime) -> None:
    for minute in range(10):
        guess(open_session, now + minute * MINUTE)
    with pytest.raises(ThrottledError) as caught:
        attempt(open_session, now + 12 * MINUTE, GOOD)
    assert caught.value.wait == 3 * MINUTE
    assert sign_in(open_session, now + 15 * MINUTE) is not None


def test_guessing_elsewhere_does_not_lock_out_the_owner(
    open_session: Open, now: dt.datetime
) -> None:
    for _ in range(60):
        guess(open_session, now, address="198.51.100.1")
    assert sign_in(open_session, now, address=HERE) is not None


def test_success_forgives_the_account_but_not_the_address(
    open_session: Open, now: dt.datetime
) -> None:
    for _ in range(9):
        assert guess(open_session, now) == "checked"
    assert sign_in(open_session, now) is not None
    for _ in range(9):
        assert guess(open_session, now) == "checked"
    with open_session() as session:
        here = models.LoginAttempt.address == HERE
        counted = sa.select(sa.func.count()).select_from(models.LoginAttempt).where(here)
        assert session.scalar(counted) == 18


def test_an_account_of_ones_own_gives_no_fresh_start(open_session: Open, now: dt.datetime) -> None:
    """Ben guesses at many accounts and signs in as himself after each guess."""
    ends = []
    for number in range(100):
        ends.append(guess(open_session, now, name=f"user {number}"))
        if ends[-1] == "checked":
            assert number == 49 or sign_in(open_session, now, name="ben") is not None
    assert Counter(ends) == {"checked": 50, "throttled": 50}


def test_the_owner_signing_in_gives_others_no_fresh_start(
    open_session: Open, now: dt.datetime
) -> None:
    for _ in range(10):
        guess(open_session, now, address="198.51.100.1")
    assert sign_in(open_session, now) is not None
    assert guess(open_session, now, address="198.51.100.1") == "throttled"


def test_a_name_written_otherwise_is_the_same_account(
    open_session: Open, counting: Counting, now: dt.datetime
) -> None:
    for number in range(40):
        guess(open_session, now, name=("anna", "ANNA", " anna ", "an\0na")[number % 4])
    assert counting.checks == 10


def test_a_new_password_forgives(open_session: Open, now: dt.datetime) -> None:
    for _ in range(10):
        guess(open_session, now)
    with open_session() as session, session.begin():
        set_password(session, 1, "another good one", actor="root", now=now)
    assert attempt(open_session, now, "another good one") is not None


def test_attempts_of_a_wrong_clock_count_for_nothing(open_session: Open, now: dt.datetime) -> None:
    for _ in range(20):
        guess(open_session, now + dt.timedelta(days=400))
    assert sign_in(open_session, now) is not None


@pytest.mark.parametrize("name", ["nobody", "elsewhere"])
def test_without_a_password_there_is_as_much_to_do(
    open_session: Open, counting: Counting, now: dt.datetime, name: str
) -> None:
    """So that time does not tell which names exist, or who signs in by a provider."""
    with open_session() as session, session.begin():
        session.add(
            models.User(name="elsewhere", role=models.Role.VIEWER, password_hash="", created_at=now)
        )
    assert attempt(open_session, now, GOOD) is not None
    real = extract_parameters(counting.stored)
    assert attempt(open_session, now, "", name) is None
    assert counting.checks == 2
    assert extract_parameters(counting.stored) == real


# --- what an address is -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("203.0.113.7:50123", "203.0.113.7"),
        ("[2001:db8:1:2::1]:50123", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[::ffff:203.0.113.7]:1", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix socket", "unix socket"),
        ("unix:1", "unix:1"),
        ("x" * 100, "x" * 64),
    ],
)
def test_what_counts_as_one_address(address: str, counted: str) -> None:
    assert neighbourhood(address) == counted


def test_a_limit_of_a_day_outlives_the_quarter_of_an_hour(
    open_session: Open, now: dt.datetime
) -> None:
    limits = (Limit(2, throttle.DAY, Of.ACCOUNT),)
    with open_session() as session:
        for hour in (0, 5):
            claim(session, "a", HERE, limits, now=now + hour * 60 * MINUTE)
        with pytest.raises(ThrottledError) as caught:
            claim(session, "a", HERE, limits, now=now + 600 * MINUTE)
        assert caught.value.wait == 840 * MINUTE
        succeeded(session, claim(session, "a", HERE, limits, now=now + throttle.DAY).id)
        claim(session, "a", HERE, limits, now=now + throttle.DAY)


# --- between looking and letting in -------------------------------------------------------------


def test_nothing_waits_while_a_password_is_hashed(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, now: dt.datetime
) -> None:
    class Writing:
        """Somebody else writes while a hash is made."""

        wrote = 0

        def verify(self, _stored: str, _password: str) -> bool:
            with open_session() as other, other.begin():
                if other.get_bind().dialect.name == "sqlite":
                    other.connection().exec_driver_sql("PRAGMA busy_timeout = 0")
                other.add(models.Marker(name="other", number=1, at=now))
            self.wrote += 1
            return True

        def check_needs_rehash(self, _stored: str) -> bool:
            return False

    writing = Writing()
    monkeypatch.setattr(passwords, "hasher", writing)
    assert attempt(open_session, now, GOOD) is not None
    assert writing.wrote == 1


def test_a_password_changed_meanwhile_lets_nobody_in(open_session: Open, now: dt.datetime) -> None:
    proof = attempt(open_session, now, GOOD)
    with open_session() as session, session.begin():
        set_password(session, 1, "another good one", actor="root", now=now)
    with open_session() as session, session.begin():
        assert proof is not None
        assert accept(session, proof) is None


def test_old_parameters_are_replaced_when_somebody_signs_in(
    open_session: Open, monkeypatch: pytest.MonkeyPatch, now: dt.datetime
) -> None:
    with open_session() as session:
        before = session.get_one(models.User, 1).password_hash
    monkeypatch.setattr(passwords, "hasher", PasswordHasher(2, 16, 1))
    attempt(open_session, now, "a wrong password")
    assert sign_in(open_session, now) is not None
    with open_session() as session:
        after = session.get_one(models.User, 1).password_hash
    assert after != before
    assert "m=16,t=2,p=1" in after
    assert sign_in(open_session, now) is not None
    with open_session() as session:
        assert session.get_one(models.User, 1).password_hash == after


def test_sessions_that_are_over_are_removed(open_session: Open, now: dt.datetime) -> None:
    with open_session() as session, session.begin():
        user = session.get_one(models.User, 1)
        first = begin_session(session, user, now=now)
        begin_session(session, user, now=now + dt.timedelta(days=8))
        assert find_session(session, first, now=now) is None
        left = sa.select(sa.func.count()).select_from(models.LoginSession)
        assert session.scalar(left) == 1
