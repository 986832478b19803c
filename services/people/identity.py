"""Who somebody is that an identity provider vouches for, and what they may do here.

People are matched by issuer and subject, never by a name or an address: those can be given to
somebody else. The role comes from the groups, at every sign-in anew.
"""

from __future__ import annotations

import datetime as dt
import itertools
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import models
from models import Role
from services.clients.identity import Identity
from services.people import sign_in_events
from services.people.accounts import LONGEST_NAME, belongs_to_the_audit, folded, record
from services.people.api_tokens import end_tokens_of
from services.people.sign_in import begin_session, end_sessions_of
from services.people.sign_in_events import Way
from services.people.sign_in_ways import Provider
from services.people.turns import take_turn

ACTOR = "single sign-on"
MOST = (Role.ADMIN, Role.OPERATOR, Role.VIEWER)
SUBJECT_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody may not sign in; the message says why, and what to do."""

    message: str


@dataclass(frozen=True, slots=True)
class Admission:
    """Somebody is signed in: the token is for their browser alone."""

    user: models.User
    token: str


def sign_in(
    open_session: Callable[[], Session],
    identity: Identity,
    *,
    provider: Provider,
    address: str,
    now: dt.datetime,
) -> Admission | Refusal:
    """A new session for this person, or why there is none; what it changed is kept either way."""
    try:
        with open_session() as session, session.begin():
            user = admit(session, identity, provider=provider, now=now)
            if isinstance(user, Refusal):
                return user
            session.flush()  # a new account gets its number
            sign_in_events.signed_in(session, user, Way.PROVIDER, address=address, now=now)
            return Admission(user, begin_session(session, user, now=now))
    except IntegrityError:  # PostgreSQL lets two make the same account; the second one fails
        return Refusal("You signed in twice at the same moment. Sign in once more.")


def granted_role(identity: Identity, provider: Provider) -> Role | Refusal:
    """The highest role that the groups stand for."""
    granted = {role for group, role in provider.roles.items() if group in identity.groups}
    for role in MOST:
        if role in granted:
            return role
    if identity.too_many_groups:
        return Refusal(
            f"{provider.name} did not say which groups you are in, because they are too many. You "
            "were not signed in. An administrator has to give out app roles instead, and set "
            "TALLYBRIDGE_OIDC_GROUPS_CLAIM to roles."
        )
    return Refusal(
        f"{provider.name} knows you, but none of your groups may use Tallybridge. You were not "
        "signed in. Ask for access where your groups are managed, then sign in again."
    )


def admit(
    session: Session, identity: Identity, *, provider: Provider, now: dt.datetime
) -> models.User | Refusal:
    """The account of this person, made at the first sign-in, with the role of today's groups.

    With another role than before, or none, the sessions of the account end; without one its API
    tokens do too. Both are recorded.
    """
    subject = subject_of(identity)
    if len(subject) > SUBJECT_LENGTH:
        return Refusal(
            f"{provider.name} names you by more than {SUBJECT_LENGTH} characters. You were not "
            "signed in; an administrator has to let it send a shorter subject."
        )
    user = session.scalar(sa.select(models.User).where(models.User.subject == subject))
    role = granted_role(identity, provider)
    if isinstance(role, Refusal):
        if user is not None:
            _shut_out(session, user, now)
        return role
    if user is None:
        return _new(session, identity, role, provider, now)
    if user.role is not role:
        _follow_groups(session, user, role, now)
    return user


def named(session: Session, name: str) -> models.User | None:
    """The account of exactly this name."""
    return session.scalar(sa.select(models.User).where(models.User.name == name))


def subject_of(identity: Identity) -> str:
    """Issuer and subject as one text; an issuer has no blank, so no two pairs give the same."""
    return f"{identity.issuer} {identity.subject}"


def _new(
    session: Session, identity: Identity, role: Role, provider: Provider, now: dt.datetime
) -> models.User | Refusal:
    name = _wanted_name(identity)
    take_turn(session, "names of users")
    names = list(session.execute(sa.select(models.User.name, models.User.subject)))
    local = {folded(other) for other, subject in names if subject is None}
    if folded(name) in local:
        return Refusal(
            f"There is an account {name} here already that does not belong to {provider.name}, "
            "and it is not taken over. You were not signed in. If it is yours, an administrator "
            "deletes it under Settings > Users; then sign in here again."
        )
    user = models.User(
        name=_free_name(name, (other for other, _ in names)),
        role=role,
        password_hash="",  # no password fits it
        subject=subject_of(identity),
        created_at=now,
    )
    session.add(user)
    after = {"role": role.value, "identity": user.subject}
    record(session, "user.create", user, actor=ACTOR, now=now, after=after)
    return user


def _follow_groups(session: Session, user: models.User, role: Role, now: dt.datetime) -> None:
    before, after = {"role": user.role.value}, {"role": role.value}
    user.role = role
    end_sessions_of(session, user)
    record(session, "user.role", user, actor=ACTOR, now=now, before=before, after=after)


def _shut_out(session: Session, user: models.User, now: dt.datetime) -> None:
    """End what the account still has; recorded only if that was something."""
    mine = models.LoginSession.user_id == user.id
    counted = sa.select(sa.func.count()).select_from(models.LoginSession).where(mine)
    sessions = session.scalar(counted) or 0
    tokens = end_tokens_of(session, user, actor=ACTOR, now=now)
    if not sessions and not tokens:
        return
    end_sessions_of(session, user)
    before = {"sessions": sessions, "api_tokens": tokens}
    after = {"sessions": 0, "api_tokens": 0, "why": "none of their groups may use Tallybridge"}
    record(session, "user.shut_out", user, actor=ACTOR, now=now, before=before, after=after)


def _wanted_name(identity: Identity) -> str:
    """The best of the names, without what cannot be seen; never one that the audit needs."""
    for name in (*identity.names, identity.subject):
        normal = unicodedata.normalize("NFKC", name)
        shown = "".join(c if c.isprintable() else " " for c in normal)
        text = " ".join(shown.split())[:LONGEST_NAME].strip()
        if text and not belongs_to_the_audit(text):
            return text
    return "somebody"


def _free_name(name: str, taken: Iterable[str]) -> str:
    """The name, or else the name with a number that nobody has."""
    others = {folded(other) for other in taken}
    numbered = (f"{name[: LONGEST_NAME - 8]} ({number})" for number in itertools.count(2))
    return next(free for free in itertools.chain([name], numbered) if folded(free) not in others)
