"""The audit as a page shows it: filtered, the newest first, with what differs."""

from __future__ import annotations

import datetime as dt
import json
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.paging import Page, window

EVENTS_A_PAGE = 50

ACTIONS: Mapping[str, str] = {
    "sync.create": "made an addition",
    "sync.update": "changed a quantity",
    "sync.cancel": "cancelled an addition",
    "sync.adopt": "adopted an addition",
    "sync.create_product": "made a product",
    "change.approve": "approved a held change",
    "change.dismiss": "dismissed a held change",
    "config.import": "imported a configuration",
    "connection.change": "changed a connection",
    "user.create": "made a user",
    "user.role": "changed a role",
    "user.password": "set a password",
    "user.delete": "deleted a user",
    "user.second_factor": "changed a second factor",
    "user.sign_in": "signed in",
    "sign_in.locked": "stopped guesses",
    "user.sessions": "signed out elsewhere",
    "customer.map": "mapped a customer",
    "customer.sync": "switched a customer's sync",
    "product.change": "mapped or switched a product",
    "catalog_item.create": "added a product to PSA",
    "catalog_item.change": "edited a product in PSA",
    "serial.assign": "assigned a serial number",
    "directory.refresh": "refreshed customer details",
    "settings.change": "changed settings",
    "setup.finish": "ended the set-up",
    "notification.add": "added a notification target",
    "notification.remove": "removed a notification target",
    "backup.restore": "put a backup back",
    "keys.rotate": "encrypted secrets anew",
    "keys.forget": "removed secrets that no key opens",
    "user.shut_out": "ended all access of a user",
    "token.create": "made an API token",
    "token.revoke": "revoked an API token",
}
"""What was done, in words. Actions that are not named here are shown as they are."""


@dataclass(frozen=True, slots=True)
class AuditFilters:
    """What is looked at. Days are calendar days of the billing time zone, both included."""

    actor: str = ""
    action: str = ""
    subject: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    run_id: int | None = None

    @property
    def any(self) -> bool:
        """Whether something is left out."""
        return self != AuditFilters()


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of an event, before and after; None where there was none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An event with what it changed."""

    event: models.AuditEvent

    @property
    def what(self) -> str:
        """What was done, in words."""
        return ACTIONS.get(self.event.action, self.event.action)

    @property
    def why(self) -> str | None:
        """The reason that was recorded with it."""
        reason = (self.event.after or {}).get("why")
        return str(reason) if reason else None

    @property
    def differences(self) -> list[Difference]:
        """Every value that differs."""
        before, after = self.event.before or {}, self.event.after or {}
        names = [name for name in dict.fromkeys([*before, *after]) if name != "why"]
        return [
            Difference(name.replace("_", " "), _shown(before, name), _shown(after, name))
            for name in names
            if before.get(name) != after.get(name)
        ]


def audit_page(
    session: Session, filters: AuditFilters, *, timezone: str, page: int
) -> Page[AuditLine]:
    """One page of events, the newest first."""
    wanted = filtered_events(filters, timezone=timezone)
    total = session.scalar(sa.select(sa.func.count()).select_from(wanted.subquery())) or 0
    number, offset = window(page, size=EVENTS_A_PAGE, total=total)
    events = session.scalars(wanted.limit(EVENTS_A_PAGE).offset(offset))
    return Page([AuditLine(event) for event in events], number, EVENTS_A_PAGE, total)


def filtered_events(filters: AuditFilters, *, timezone: str) -> sa.Select[models.AuditEvent]:
    """The events that are looked at, the newest first."""
    event, zone = models.AuditEvent, zoneinfo.ZoneInfo(timezone)
    query = sa.select(event).order_by(event.id.desc())
    if filters.actor:
        query = query.where(event.actor == filters.actor)
    if filters.action:
        query = query.where(event.action == filters.action)
    if filters.subject:
        query = query.where(event.subject.icontains(filters.subject, autoescape=True))
    if filters.run_id:
        query = query.where(event.run_id == filters.run_id)
    if filters.since:
        query = query.where(event.at >= _midnight(filters.since, zone))
    if filters.until:
        query = query.where(event.at < _midnight(filters.until + dt.timedelta(days=1), zone))
    return query


def people_and_actions(session: Session) -> tuple[Sequence[str], Sequence[str]]:
    """Everybody who did something, and everything that was done."""
    actors = session.scalars(sa.select(models.AuditEvent.actor).distinct()).all()
    actions = session.scalars(sa.select(models.AuditEvent.action).distinct()).all()
    return sorted(actors, key=str.casefold), sorted(actions)


def _midnight(day: dt.date, zone: zoneinfo.ZoneInfo) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), zone)


def _shown(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool):
        return "on" if value else "off"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
