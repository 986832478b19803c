"""The second factor: each code once, none without its secret, and a way back without the phone."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections.abc import Callable

import pyotp
import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

import models
from services.people import second_factor
from services.people.accounts import AccountError, create_user
from services.people.sign_in import begin_session, begin_waiting, find_session, find_waiting
from services.people.throttle import ThrottledError
from services.people.users import delete_user, remove_second_factor, set_password
from services.secrets import Vault, WrongKeyError

GOOD, HERE = "correct horse battery", "203.0.113.7"
STEP = dt.timedelta(seconds=30)
Open = Callable[[], Session]


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def open_session(engine: Engine, now: dt.datetime) -> Open:
    opener = sessionmaker(engine, expire_on_commit=False)
    with opener() as session, session.begin():
        for name in ("anna", "ben"):
            create_user(
                session, name=name, password=GOOD, role=models.Role.ADMIN, actor="root", now=now
            )
    return opener


def anna(session: Session) -> models.User:
    return session.get_one(models.User, 1)


def app_code(secret: str, at: dt.datetime) -> str:
    return pyotp.TOTP(secret).at(at)


def switch_on(open_session: Open, vault: Vault, now: dt.datetime) -> tuple[str, list[str]]:
    """Anna's secret and her recovery codes; the code of two minutes ago is used."""
    with open_session() as session, session.begin():
        second_factor.propose(anna(session), vault)
        secret = second_factor.proposed(anna(session), vault)
        assert secret is not None
        then = now - 4 * STEP
        codes = second_factor.confirm(
            session, anna(session), vault, app_code(secret, then), now=then
        )
        assert codes is not None
        return secret, codes


def wait(open_session: Open, now: dt.datetime) -> str:
    with open_session() as session, session.begin():
        return begin_waiting(session, anna(session), now=now)


def finish(
    open_session: Open, vault: Vault, token: str, code: str, now: dt.datetime
) -> tuple[models.User, str] | None:
    return second_factor.finish_sign_in(
        open_session, vault, token=token, code=code, address=HERE, now=now
    )


def enter(open_session: Open, vault: Vault, code: str, now: dt.datetime) -> bool:
    return finish(open_session, vault, wait(open_session, now), code, now) is not None


def events(session: Session) -> list[tuple[str, object, object]]:
    query = sa.select(models.AuditEvent).where(models.AuditEvent.action == "user.second_factor")
    return [(e.actor, e.before, e.after) for e in session.scalars(query)]


# --- switching on -------------------------------------------------------------------------------


def test_it_counts_only_after_a_code(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    with open_session() as session, session.begin():
        token = begin_session(session, anna(session), now=now)
        second_factor.propose(anna(session), vault)
        secret = second_factor.proposed(anna(session), vault)
        assert secret is not None
        wrong = f"{(int(app_code(secret, now)) + 1) % 1_000_000:06}"
        assert second_factor.confirm(session, anna(session), vault, wrong, now=now) is None
        assert anna(session).totp_since is None
        assert find_session(session, token, now=now) is not None
        good = app_code(secret, now)
        codes = second_factor.confirm(session, anna(session), vault, good, now=now)
        assert codes is not None
        assert anna(session).totp_since == now
        assert find_session(session, token, now=now) is None
        assert second_factor.proposed(anna(session), vault) is None
    assert not enter(open_session, vault, good, now)


def test_neither_secret_nor_codes_stand_in_the_database(
    open_session: Open, vault: Vault, engine: Engine, now: dt.datetime
) -> None:
    secret, codes = switch_on(open_session, vault, now)
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"([a-z2-9]{4}-){3}[a-z2-9]{4}", code) for code in codes)
    with engine.connect() as connection:
        tables = [
            row
            for table in models.Base.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
    everything = str(tables)
    for hidden in (secret, *codes, *(code.replace("-", "") for code in codes)):
        assert hidden not in everything


def test_the_sealed_secret_of_another_user_is_not_taken(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    secret, _ = switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        ben = session.get_one(models.User, 2)
        ben.totp_secret, ben.totp_since = anna(session).totp_secret, now
        token = begin_waiting(session, ben, now=now)
    with pytest.raises(WrongKeyError, match="value of another name"):
        finish(open_session, vault, token, app_code(secret, now), now)


def test_what_cannot_be_switched_says_why(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    with open_session() as session, session.begin():
        refused: list[Callable[[], object]] = [
            lambda: second_factor.confirm(session, anna(session), vault, "123456", now=now),
            lambda: second_factor.renew_codes(session, anna(session), now=now),
            lambda: second_factor.remove(session, anna(session), actor="ben", now=now),
        ]
        for change in refused:
            with pytest.raises(AccountError, match=r"Nothing was changed\.$"):
                change()
    switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        with pytest.raises(AccountError, match="on already"):
            second_factor.propose(anna(session), vault)
        ben = session.get_one(models.User, 2)
        ben.password_hash = ""
        with pytest.raises(AccountError, match="sign in elsewhere"):
            second_factor.propose(ben, vault)


def test_the_link_and_the_picture(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    with open_session() as session:
        user = anna(session)
        user.name = "Anna <b>&"
        link = second_factor.setup_link(user, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    assert link == (
        "otpauth://totp/Tallybridge:Anna%20%3Cb%3E%26?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Tallybridge"
    )
    picture = second_factor.picture(link)
    assert picture.startswith("<svg viewBox=")
    assert "style" not in picture
    assert "JBSW" not in picture


# --- codes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)]
)
def test_a_clock_may_go_one_step_wrong(
    open_session: Open, vault: Vault, now: dt.datetime, steps: int, good: bool
) -> None:
    secret, _ = switch_on(open_session, vault, now)
    assert enter(open_session, vault, app_code(secret, now + steps * STEP), now) is good


def test_no_code_is_good_twice_nor_one_before_it(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    secret, _ = switch_on(open_session, vault, now)
    assert enter(open_session, vault, app_code(secret, now), now)
    for earlier in (now, now - STEP):
        assert not enter(open_session, vault, app_code(secret, earlier), now)
    assert enter(open_session, vault, app_code(secret, now + STEP), now)


def test_of_eight_requests_with_the_same_code_one_goes_through(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    secret, codes = switch_on(open_session, vault, now)
    for code in (app_code(secret, now), codes[0]):
        assert sorted(at_once(open_session, vault, code, now)) == [False] * 7 + [True]


def at_once(open_session: Open, vault: Vault, code: str, now: dt.datetime) -> list[bool]:
    """Eight browsers that wait enter the same code at the same moment."""
    tokens = [wait(open_session, now) for _ in range(8)]
    barrier, ends = threading.Barrier(8), list[bool]()

    def work(token: str) -> None:
        barrier.wait()
        ends.append(finish(open_session, vault, token, code, now) is not None)

    threads = [threading.Thread(target=work, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_a_recovery_code_is_good_once_however_it_is_typed(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    _, codes = switch_on(open_session, vault, now)
    for typed in (codes[0], codes[1].upper(), codes[2].replace("-", " "), f" {codes[3]}\t"):
        assert enter(open_session, vault, typed, now), typed
        assert not enter(open_session, vault, typed, now), typed
    with open_session() as session:
        assert second_factor.codes_left(session, 1) == 6
        assert events(session)[-1] == (
            "anna", None, {"second_factor": "recovery code used, 6 left"}
        )  # fmt: skip


def test_the_recovery_code_of_somebody_else_is_not_good(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    _, codes = switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        token = begin_waiting(session, session.get_one(models.User, 2), now=now)
    assert finish(open_session, vault, token, codes[0], now) is None


def test_new_recovery_codes_kill_the_ones_before(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    _, before = switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        fresh = second_factor.renew_codes(session, anna(session), now=now)
    assert not set(fresh) & set(before)
    assert not enter(open_session, vault, before[0], now)
    assert enter(open_session, vault, fresh[0], now)


@pytest.mark.parametrize("code", ["", "12345", "1234567", "٠١٢٣٤٥", "abcdef", "-", "x" * 10_000])
def test_what_is_no_code(open_session: Open, vault: Vault, now: dt.datetime, code: str) -> None:
    switch_on(open_session, vault, now)
    assert not enter(open_session, vault, code, now)


def test_codes_are_not_guessed(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    """Ten a quarter of an hour and fifty a day, from wherever; even the right one waits then."""
    secret, _ = switch_on(open_session, vault, now)
    looked_at = 0
    for quarter in range(8):
        at = now + quarter * dt.timedelta(minutes=15)
        token = wait(open_session, at)
        for number in range(12):
            try:
                second_factor.finish_sign_in(
                    open_session,
                    vault,
                    token=token,
                    code=f"guess {number}",
                    address=f"198.51.100.{number}",
                    now=at,
                )
            except ThrottledError:
                continue
            looked_at += 1
    assert looked_at == 50
    with pytest.raises(ThrottledError):
        enter(open_session, vault, app_code(secret, at), at)


# --- the wait for the code ----------------------------------------------------------------------


def test_who_waits_is_not_signed_in(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    secret, _ = switch_on(open_session, vault, now)
    token = wait(open_session, now)
    with open_session() as session:
        assert find_session(session, token, now=now) is None
    done = finish(open_session, vault, token, app_code(secret, now), now)
    assert done is not None
    with open_session() as session:
        assert find_session(session, done[1], now=now) is not None
        assert find_session(session, token, now=now) is None
        assert find_waiting(session, token, now=now) is None
        assert find_waiting(session, done[1], now=now) is None


def test_after_five_minutes_the_password_is_asked_again(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    secret, codes = switch_on(open_session, vault, now)
    token, late = wait(open_session, now), now + dt.timedelta(minutes=5, seconds=1)
    assert finish(open_session, vault, token, app_code(secret, late), late) is None
    assert finish(open_session, vault, token, codes[0], late) is None
    with open_session() as session:
        assert second_factor.codes_left(session, 1) == 10


def test_a_full_session_is_no_wait(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    secret, _ = switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        token = begin_session(session, anna(session), now=now)
    assert finish(open_session, vault, token, app_code(secret, now), now) is None


@pytest.mark.parametrize("what", ["password", "factor", "delete"])
def test_what_changes_meanwhile_ends_the_wait(
    open_session: Open, vault: Vault, now: dt.datetime, what: str
) -> None:
    secret, _ = switch_on(open_session, vault, now)
    token = wait(open_session, now)
    with open_session() as session, session.begin():
        ben = session.get_one(models.User, 2)
        if what == "password":
            set_password(session, 1, "another good one", actor="ben", now=now)
        elif what == "factor":
            remove_second_factor(session, 1, by=ben, now=now)
        else:
            delete_user(session, 1, by=ben, now=now)
    assert finish(open_session, vault, token, app_code(secret, now), now) is None


# --- switching off ------------------------------------------------------------------------------


def test_removing_leaves_nothing_behind(open_session: Open, vault: Vault, now: dt.datetime) -> None:
    switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        token = begin_session(session, anna(session), now=now)
        remove_second_factor(session, 1, by=session.get_one(models.User, 2), now=now)
    with open_session() as session:
        user = anna(session)
        assert (user.totp_secret, user.totp_since, user.totp_last_step) == (None, None, None)
        assert second_factor.codes_left(session, 1) == 0
        assert find_session(session, token, now=now) is None
        assert events(session) == [
            ("anna", {"second_factor": "off"}, {"second_factor": "on"}),
            ("ben", {"second_factor": "on"}, {"second_factor": "off"}),
        ]


def test_nobody_removes_their_own_this_way(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    switch_on(open_session, vault, now)
    with open_session() as session, pytest.raises(AccountError, match="your own account"):
        remove_second_factor(session, 1, by=anna(session), now=now)


def test_a_user_goes_with_codes_and_tokens(
    open_session: Open, vault: Vault, now: dt.datetime
) -> None:
    switch_on(open_session, vault, now)
    with open_session() as session, session.begin():
        session.add(
            models.ApiToken(
                user_id=1, name="x", token_hash="x", scope=models.TokenScope.READ,
                created_at=now, expires_at=now,
            )
        )  # fmt: skip
    with open_session() as session, session.begin():
        delete_user(session, 1, by=session.get_one(models.User, 2), now=now)
        for table in (models.RecoveryCode, models.ApiToken):
            assert session.scalar(sa.select(sa.func.count()).select_from(table)) == 0
