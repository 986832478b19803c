"""Is it healthy, at a glance: connections, runs, what needs attention, quantity by month."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from config import Config
from models import RunState
from services.clients.errors import VendorError
from services.connections import NotConfiguredError, connectwise_client, sophos_client
from services.installation import Installation
from services.secrets import WrongKeyError
from services.sync.model import Month
from services.tenants.company_directory import latest_refresh

MONTHS_SHOWN = 12
_GOOD = (RunState.SUCCEEDED, RunState.PLANNED)


@dataclass(frozen=True, slots=True)
class Connection:
    """One vendor: whether it is configured, and how it was reached last."""

    vendor: str
    configured: bool
    problem: str | None
    """Why it cannot be called: what is not set, or what cannot be read."""
    good_at: dt.datetime | None
    error: str | None
    error_at: dt.datetime | None

    @property
    def healthy(self) -> bool:
        """Whether the last call that we know of was good."""
        return self.configured and self.good_at is not None and self.error is None


def connections(installation: Installation, session: Session) -> list[Connection]:
    """Both vendors, as known from the runs and refreshes; nobody is called."""
    problems = _problems(installation)
    return [_connection(session, vendor, problem) for vendor, problem in problems.items()]


def _problems(installation: Installation) -> dict[str, str | None]:
    try:
        config = installation.effective_config()
    except WrongKeyError as error:
        return {"Sophos": str(error), "ConnectWise": str(error)}
    makers: dict[str, Callable[[Config], object]] = {
        "Sophos": sophos_client,
        "ConnectWise": connectwise_client,
    }
    return {vendor: _why_not(make, config) for vendor, make in makers.items()}


def _why_not(make: Callable[[Config], object], config: Config) -> str | None:
    try:
        make(config)
    except NotConfiguredError:
        return "It cannot be reached yet: a value that this needs is not entered."
    except VendorError as error:
        return str(error)
    return None


def _connection(session: Session, vendor: str, problem: str | None) -> Connection:
    good_at = _last_good(session, vendor)
    error, error_at = _last_error(session, vendor)
    if error_at is not None and good_at is not None and error_at <= good_at:
        error, error_at = None, None
    return Connection(vendor, problem is None, problem, good_at, error, error_at)


def _last_good(session: Session, vendor: str) -> dt.datetime | None:
    """When a vendor is certain to have answered: the end of a run or refresh that went well."""
    run = models.SyncRun
    # Without a report Sophos has answered; ConnectWise was not asked.
    good = (*_GOOD, RunState.NOT_READY) if vendor == "Sophos" else _GOOD
    calls = run.sophos_calls if vendor == "Sophos" else run.connectwise_calls
    ended = session.scalar(
        sa.select(sa.func.max(run.ended_at)).where(run.state.in_(good), calls > 0)
    )
    refresh = models.DirectoryRefresh
    refreshed = session.scalar(
        sa.select(sa.func.max(refresh.ended_at)).where(refresh.error.is_(None))
    )
    return max((at for at in (ended, refreshed) if at is not None), default=None)


def _last_error(session: Session, vendor: str) -> tuple[str | None, dt.datetime | None]:
    """The last failure that names the vendor."""
    run, refresh = models.SyncRun, latest_refresh(session)
    failed = session.scalar(
        sa.select(run)
        .where(run.state == RunState.FAILED, run.message.contains(vendor, autoescape=True))
        .order_by(run.id.desc())
        .limit(1)
    )
    found = [(failed.ended_at, failed.message)] if failed else []
    if refresh and vendor in (refresh.error or ""):
        found.append((refresh.ended_at, refresh.error))
    dated = [(at, message) for at, message in found if at is not None]
    at, message = max(dated, default=(None, None))
    return message, at


# --- quantity by month --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MonthUsage:
    """What Sophos billed in a month, by its newest report."""

    month: str
    quantity: Decimal
    customers: int
    change: Decimal | None
    """Against the month before it, where that was read too."""


def usage_by_month(session: Session) -> list[MonthUsage]:
    """The last months that were read, oldest first."""
    report, line = models.UsageReport, models.UsageLine
    newest = sa.select(sa.func.max(report.id)).group_by(report.month)
    rows = session.execute(
        sa.select(report.month, sa.func.sum(line.quantity), report.id)
        .join(line, line.report_id == report.id, isouter=True)
        .where(report.id.in_(newest))
        .group_by(report.month, report.id)
        .order_by(report.month.desc())
        .limit(MONTHS_SHOWN + 1)
    ).all()
    totals = {month: quantity or Decimal(0) for month, quantity, _ in rows}
    customers = {month: _customers(session, report_id) for month, _, report_id in rows}
    shown = [
        MonthUsage(month, totals[month], customers[month], _change(totals, month))
        for month in sorted(totals)
    ]
    return shown[-MONTHS_SHOWN:]


def _customers(session: Session, report_id: int) -> int:
    line = models.UsageLine
    counted = sa.select(sa.func.count(line.tenant_id.distinct())).where(line.report_id == report_id)
    return session.scalar(counted) or 0


def _change(totals: dict[str, Decimal], month: str) -> Decimal | None:
    before = totals.get(str(Month.parse(month).previous))
    return None if before is None else totals[month] - before


# --- runs -----------------------------------------------------------------------------------------


def last_run(session: Session) -> models.SyncRun | None:
    """The run that was begun last, whatever came of it."""
    return session.scalar(sa.select(models.SyncRun).order_by(models.SyncRun.id.desc()).limit(1))
