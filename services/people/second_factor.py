"""The second factor: one-time codes of an app (TOTP, RFC 6238), and recovery codes."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import secrets
from collections.abc import Callable

import pyotp
import segno
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.people import sign_in_events, throttle
from services.people.accounts import AccountError, record
from services.people.sign_in import begin_session, end_session, end_sessions_of, find_waiting
from services.people.sign_in_events import Way
from services.secrets import Vault

STEP_SECONDS = 30
WINDOW = 1
"""So many steps a phone's clock may go before or after ours."""
RECOVERY_CODES = 10
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without letters and digits that look alike: these are written down and typed again."""
GROUPS, GROUP = 4, 4
"""79 bits a code, so that a stolen hash cannot be tried out."""


def propose(user: models.User, vault: Vault) -> None:
    """Give a user a new secret, which counts for nothing until `confirm`. Raises AccountError."""
    if user.totp_since is not None:
        raise AccountError("Your second factor is on already. Nothing was changed.")
    if not user.password_hash:
        raise AccountError(
            "You sign in elsewhere, so a second factor belongs there. Nothing was changed."
        )
    user.totp_secret = vault.seal(_name(user), pyotp.random_base32())


def proposed(user: models.User, vault: Vault) -> str | None:
    """The secret that waits to be confirmed, to be shown to its owner only."""
    if user.totp_secret is None or user.totp_since is not None:
        return None
    return vault.open(_name(user), user.totp_secret)


def setup_link(user: models.User, secret: str) -> str:
    """What an authenticator app wants to be told: issuer, user and secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.name, issuer_name="Tallybridge")


def picture(text: str) -> str:
    """A text as the SVG of a QR code, dark on light in any colours of the page."""
    code = segno.make(text, error="m", micro=False)
    return code.svg_inline(border=4, dark="#000", light="#fff", omitsize=True)


def confirm(
    session: Session, user: models.User, vault: Vault, code: str, *, now: dt.datetime
) -> list[str] | None:
    """Switch the second factor on with its first code; returns the recovery codes, once.

    None when the code is wrong. Every session of the user ends. Raises AccountError.
    """
    if proposed(user, vault) is None:
        raise AccountError("There is no second factor to be confirmed. Nothing was changed.")
    if not _is_next_code(session, user, vault, code, now):
        return None
    user.totp_since = now
    end_sessions_of(session, user)
    _record(session, user, user.name, now, before="off", after="on")
    return _new_codes(session, user)


def renew_codes(session: Session, user: models.User, *, now: dt.datetime) -> list[str]:
    """New recovery codes, returned once; the ones before are worthless. Raises AccountError."""
    if user.totp_since is None:
        raise AccountError("Your second factor is off. Nothing was changed.")
    _record(session, user, user.name, now, before=None, after="new recovery codes")
    return _new_codes(session, user)


def codes_left(session: Session, user_id: int) -> int:
    """How many recovery codes are not used yet."""
    codes = models.RecoveryCode
    query = sa.select(sa.func.count()).select_from(codes).where(codes.user_id == user_id)
    return session.scalar(query) or 0


def remove(session: Session, user: models.User, *, actor: str, now: dt.datetime) -> None:
    """Switch a second factor off; the password alone counts again, and all sessions end.

    Raises AccountError when there is none.
    """
    if user.totp_since is None:
        raise AccountError(f"{user.name} has no second factor. Nothing was changed.")
    user.totp_secret = user.totp_since = user.totp_last_step = None
    _forget_codes(session, user)
    end_sessions_of(session, user)
    throttle.forgive(session, _guessed_at(user))
    _record(session, user, actor, now, before="on", after="off")


def finish_sign_in(
    open_session: Callable[[], Session],
    vault: Vault,
    *,
    token: str,
    code: str,
    address: str,
    now: dt.datetime,
) -> tuple[models.User, str] | None:
    """Sign in who waits with this token, by a one-time code or a recovery code.

    Returns the user and the token of a new session; None when the code is wrong, or when the
    wait is over. Raises ThrottledError before the code is looked at.
    """
    with open_session() as session, session.begin():
        waiting = find_waiting(session, token, now=now)
        if waiting is None:
            return None
        attempt = throttle.claim(
            session, _guessed_at(waiting.user), address, throttle.CODES, now=now
        )
        user = session.get(models.User, waiting.user_id, with_for_update=True)
        if user is None:  # deleted meanwhile, and its session with it
            return None
        way = _way_of(code)
        if not _takes(session, user, vault, code, now) or not end_session(session, token):
            sign_in_events.failed(session, attempt, way, user, address=address, now=now)
            return None
        throttle.succeeded(session, attempt.id)
        sign_in_events.signed_in(session, user, Way.PASSWORD, way, address=address, now=now)
        return user, begin_session(session, user, now=now)


def _takes(session: Session, user: models.User, vault: Vault, code: str, now: dt.datetime) -> bool:
    """Whether a code is good now; it never is again."""
    if _way_of(code) is Way.CODE:
        return _is_next_code(session, user, vault, _plain(code), now)
    return _is_recovery_code(session, user, _plain(code), now)


def _way_of(code: str) -> Way:
    plain = _plain(code)
    return Way.CODE if plain.isdecimal() and len(plain) == 6 else Way.RECOVERY_CODE


def _plain(code: str) -> str:
    return "".join(letter for letter in code.casefold() if letter.isalnum())


def _is_next_code(
    session: Session, user: models.User, vault: Vault, code: str, now: dt.datetime
) -> bool:
    """Whether it is the app's code of now, of just before or just after.

    Its step is stored by the same statement that looks at it, so that of two requests with the
    same code only one goes through. A code of an earlier step is worthless after a later one.
    """
    if user.totp_secret is None:
        return False
    step = _step_of(vault.open(_name(user), user.totp_secret), code, now)
    if step is None:
        return False
    users = models.User
    unused = sa.or_(users.totp_last_step.is_(None), users.totp_last_step < step)
    taken = sa.update(users).where(users.id == user.id, unused).values(totp_last_step=step)
    return session.scalar(taken.returning(users.id)) is not None


def _step_of(secret: str, code: str, now: dt.datetime) -> int | None:
    """The time step whose code this is; all are compared, so that time does not tell which."""
    one_time, present = pyotp.TOTP(secret), int(now.timestamp()) // STEP_SECONDS
    plain = "".join(code.split()).encode()
    steps = range(present - WINDOW, present + WINDOW + 1)
    found = [
        step for step in steps if hmac.compare_digest(one_time.generate_otp(step).encode(), plain)
    ]
    return found[-1] if found else None


def _is_recovery_code(session: Session, user: models.User, code: str, now: dt.datetime) -> bool:
    """Whether it is one that was not used; it is deleted by the statement that looks for it."""
    codes = models.RecoveryCode
    used = sa.delete(codes).where(codes.user_id == user.id, codes.code_hash == _digest(user, code))
    if session.scalar(used.returning(codes.id)) is None:
        return False
    left = codes_left(session, user.id)
    _record(session, user, user.name, now, before=None, after=f"recovery code used, {left} left")
    return True


def _new_codes(session: Session, user: models.User) -> list[str]:
    _forget_codes(session, user)
    letters = [
        "".join(secrets.choice(ALPHABET) for _ in range(GROUPS * GROUP))
        for _ in range(RECOVERY_CODES)
    ]
    session.add_all(
        models.RecoveryCode(user_id=user.id, code_hash=_digest(user, code)) for code in letters
    )
    starts = range(0, GROUPS * GROUP, GROUP)
    return ["-".join(code[start : start + GROUP] for start in starts) for code in letters]


def _forget_codes(session: Session, user: models.User) -> None:
    session.execute(sa.delete(models.RecoveryCode).where(models.RecoveryCode.user_id == user.id))


def _digest(user: models.User, code: str) -> str:
    return hashlib.sha256(f"{user.id}:{code}".encode()).hexdigest()


def _name(user: models.User) -> str:
    """The name that the sealed secret carries, so that nobody's can be put at another's place."""
    return f"totp:{user.id}"


def _guessed_at(user: models.User) -> str:
    return f"code:{user.id}"


def _record(
    session: Session,
    user: models.User,
    actor: str,
    now: dt.datetime,
    *,
    before: str | None,
    after: str,
) -> None:
    was = None if before is None else {"second_factor": before}
    becomes = {"second_factor": after}
    record(session, "user.second_factor", user, actor=actor, now=now, before=was, after=becomes)
