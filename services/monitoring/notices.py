"""What people are to be told, derived from the database; each thing once.

Nothing here sends. A notice has a key that names the thing, so deriving again adds nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState, SlotState
from services.clients.errors import clean_text
from services.people.sign_in_events import LOCKED, Way
from services.scheduling.schedule import instant_in_words
from services.settings import AppSettings
from services.sync.words import seats
from services.tenants.tenant_status import last_planned_run
from services.upkeep.housekeeping import backup_state

CREDENTIAL_MONTHS = 36
"""Sophos' credentials expire so many months after they were made."""
WARN_DAYS = (7, 30, 60)
_HOURS = {"daily": 36, "invoice": 36, "monthly": 33 * 24}
_NAME_LENGTH = 80
MANY_LOCKOUTS = 3
"""So many in a day are worth telling: one is somebody who forgot a password."""
LOCKOUTS_FOR = dt.timedelta(days=2)
NEWS_FOR = dt.timedelta(days=7)
"""What is older is told to nobody any more; it stays on the overview."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of notice: the heading in a message, and the setting that switches it off."""

    title: str
    setting: str


KINDS = {
    "run_failed": Kind("Runs that failed", "run_failed"),
    "held": Kind("Changes that wait for you", "held"),
    "unmapped_product": Kind("Products that are not billed", "unmapped"),
    "unmapped_customer": Kind("Customers that are not billed", "unmapped"),
    "no_good_run": Kind("No good run for long", "no_good_run"),
    "credential": Kind("The Sophos credential", "credential"),
    "backup": Kind("The daily backup", "backup"),
    "lockout": Kind("Sign-ins that were stopped", "lockouts"),
}


@dataclass(frozen=True, slots=True)
class Due:
    """A thing to tell. The message holds names and numbers, never a vendor's own words."""

    kind: str
    key: str
    message: str
    run_id: int | None = None


def told_kinds(settings: AppSettings) -> frozenset[str]:
    """The kinds that are switched on."""
    on = settings.notifications
    return frozenset(name for name, kind in KINDS.items() if getattr(on, kind.setting))


def collect(session: Session, settings: AppSettings, now: dt.datetime) -> int:
    """Keep a notice for everything that is new; returns how many. Within the caller's transaction.

    Without a target there is nobody to tell, and nothing is kept. Of the runs before the first
    target was added none is told; what is not mapped then comes in one message.
    """
    fresh = due(session, settings, now)
    known = set(session.scalars(sa.select(models.Notice.key)))
    added = 0
    for each in fresh:
        if each.key not in known:
            added += _keep(session, each, now)
    return added


def due(session: Session, settings: AppSettings, now: dt.datetime) -> list[Due]:
    """Everything worth telling as things stand now, told already or not."""
    since = session.scalar(sa.select(sa.func.min(models.NotificationTarget.created_at)))
    if since is None:
        return []
    found = [
        *_failed_runs(session, max(since, now - NEWS_FOR)),
        *_failed_slots(session, settings, max(since, now - NEWS_FOR)),
        *_held(session),
        *_unmapped(session),
        *_no_good_run(session, settings, since, now),
        *_credential(session, settings, now),
        *_backup(session, settings, max(since, now - NEWS_FOR)),
        *_lockouts(session, settings, max(since, now - LOCKOUTS_FOR)),
    ]
    on = told_kinds(settings)
    return [each for each in found if each.kind in on]


def _keep(session: Session, each: Due, now: dt.datetime) -> int:
    """Another process may keep the same at the same moment; then it is that one's."""
    try:
        with session.begin_nested():
            session.add(
                models.Notice(
                    at=now, kind=each.kind, key=each.key, message=each.message, run_id=each.run_id
                )
            )
    except IntegrityError:
        return 0
    return 1


def plain(name: str | None) -> str:
    """A vendor's name for a chat: one short line that addresses nobody and forms no mark-up."""
    text = clean_text(name or "", limit=_NAME_LENGTH)
    return text.translate({ord("@"): "(at)", ord("<"): "(", ord(">"): ")", ord("`"): "'"})


# --- runs ---------------------------------------------------------------------------------------


def _failed_runs(session: Session, since: dt.datetime) -> Iterator[Due]:
    run = models.SyncRun
    rows = session.scalars(
        sa.select(run).where(
            run.state.in_([RunState.FAILED, RunState.INTERRUPTED]), run.ended_at >= since
        )
    )
    for row in rows:
        month = f" for {row.month}" if row.month else ""
        what = "was interrupted" if row.state is RunState.INTERRUPTED else "failed"
        text = f"Run {row.id}{month}, started by {plain(row.actor)}, {what}."
        yield Due("run_failed", f"run-failed {row.id}", text, row.id)


def _failed_slots(session: Session, settings: AppSettings, since: dt.datetime) -> Iterator[Due]:
    """Runs of the schedule that failed before there was a run, as when credentials are refused."""
    slot, run = models.ScheduledSlot, models.SyncRun
    told_as_run = run.state.in_([RunState.FAILED, RunState.INTERRUPTED])
    rows = session.scalars(
        sa.select(slot)
        .join(run, run.id == slot.run_id, isouter=True)
        .where(
            slot.state == SlotState.FAILED,
            slot.ended_at >= since,
            sa.or_(run.id.is_(None), ~told_as_run),
        )
    )
    for row in rows:
        due = instant_in_words(row.due_at, settings.timezone)
        text = f"The scheduled run of {due} did not take place; the overview says why."
        yield Due("run_failed", f"slot-failed {row.key}", text)


def _held(session: Session) -> Iterator[Due]:
    """What waits in the newest plan; a later plan in which the same waits is no news."""
    plan = last_planned_run(session)
    if plan is None:
        return
    change = models.Change
    rows = session.execute(
        sa.select(
            change.kind, change.agreement_id, change.catalog_item_id, change.tenant_id, change.after
        ).where(change.run_id == plan.id, change.state == ChangeState.HELD)
    ).all()
    told = sa.select(models.Notice.id).where(
        models.Notice.kind == "held", models.Notice.run_id == plan.id
    )
    if rows and session.scalar(told.limit(1)) is None:
        text = "\n".join(sorted(repr(tuple(map(str, row))) for row in rows))
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        what = "1 change waits" if len(rows) == 1 else f"{len(rows)} changes wait"
        yield Due("held", f"held {digest}", f"Run {plan.id}: {what} for a decision.", plan.id)


def _no_good_run(
    session: Session, settings: AppSettings, since: dt.datetime, now: dt.datetime
) -> Iterator[Due]:
    """A dead man's switch; only for those who expect runs to start by themselves."""
    hours = settings.notifications.no_good_run_hours or _HOURS.get(settings.schedule.when)
    if settings.schedule.when == "by_hand" or hours is None:
        return
    good = _last_good(session, settings, now)
    if now - max(good or since, since) >= dt.timedelta(hours=hours):
        last = f"the last one ended {good:%Y-%m-%d %H:%M} UTC" if good else "there was none yet"
        key = f"no-good-run {good.isoformat() if good else 'ever'}"
        yield Due("no_good_run", key, f"No run has ended well for {hours} hours; {last}.")


def _last_good(session: Session, settings: AppSettings, now: dt.datetime) -> dt.datetime | None:
    """The end of a run that wrote, or of a look that found nothing to do; read-only, of a plan.

    What ended under a clock that was ahead says nothing: it would keep us silent until then.
    """
    by_now = now + dt.timedelta(hours=1)
    run, slot = models.SyncRun, models.ScheduledSlot
    states = [RunState.SUCCEEDED, *([RunState.PLANNED] if settings.read_only else [])]
    ends = (
        session.scalar(
            sa.select(sa.func.max(run.ended_at)).where(
                run.state.in_(states), run.ended_at <= by_now
            )
        ),
        session.scalar(
            sa.select(sa.func.max(slot.ended_at)).where(
                slot.state == SlotState.DONE, slot.ended_at <= by_now
            )
        ),
    )
    return max((end for end in ends if end is not None), default=None)


# --- usage that is not billed -------------------------------------------------------------------


def _unmapped(session: Session) -> Iterator[Due]:
    """Of the newest report: products without a catalog item, customers without an agreement."""
    report, line = models.UsageReport, models.UsageLine
    product, tenant, other = models.ProductMapping, models.TenantMapping, models.ProductAgreement
    newest = (
        sa.select(report.id).order_by(report.month.desc(), report.id.desc()).limit(1)
    ).scalar_subquery()
    quantity = sa.func.sum(line.quantity)
    products = session.execute(
        sa.select(line.product_key, product.product_name, quantity)
        .join(product, product.product_key == line.product_key)
        .where(line.report_id == newest, product.catalog_item_id.is_(None))
        .group_by(line.product_key, product.product_name)
        .having(quantity > Decimal(0))
    )
    for key, name, count in products:
        text = f"{plain(name)} ({plain(key)}): {seats(count)} without a ConnectWise product."
        yield Due("unmapped_product", f"unmapped-product {key}", text)
    elsewhere = sa.exists().where(other.tenant_id == tenant.tenant_id)
    customers = session.execute(
        sa.select(line.tenant_id, tenant.tenant_name, quantity)
        .join(tenant, tenant.tenant_id == line.tenant_id)
        .where(line.report_id == newest, tenant.agreement_id.is_(None), ~elsewhere)
        .group_by(line.tenant_id, tenant.tenant_name)
        .having(quantity > Decimal(0))
    )
    for tenant_id, name, count in customers:
        text = f"{plain(name)}: {seats(count)} without an agreement."
        yield Due("unmapped_customer", f"unmapped-customer {tenant_id}", text)


# --- the credential -----------------------------------------------------------------------------


def _credential(session: Session, settings: AppSettings, now: dt.datetime) -> Iterator[Due]:
    """Told when 60, 30 and 7 days are left, and when none is."""
    day = credential_expires(session, settings)
    left = (day - settings.today(now)).days if day else None
    if day is None or left is None or left > max(WARN_DAYS):
        return
    step = next(days for days in (0, *WARN_DAYS) if left <= days)
    said = f"expires on {day}, in {left} days" if left > 0 else f"expired on {day}"
    text = f"The Sophos credential {said}. Make a new one, enter it, and test the connection."
    yield Due("credential", f"credential-expires {day} {step}", text)


def credential_expires(session: Session, settings: AppSettings) -> dt.date | None:
    """The day that a person entered, else 36 months after the secret was stored here."""
    if settings.notifications.sophos_credential_expires is not None:
        return settings.notifications.sophos_credential_expires
    row = session.get(models.ConnectionValue, "sophos_client_secret")
    return months_later(row.updated_at.date(), CREDENTIAL_MONTHS) if row else None


def months_later(day: dt.date, months: int) -> dt.date:
    """The same day so many months later, or the last one of a shorter month."""
    index = day.year * 12 + day.month - 1 + months
    for last in (day.day, 30, 29, 28):
        try:
            return dt.date(index // 12, index % 12 + 1, min(day.day, last))
        except ValueError:
            continue
    raise ValueError(day)


# --- the backup ---------------------------------------------------------------------------------


def _backup(session: Session, settings: AppSettings, since: dt.datetime) -> Iterator[Due]:
    """That it fails, once for all its tries; and that it works again, to who was told so."""
    found = backup_state(session)
    if found.failed_at is None or not settings.backups.daily:
        return
    good = instant_in_words(found.good_at, settings.timezone) if found.good_at else None
    key = f"backup-failed {found.failed_at.isoformat()}"
    if found.failing:
        began = instant_in_words(found.failed_at, settings.timezone)
        last = f"The last one is of {good}." if good else "There is none yet."
        text = f"The daily backup has failed since {began}. {last} Settings > Backup says why."
        yield Due("backup", key, text)
    elif found.good_at and found.good_at >= since and _was_kept(session, key):
        text = f"The daily backup works again: one was made {good}."
        yield Due("backup", f"backup-mended {found.failed_at.isoformat()}", text)


def _was_kept(session: Session, key: str) -> bool:
    notice = models.Notice
    return session.scalar(sa.select(notice.id).where(notice.key == key)) is not None


# --- guesses ------------------------------------------------------------------------------------


def _lockouts(session: Session, settings: AppSettings, since: dt.datetime) -> Iterator[Due]:
    """A day with several; and whoever gets as far as the codes, which needs the password."""
    event = models.AuditEvent
    rows = session.scalars(sa.select(event).where(event.action == LOCKED, event.at >= since)).all()
    for row in rows:
        if (row.after or {}).get("way") in (Way.CODE, Way.RECOVERY_CODE):
            who = plain(row.subject.removeprefix("user "))
            text = f"Somebody who knows the password of {who} was stopped at the second factor."
            yield Due("lockout", f"lockout {row.id}", f"{text} If it was not {who}, change it.")
    days = Counter(settings.today(row.at) for row in rows)
    for day, count in days.items():
        if count >= MANY_LOCKOUTS:
            text = f"On {day} failed sign-ins were stopped {MANY_LOCKOUTS} times and more."
            yield Due("lockout", f"lockouts {day}", f"{text} The audit says where and whose.")


def grouped(notices: Iterable[models.Notice]) -> dict[str, list[models.Notice]]:
    """By kind, in the order of KINDS."""
    rows = list(notices)
    found = {kind: [row for row in rows if row.kind == kind] for kind in KINDS}
    return {kind: each for kind, each in found.items() if each}
