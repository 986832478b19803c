"""API tokens: who may make which, what they are worth today, and how they end."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ApiToken, AuditEvent, Role, TokenScope, User
from services.people.api_tokens import (
    LIFETIMES,
    TokenError,
    TokenExpiredError,
    count_wrong,
    effective_role,
    end_tokens_of,
    identify,
    make_token,
    revoke_token,
    tokens,
)
from services.people.throttle import ThrottledError
from services.people.users import change_role, delete_user, set_password


def person(session: Session, now: dt.datetime, name: str, role: Role) -> User:
    made = User(name=name, role=role, password_hash="x", created_at=now)
    session.add(made)
    session.flush()
    return made


@pytest.fixture
def anna(session: Session, now: dt.datetime) -> User:
    return person(session, now, "anna", Role.OPERATOR)


@pytest.fixture
def boss(session: Session, now: dt.datetime) -> User:
    return person(session, now, "boss", Role.ADMIN)


def make(
    session: Session,
    owner: User,
    now: dt.datetime,
    *,
    name: str = "billing",
    scope: TokenScope = TokenScope.SYNC,
    days: int = 30,
) -> str:
    return make_token(session, owner, name=name, scope=scope, days=days, now=now)


def audited(session: Session) -> list[tuple[str, str, str]]:
    session.flush()
    rows = session.scalars(sa.select(AuditEvent).order_by(AuditEvent.id))
    return [(row.actor, row.action, row.subject) for row in rows]


def count(session: Session) -> int:
    session.flush()
    return session.scalar(sa.select(sa.func.count()).select_from(ApiToken)) or 0


# --- making -------------------------------------------------------------------------------------


def test_only_a_hash_is_kept(session: Session, anna: User, now: dt.datetime) -> None:
    token = make(session, anna, now)
    assert token.startswith("tb_")
    assert len(token) == 46
    row = session.scalars(sa.select(ApiToken)).one()
    everything = "".join(str(getattr(row, c.key)) for c in sa.inspect(ApiToken).column_attrs)
    event = session.scalars(sa.select(AuditEvent)).one()
    everything += f"{event.subject}{event.before}{event.after}"
    assert token not in everything
    assert token.removeprefix("tb_") not in everything
    assert (row.expires_at - row.created_at).days == 30
    assert event.after == {"scope": "sync", "expires": "2026-12-22"}


def test_no_two_tokens_are_alike(session: Session, anna: User, now: dt.datetime) -> None:
    made = {make(session, anna, now, name=str(n)) for n in range(50)}
    assert len(made) == 50


@pytest.mark.parametrize("name", ["", "  ", "x" * 101])
def test_a_token_has_a_name(session: Session, anna: User, now: dt.datetime, name: str) -> None:
    with pytest.raises(TokenError, match="1 to 100 characters"):
        make(session, anna, now, name=name)
    assert count(session) == 0


@pytest.mark.parametrize("days", [-1, 0, 1, 31, 366, 10_000])
def test_a_token_lives_a_year_at_most(
    session: Session, anna: User, now: dt.datetime, days: int
) -> None:
    assert max(LIFETIMES) == 365
    with pytest.raises(TokenError, match="how long"):
        make(session, anna, now, days=days)


def test_names_are_a_person_s_own(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    make(session, anna, now)
    make(session, boss, now)
    with pytest.raises(TokenError, match="You have a token 'billing' already"):
        make(session, anna, now, name=" billing ")


def test_a_viewer_makes_none_to_sync(session: Session, now: dt.datetime) -> None:
    viewer = person(session, now, "v", Role.VIEWER)
    with pytest.raises(TokenError, match="can only read"):
        make(session, viewer, now)
    assert make(session, viewer, now, scope=TokenScope.READ)


# --- what it is worth ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "role", "worth"),
    [
        (TokenScope.READ, Role.VIEWER, Role.VIEWER),
        (TokenScope.READ, Role.OPERATOR, Role.VIEWER),
        (TokenScope.READ, Role.ADMIN, Role.VIEWER),
        (TokenScope.SYNC, Role.VIEWER, Role.VIEWER),
        (TokenScope.SYNC, Role.OPERATOR, Role.OPERATOR),
        (TokenScope.SYNC, Role.ADMIN, Role.OPERATOR),
    ],
)
def test_the_smaller_of_scope_and_role(scope: TokenScope, role: Role, worth: Role) -> None:
    assert effective_role(scope, role) is worth


def test_the_present_role_counts(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    token = make(session, anna, now)
    roles = []
    for role in (Role.VIEWER, Role.ADMIN, Role.OPERATOR):
        change_role(session, anna.id, role, by=boss, now=now)
        session.flush()
        found = identify(session, token, now=now)
        assert found is not None
        roles.append(found.role)
        assert tokens(session, anna, now=now)[0].narrowed is (role is Role.VIEWER)
    assert roles == [Role.VIEWER, Role.OPERATOR, Role.OPERATOR]


def test_it_ends_to_the_second(session: Session, anna: User, now: dt.datetime) -> None:
    token = make(session, anna, now, days=30)
    end = now + dt.timedelta(days=30)
    assert identify(session, token, now=end - dt.timedelta(seconds=1))
    with pytest.raises(TokenExpiredError):
        identify(session, token, now=end)


def test_only_the_whole_token_counts(session: Session, anna: User, now: dt.datetime) -> None:
    token = make(session, anna, now)
    for wrong in (token[:-1], token + "x", token.swapcase(), token[3:], f" {token}", ""):
        assert identify(session, wrong, now=now) is None


def test_the_actor_fits_its_column(session: Session, now: dt.datetime) -> None:
    owner = person(session, now, "n" * 150, Role.OPERATOR)
    found = identify(session, make(session, owner, now, name="t" * 100), now=now)
    assert found is not None
    assert len(found.actor) == 150


@pytest.mark.parametrize(
    ("days_gone", "state"),
    [
        (0, ("good", "active")),
        (15, ("good", "active")),
        (16, ("warn", "14 days left")),
        (29, ("warn", "1 day left")),
        (29.5, ("warn", "less than a day left")),
        (30, ("bad", "expired")),
    ],
)
def test_the_list_says_when_it_ends(
    session: Session, anna: User, now: dt.datetime, days_gone: float, state: tuple[str, str]
) -> None:
    make(session, anna, now, days=30)
    (line,) = tokens(session, anna, now=now + dt.timedelta(days=days_gone))
    assert line.state == state


# --- ending -------------------------------------------------------------------------------------


def test_a_revoked_token_is_gone(session: Session, anna: User, now: dt.datetime) -> None:
    token = make(session, anna, now)
    number = session.scalars(sa.select(ApiToken.id)).one()
    assert revoke_token(session, number, by=anna, now=now) == "billing"
    assert identify(session, token, now=now) is None
    assert audited(session) == [
        ("anna", "token.create", "API token billing of anna"),
        ("anna", "token.revoke", "API token billing of anna"),
    ]
    with pytest.raises(TokenError, match="was revoked"):
        revoke_token(session, number, by=anna, now=now)


def test_only_owner_and_administrator_revoke(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    other = person(session, now, "other", Role.OPERATOR)
    make(session, anna, now)
    number = session.scalars(sa.select(ApiToken.id)).one()
    with pytest.raises(TokenError):
        revoke_token(session, number, by=other, now=now)
    assert tokens(session, other, now=now) == []
    assert len(tokens(session, boss, now=now)) == 1
    revoke_token(session, number, by=boss, now=now)
    assert audited(session)[-1] == ("boss", "token.revoke", "API token billing of anna")


def test_a_new_password_ends_them(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    """Who sets it because somebody else knew the old one must leave no door open."""
    mine, theirs = make(session, boss, now), make(session, anna, now)
    set_password(session, anna.id, "a new long password", actor="anna", now=now)
    assert identify(session, theirs, now=now) is None
    assert identify(session, mine, now=now)
    actions = [action for _, action, _ in audited(session)]
    assert actions[-2:] == ["token.revoke", "user.password"]


def test_they_end_with_the_account(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    token = make(session, anna, now)
    delete_user(session, anna.id, by=boss, now=now)
    session.flush()
    assert identify(session, token, now=now) is None
    assert ("boss", "token.revoke", "API token billing of anna") in audited(session)


def test_another_role_keeps_them(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    make(session, anna, now)
    change_role(session, anna.id, Role.VIEWER, by=boss, now=now)
    assert count(session) == 1


def test_all_of_one_and_none_of_others(
    session: Session, anna: User, boss: User, now: dt.datetime
) -> None:
    for name in ("a", "b"):
        make(session, anna, now, name=name)
    make(session, boss, now)
    assert end_tokens_of(session, anna, actor="boss", now=now) == 2
    assert end_tokens_of(session, anna, actor="boss", now=now) == 0
    assert count(session) == 1


# --- guessing -----------------------------------------------------------------------------------


def test_wrong_tokens_are_counted_by_address(session: Session, now: dt.datetime) -> None:
    for _ in range(50):
        count_wrong(session, "192.0.2.1", now=now)
    with pytest.raises(ThrottledError) as refused:
        count_wrong(session, "192.0.2.1", now=now + dt.timedelta(minutes=5))
    assert refused.value.wait == dt.timedelta(minutes=10)
    count_wrong(session, "192.0.2.2", now=now)
    count_wrong(session, "192.0.2.1", now=now + dt.timedelta(minutes=16))


def test_a_whole_network_of_ipv6_is_one_address(session: Session, now: dt.datetime) -> None:
    for n in range(50):
        count_wrong(session, f"2001:db8::{n:x}", now=now)
    with pytest.raises(ThrottledError):
        count_wrong(session, "2001:db8::ffff", now=now)
    count_wrong(session, "2001:db8:0:1::1", now=now)


def test_the_longest_address_fits(session: Session, now: dt.datetime) -> None:
    count_wrong(session, "x" * 200, now=now)
    session.flush()
    assert len(session.scalars(sa.select(models.LoginAttempt.address)).one()) == 64
