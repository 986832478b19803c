"""What is kept of signing in: a log line of each attempt; in the audit who came in, and lockouts.

A name as it was typed goes into neither: somebody may have typed a password there. Only the name
of an account that exists is kept.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit
from services.people.accounts import record
from services.people.throttle import DAY, TURN, Attempt, Limit, Of
from services.people.turns import take_turn

ACTOR = "Tallybridge"
SIGNED_IN, LOCKED = "user.sign_in", "sign_in.locked"
TOLD_ONCE_IN = dt.timedelta(hours=1)
"""A lockout that follows another of the same within this time goes on; it is no new one."""
MOST_A_DAY = 100
"""Who guesses from a thousand addresses must not fill the audit, which nothing is taken out of."""

_log = logging.getLogger("tallybridge.sign_in")


class Way(StrEnum):
    """How somebody shows who they are."""

    PASSWORD = "password"  # noqa: S105 - the word, no password
    CODE = "one-time code"
    RECOVERY_CODE = "recovery code"
    PROVIDER = "identity provider"
    HEADER = "header of the reverse proxy"
    SETUP_CODE = "set-up code"
    API_TOKEN = "API token"  # noqa: S105


_GUESSED_AT = {Way.SETUP_CODE: "set-up code", Way.API_TOKEN: "API tokens"}


def signed_in(
    session: Session, user: models.User, *ways: Way, address: str, now: dt.datetime
) -> None:
    """Record that somebody came in.

    A proxy names people with every request: whoever keeps no cookies begins a session with each,
    and is recorded once an hour.
    """
    after = {"way": " and ".join(ways), "address": address[:64]}
    _log.info("signed in", extra={"account": user.name, **after})
    if Way.HEADER in ways and after in _lately(session, SIGNED_IN, user.name, now):
        return
    record(session, SIGNED_IN, user, actor=user.name, now=now, after=after)


def failed(
    session: Session,
    attempt: Attempt,
    way: Way,
    user: models.User | None,
    *,
    address: str,
    now: dt.datetime,
) -> None:
    """Log a wrong password, code or token. Without a user there is no account of that name.

    If it was the last one that is looked at for a while, the audit has that too.
    """
    _log_failure(way, user, address)
    _lock(session, attempt, way, user, now)


def failed_alone(
    open_session: Callable[[], Session],
    attempt: Attempt,
    way: Way,
    user: models.User | None,
    *,
    address: str,
    now: dt.datetime,
) -> None:
    """The same where no transaction is open; one is begun only if there is something to write."""
    _log_failure(way, user, address)
    if attempt.filled:
        with open_session() as session, session.begin():
            _lock(session, attempt, way, user, now)


def _log_failure(way: Way, user: models.User | None, address: str) -> None:
    line = {"way": way.value, "account": user.name if user else None, "address": address[:64]}
    _log.warning("sign-in failed", extra=line)


def _lock(
    session: Session, attempt: Attempt, way: Way, user: models.User | None, now: dt.datetime
) -> None:
    """Record that guessing is stopped from now on, if this failed attempt was the last allowed.

    As much is written for a name that nobody has, so that the time tells nothing.
    """
    guessed_at = f"user {user.name}" if user else _GUESSED_AT.get(way, "a name that nobody has")
    for limit in attempt.filled:
        subject = f"address {attempt.address}" if limit.of is Of.ADDRESS else guessed_at
        _tell(session, subject, _what(limit, attempt, way), now)


def _lately(
    session: Session, action: str, actor: str, now: dt.datetime
) -> Sequence[dict[str, Any] | None]:
    """What stands in the audit of the last hour."""
    events = models.AuditEvent
    return session.scalars(
        sa.select(events.after).where(
            events.action == action, events.actor == actor, events.at > now - TOLD_ONCE_IN
        )
    ).all()


def _what(limit: Limit, attempt: Attempt, way: Way) -> dict[str, str]:
    """The same for the same lockout, so that it is known again."""
    return {
        "way": way.value,
        "refused": "from everywhere" if limit.of is Of.ACCOUNT else f"from {attempt.address}",
        "failed_attempts": f"{limit.attempts} within {_span(limit.within)}",
    }


def _span(within: dt.timedelta) -> str:
    return "a day" if within == DAY else f"{within // dt.timedelta(minutes=1)} minutes"


def _tell(session: Session, subject: str, what: dict[str, str], now: dt.datetime) -> None:
    """Log it; into the audit as well, unless it stands there or too many do."""
    _log.warning("sign-in locked", extra={"subject": subject, **what})
    take_turn(session, TURN)
    session.flush()
    events = models.AuditEvent
    today = session.execute(
        sa.select(events.at, events.subject, events.after).where(
            events.action == LOCKED, events.at > now - DAY
        )
    ).all()
    since = now - TOLD_ONCE_IN
    told = any(row.at > since and (row.subject, row.after) == (subject, what) for row in today)
    if told or len(today) >= MOST_A_DAY:
        return
    why = "the last one of 24 hours here; more stand in the log"
    more = {"why": why} if len(today) == MOST_A_DAY - 1 else {}
    audit.record(
        session, at=now, actor=ACTOR, action=LOCKED, subject=subject, after={**what, **more}
    )
