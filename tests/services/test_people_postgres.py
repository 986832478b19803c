"""People on PostgreSQL, where two may write at the same moment: who is first, and who is told."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session, sessionmaker

import models
from services.clients.identity import Identity
from services.database import upgrade
from services.people import second_factor, throttle
from services.people.accounts import AccountError, create_user
from services.people.identity import Admission, sign_in
from services.people.sign_in import accept, begin_session, begin_waiting, check_password
from services.people.throttle import ThrottledError
from services.people.users import change_role, delete_user
from services.secrets import Vault
from tests.postgres import Server
from tests.services.test_identity import provider_of

pytestmark = pytest.mark.slow
GOOD, HERE = "correct horse battery", "203.0.113.7"
Open = Callable[[], Session]
T = TypeVar("T")


@pytest.fixture
def open_session(postgres: Server, now: dt.datetime) -> Iterator[Open]:
    """Sessions of a database that has two administrators and the viewer carol."""
    url = postgres.create(f"people_{time.monotonic_ns()}")
    engine = sa.create_engine(url, pool_size=20)
    upgrade(engine)
    opener = sessionmaker(engine, expire_on_commit=False)
    roles = {"anna": models.Role.ADMIN, "ben": models.Role.ADMIN, "carol": models.Role.VIEWER}
    with opener() as session, session.begin():
        for name, role in roles.items():
            create_user(session, name=name, password=GOOD, role=role, actor="root", now=now)
    yield opener
    engine.dispose()


def together(count: int, one: Callable[[int], T]) -> list[T | Exception]:
    """What each of several threads got that began at the same moment."""
    found: list[T | Exception] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        try:
            found.append(one(number))
        except (AccountError, ThrottledError, sa.exc.SQLAlchemyError) as error:
            found.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def delete(open_session: Open, user: int, by: int, now: dt.datetime) -> str:
    with open_session() as session, session.begin():
        return delete_user(session, user, by=session.get_one(models.User, by), now=now)


@pytest.mark.parametrize("user", [1, 3])
def test_who_is_deleted_while_signing_in_is_gone(
    open_session: Open, now: dt.datetime, user: int
) -> None:
    name = {1: "anna", 3: "carol"}[user]
    proof = check_password(open_session, name=name, password=GOOD, address=HERE, now=now)
    outcome: list[str | Exception] = []
    thread = threading.Thread(
        target=lambda: outcome.extend(together(1, lambda _: delete(open_session, user, 2, now)))
    )
    with open_session() as session, session.begin():
        found = accept(session, proof)
        assert found is not None
        begin_session(session, found, now=now)
        session.flush()
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join()
    assert outcome == [name]
    with open_session() as session:
        assert session.query(models.LoginSession).count() == 0


def test_who_is_deleted_while_entering_the_code_is_nobody(
    open_session: Open, now: dt.datetime
) -> None:
    vault = Vault([Fernet.generate_key().decode()])
    with open_session() as session, session.begin():
        token = begin_waiting(session, session.get_one(models.User, 3), now=now)

    def enter(_number: int) -> object:
        return second_factor.finish_sign_in(
            open_session, vault, token=token, code="123456", address=HERE, now=now
        )

    outcome: list[object] = []
    thread = threading.Thread(target=lambda: outcome.extend(together(1, enter)))
    with open_session() as session, session.begin():
        delete_user(session, 3, by=session.get_one(models.User, 1), now=now)
        session.flush()
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join()
    assert outcome == [None]


def test_of_two_who_delete_the_same_user_one_is_told(open_session: Open, now: dt.datetime) -> None:
    found = together(6, lambda n: delete(open_session, 3, 1 + n % 2, now))
    assert found.count("carol") == 1
    assert sum(isinstance(each, AccountError) for each in found) == 5


@pytest.mark.parametrize("deleted", [True, False])
def test_two_administrators_do_not_remove_each_other(
    open_session: Open, now: dt.datetime, deleted: bool
) -> None:
    def remove(number: int) -> str:
        if deleted:
            return delete(open_session, 2 - number, 1 + number, now)
        with open_session() as session, session.begin():
            by = session.get_one(models.User, 1 + number)
            return change_role(session, 2 - number, models.Role.VIEWER, by=by, now=now).name

    found = together(2, remove)
    # Who is gone already is not even found to be asked.
    assert sum(isinstance(each, AccountError | NoResultFound) for each in found) == 1, found
    with open_session() as session:
        assert session.query(models.User).filter_by(role=models.Role.ADMIN).count() == 1


def test_of_many_guesses_at_once_ten_are_looked_at(open_session: Open, now: dt.datetime) -> None:
    def guess(number: int) -> int:
        looked_at = 0
        for each in range(10):
            try:
                password = f"wrong password {number} {each}"
                check_password(open_session, name="anna", password=password, address=HERE, now=now)
                looked_at += 1
            except ThrottledError:
                continue
        return looked_at

    found = together(8, guess)
    assert sum(each for each in found if isinstance(each, int)) == throttle.PASSWORDS[0].attempts


def test_a_recovery_code_is_good_once(open_session: Open, now: dt.datetime) -> None:
    vault = Vault([Fernet.generate_key().decode()])
    with open_session() as session, session.begin():
        user = session.get_one(models.User, 1)
        code = second_factor._new_codes(session, user)[0]
        tokens = [begin_waiting(session, user, now=now) for _ in range(8)]

    def enter(number: int) -> tuple[models.User, str] | None:
        return second_factor.finish_sign_in(
            open_session, vault, token=tokens[number], code=code, address=HERE, now=now
        )

    found = together(8, enter)
    assert len([each for each in found if isinstance(each, tuple)]) == 1
    assert found.count(None) == 7


def test_one_person_at_once_is_one_account(open_session: Open, now: dt.datetime) -> None:
    zoe = Identity("https://login.example", "9", ("Zoe",), frozenset("a"), too_many_groups=False)

    def enter(_number: int) -> object:
        return sign_in(open_session, zoe, provider=provider_of(), address="", now=now)

    found = together(8, enter)
    assert not [each for each in found if isinstance(each, Exception)]
    assert [each for each in found if isinstance(each, Admission)]
    with open_session() as session:
        assert session.query(models.User).filter_by(name="Zoe").count() == 1
