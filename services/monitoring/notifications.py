"""Tell people: the targets that they chose, and one message with everything new.

A message is claimed before it is sent, so that two processes do not send it twice; a target that
is down delays it and nothing else. No transaction is open while something is sent.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

import models
from models import RunState
from services import audit
from services.installation import Installation
from services.monitoring import notices
from services.monitoring.delivery import (
    Result,
    UnusableAddressError,
    check_address,
    deliver,
    service_of,
)
from services.secrets import Vault, WrongKeyError

logger = logging.getLogger("tallybridge.notifications")

MARKER = "notification digest"
"""Its instant: nobody sends before it. Its number: how often sending failed in a row."""
LEASE = dt.timedelta(minutes=5)
"""So long a message belongs to the process that claimed it; far longer than sending may take."""
LONGEST_WAIT = dt.timedelta(hours=1)
_MOMENT, _MOST = dt.timedelta(microseconds=1), LONGEST_WAIT + LEASE
PER_KIND = 10
MOST_TARGETS = 10
TEST_PATIENCE = 8
_STUCK = dt.timedelta(hours=2)


class TargetError(Exception):
    """A target cannot be added or used; the message says why. Nothing was changed.

    `field` is "name" or "url", where it is one of them.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{message} Nothing was changed.")
        self.field = field


# --- targets ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, as a page may show it: of the address only the service."""

    id: int
    name: str
    service: str
    last_sent_at: dt.datetime | None
    last_error: str | None


def targets(session: Session, vault: Vault) -> list[Target]:
    """All of them, by name."""
    rows = session.scalars(sa.select(models.NotificationTarget))
    found = [
        Target(row.id, row.name, _service(vault, row), row.last_sent_at, row.last_error)
        for row in rows
    ]
    return sorted(found, key=lambda target: target.name.casefold())


def add_target(installation: Installation, name: str, url: str, *, actor: str) -> None:
    """Keep a target; its address is encrypted and never shown again. Raises TargetError."""
    name, url = name.strip(), url.strip()
    try:
        check_address(url)
    except UnusableAddressError as error:
        raise TargetError(str(error), "url") from None
    with installation.session() as session, session.begin():
        _refuse(session, name)
        row = models.NotificationTarget(name=name, sealed_url="", created_at=installation.now())
        session.add(row)
        session.flush()
        row.sealed_url = installation.vault.seal(_sealed_name(row.id), url)
        _record(session, installation, "notification.add", name, actor, service_of(url))


def _refuse(session: Session, name: str) -> None:
    names = set(session.scalars(sa.select(models.NotificationTarget.name)))
    if name in names:
        raise TargetError("There is a target of this name already. Choose another name.", "name")
    if len(names) >= MOST_TARGETS:
        raise TargetError(f"There are {MOST_TARGETS} targets already. Remove one first.")


def remove_target(installation: Installation, target_id: int, *, actor: str) -> str:
    """Forget a target; returns its name. Raises TargetError when it is gone already."""
    with installation.session() as session, session.begin():
        row = _found(session, target_id)
        service = _service(installation.vault, row)
        session.delete(row)
        _record(session, installation, "notification.remove", row.name, actor, service)
        return row.name


def find_target(session: Session, vault: Vault, target_id: int) -> Target:
    """One of them. Raises TargetError when it is gone."""
    _found(session, target_id)
    return next(each for each in targets(session, vault) if each.id == target_id)


def test_target(installation: Installation, target_id: int) -> Result:
    """Send a test message now; takes no more than eight seconds. Raises TargetError."""
    with installation.reading() as session:
        row = _found(session, target_id)
    title, body = "Tallybridge: test", "This is a test. Notifications of Tallybridge arrive here."
    (result,) = _sent(installation, [row], title, body, patience=TEST_PATIENCE)
    with installation.session() as session, session.begin():
        _note(session, [row], [result], installation.now())
    return result


def _found(session: Session, target_id: int) -> models.NotificationTarget:
    row = session.get(models.NotificationTarget, target_id)
    if row is None:
        raise TargetError("This target is gone: somebody else removed it.")
    return row


def _sealed_name(target_id: int) -> str:
    return f"notification:{target_id}"


def _service(vault: Vault, row: models.NotificationTarget) -> str:
    try:
        return service_of(vault.open(_sealed_name(row.id), row.sealed_url))
    except WrongKeyError:
        return "unreadable"


def _record(
    session: Session, here: Installation, action: str, name: str, actor: str, service: str
) -> None:
    shown = {"service": service}
    audit.record(
        session, at=here.now(), actor=actor, action=action, subject=f"notifications to {name}",
        before=shown if action.endswith("remove") else None,
        after=None if action.endswith("remove") else shown,
    )  # fmt: skip


# --- one message --------------------------------------------------------------------------------


def notify_tick(installation: Installation, now: dt.datetime) -> None:
    """Note what is new and tell it; called about once a minute, may take half a minute.

    Never raises: what goes wrong is in the log, and tried again.
    """
    try:
        if _collect(installation, now):
            send_digest(installation, now)
    except SQLAlchemyError as error:
        logger.warning("nothing could be told this time: %s", type(error).__name__)


def _collect(installation: Installation, now: dt.datetime) -> bool:
    """Whether there is anybody to tell. A run in progress is waited for: half of it is no news."""
    settings = installation.settings()
    with installation.reading() as session:
        running = session.scalar(
            sa.select(models.SyncRun.started_at).where(models.SyncRun.state == RunState.RUNNING)
        )
        if running is not None and now - running < _STUCK:
            return False
        anybody = session.scalar(sa.select(models.NotificationTarget.id).limit(1)) is not None
        known = set(session.scalars(sa.select(models.Notice.key)))
        fresh = [d for d in notices.due(session, settings, now) if d.key not in known]
    if fresh:
        with installation.session() as session, session.begin():
            notices.collect(session, settings, now)
    return anybody


def send_digest(installation: Installation, now: dt.datetime) -> bool:
    """Send one message with everything untold; whether it arrived anywhere.

    What arrived at one target counts as told. What arrives nowhere is tried again, ever more
    seldom, for a week.
    """
    settings = installation.settings()
    with installation.session() as session, session.begin():
        rows = list(session.scalars(sa.select(models.NotificationTarget)))
        untold = _untold(session, notices.told_kinds(settings), now)
        if not rows or not untold or not _claim(session, now):
            return False
    results = _sent(installation, rows, *digest(untold))
    arrived = any(result.sent for result in results)
    with installation.session() as session, session.begin():
        _note(session, rows, results, now)
        if arrived:
            _mark_told(session, [notice.id for notice in untold], now)
        _release(session, now, arrived=arrived)
    return arrived


def _untold(session: Session, kinds: frozenset[str], now: dt.datetime) -> list[models.Notice]:
    notice = models.Notice
    return list(
        session.scalars(
            sa.select(notice)
            .where(
                notice.sent_at.is_(None),
                notice.at > now - notices.NEWS_FOR,
                notice.kind.in_(kinds),
            )
            .order_by(notice.id)
        )
    )


def _claim(session: Session, now: dt.datetime) -> bool:
    """Whether this process may send now: the one whose UPDATE hits the row."""
    if session.get(models.Marker, MARKER) is None:
        try:
            with session.begin_nested():
                session.add(models.Marker(name=MARKER, number=0, at=now))
        except IntegrityError:
            return False
    claimed = session.execute(
        sa.update(models.Marker)
        # A clock that was ahead may have left an instant that nobody waits for.
        .where(models.Marker.name == MARKER, ~models.Marker.at.between(now + _MOMENT, now + _MOST))
        .values(at=now + LEASE)
        .execution_options(synchronize_session=False)
    )
    return bool(getattr(claimed, "rowcount", 0) == 1)


def _release(session: Session, now: dt.datetime, *, arrived: bool) -> None:
    marker = session.get_one(models.Marker, MARKER)
    marker.number = 0 if arrived else marker.number + 1
    wait = dt.timedelta(minutes=min(2 ** (marker.number - 1), 60)) if marker.number else None
    marker.at = now + min(wait, LONGEST_WAIT) if wait else now


def _mark_told(session: Session, ids: Sequence[int], now: dt.datetime) -> None:
    for start in range(0, len(ids), 500):  # databases limit the values of one statement
        session.execute(
            sa.update(models.Notice)
            .where(models.Notice.id.in_(ids[start : start + 500]))
            .values(sent_at=now)
        )


def _sent(
    installation: Installation,
    rows: Sequence[models.NotificationTarget],
    title: str,
    body: str,
    patience: float | None = None,
) -> list[Result]:
    """Deliver to those whose address can be read with the present key."""
    urls: dict[int, str] = {}
    for row in rows:
        try:
            urls[row.id] = installation.vault.open(_sealed_name(row.id), row.sealed_url)
        except WrongKeyError:
            continue
    limit = {} if patience is None else {"patience": patience}
    allowed = installation.config.allowed_notification_hosts
    found = deliver(list(urls.values()), title, body, allowed=allowed, **limit) if urls else []
    by_id = dict(zip(urls, found, strict=True))
    return [by_id.get(row.id, _UNREADABLE) for row in rows]


_UNREADABLE = Result(
    sent=False,
    problem="The stored address cannot be read with the present key. Remove it and add it again.",
)


def _note(
    session: Session,
    rows: Sequence[models.NotificationTarget],
    results: Sequence[Result],
    now: dt.datetime,
) -> None:
    """What came of it stands on the target; one that was removed meanwhile is let go."""
    for row, result in zip(rows, results, strict=True):
        values = {"last_error": result.problem or None}
        if result.sent:
            values |= {"last_sent_at": now}  # type: ignore[dict-item]
        target = models.NotificationTarget
        session.execute(sa.update(target).where(target.id == row.id).values(**values))
        if not result.sent:
            logger.warning("a notification did not arrive", extra={"target": row.name})


def digest(untold: Sequence[models.Notice]) -> tuple[str, str]:
    """Title and text of one message: names and numbers, grouped, never endless."""
    count = len(untold)
    parts = []
    for kind, rows in notices.grouped(untold).items():
        lines = [f"- {row.message}" for row in rows[:PER_KIND]]
        more = len(rows) - PER_KIND
        lines += [f"- and {more} more"] if more > 0 else []
        parts.append("\n".join([notices.KINDS[kind].title, *lines]))
    title = f"Tallybridge: {count} {'thing' if count == 1 else 'things'} to look at"
    return title, "\n\n".join(parts)


def undelivered(session: Session, now: dt.datetime) -> int:
    """How many notices nobody could be told of for more than an hour."""
    notice = models.Notice
    return (
        session.scalar(
            sa.select(sa.func.count())
            .select_from(notice)
            .where(notice.sent_at.is_(None), notice.at < now - dt.timedelta(hours=1))
        )
        or 0
    )
