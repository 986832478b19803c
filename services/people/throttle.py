"""Guessing is slowed down: attempts are counted in the database, before anything is checked.

Neither a restart nor a second process forgets them, and guesses at the same moment cannot slip
through together, because each is counted before its answer is known.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.people.turns import take_turn

WINDOW = dt.timedelta(minutes=15)
DAY = dt.timedelta(days=1)
SKEW = dt.timedelta(minutes=1)
"""Attempts later than this from now were made under a wrong clock; they count for nothing."""
TURN = "sign-in attempts"
NOBODY = ""
"""The account of attempts that only count for their address any more."""
_PORT = re.compile(r"^(?:\[(.*)\]|([\d.]+))(?::\d+)?$", re.ASCII)


class Of(StrEnum):
    """What a limit counts."""

    ACCOUNT = "account"
    ADDRESS = "address"
    BOTH = "account from this address"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many failed attempts within a time, and no more."""

    attempts: int
    within: dt.timedelta
    of: Of


PER_ADDRESS = Limit(50, WINDOW, Of.ADDRESS)
PASSWORDS = (Limit(10, WINDOW, Of.BOTH), Limit(100, WINDOW, Of.ACCOUNT), PER_ADDRESS)
"""Who guesses from one address cannot lock out the owner, who sits at another; who guesses from
many gets 100 tries, and then everybody waits."""
CODES = (Limit(10, WINDOW, Of.ACCOUNT), Limit(50, DAY, Of.ACCOUNT), PER_ADDRESS)
"""Only who knows the password gets this far, so the whole account is counted: a code is short."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that was counted.

    `filled` are the limits whose last place it took: if it fails, the next one is refused.
    """

    id: int
    address: str
    filled: tuple[Limit, ...] = ()


class ThrottledError(Exception):
    """Too many failed attempts: nothing was looked at. `wait` is how long until the next one."""

    def __init__(self, wait: dt.timedelta = WINDOW) -> None:
        super().__init__(f"too many failed attempts; wait {wait}")
        self.wait = wait


def claim(
    session: Session, account: str, address: str, limits: tuple[Limit, ...], *, now: dt.datetime
) -> Attempt:
    """Count an attempt before it is checked. `succeeded` takes its number.

    `account` says what is guessed at, like `code:7`. Raises ThrottledError, and has written
    nothing then: guessing on must not cost more than a look.
    """
    take_turn(session, TURN)
    account, address = account[:150], neighbourhood(address)
    places = {limit: _place(session, limit, account, address, now) for limit in limits}
    waits = [place.wait for place in places.values() if place.wait]
    if waits:
        raise ThrottledError(max(waits))
    session.execute(sa.delete(models.LoginAttempt).where(models.LoginAttempt.at < now - DAY))
    row = models.LoginAttempt(at=now, account=account, address=address)
    session.add(row)
    session.flush()
    filled = tuple(limit for limit, place in places.items() if place.last)
    return Attempt(row.id, address, filled)


def succeeded(session: Session, attempt: int) -> None:
    """It was no guess: it and what failed before it, for this account from this address, is over.

    What failed still counts for the address, and what failed elsewhere still counts for the
    account: nobody gets a fresh start by signing in as somebody else, or because the owner does.
    """
    row = session.get(models.LoginAttempt, attempt)
    if row is None:
        return
    attempts = models.LoginAttempt
    same = sa.and_(attempts.account == row.account, attempts.address == row.address)
    session.delete(row)
    session.flush()
    session.execute(sa.update(attempts).where(same).values(account=NOBODY))


def forgive(session: Session, account: str) -> None:
    """Forget an account's failures: what was guessed at is worth nothing any more."""
    attempts = models.LoginAttempt
    session.execute(
        sa.update(attempts).where(attempts.account == account[:150]).values(account=NOBODY)
    )


def neighbourhood(address: str) -> str:
    """What counts as one address: in IPv6 a whole /64, which a single customer is given.

    Some proxies forward an address with its port, which is another one for each connection.
    """
    try:
        parsed = ipaddress.ip_address(_PORT.sub(r"\1\2", address))
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), 64), strict=False))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an attempt would stand in a limit: on its last place, or not yet for `wait`."""

    last: bool = False
    wait: dt.timedelta | None = None


def _place(session: Session, limit: Limit, account: str, address: str, now: dt.datetime) -> _Place:
    attempts = models.LoginAttempt
    counted = {
        Of.ACCOUNT: attempts.account == account,
        Of.ADDRESS: attempts.address == address,
        Of.BOTH: sa.and_(attempts.account == account, attempts.address == address),
    }[limit.of]
    newest_first = session.scalars(
        sa.select(attempts.at)
        .where(counted, attempts.at > now - limit.within, attempts.at <= now + SKEW)
        .order_by(attempts.at.desc())
        .offset(limit.attempts - 2)
        .limit(2)
    ).all()
    if len(newest_first) < 2:
        return _Place(last=bool(newest_first))
    return _Place(wait=newest_first[1] + limit.within - now)
