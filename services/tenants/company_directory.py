"""The local copy of customers, companies and agreements: reading it anew, and looking into it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit
from services.clients.connectwise import Company
from services.clients.errors import VendorError
from services.connections import NotConfiguredError
from services.context import SyncContext
from services.installation import Installation
from services.runs import reports
from services.secrets import WrongKeyError
from services.sync.model import Agreement

SHORTEST_QUERY = 2
MOST_MATCHES = 20
_SILENT = dt.timedelta(minutes=10)
_CLAIM = threading.Lock()


@dataclass(frozen=True, slots=True)
class AgreementChoice:
    """An agreement as it is offered; `unusable` is the sentence why nothing can be billed there."""

    id: int
    name: str
    type_name: str | None
    status: str
    unusable: str | None


# --- looking into the copy ----------------------------------------------------------------------


def search_companies(session: Session, query: str) -> list[models.Company]:
    """Companies that contain the text, best first; none for fewer than two characters.

    Exact, then prefix, then the beginning of a word, then elsewhere. Deleted ones are left out.
    """
    wanted = " ".join(query.split()).casefold()
    if len(wanted) < SHORTEST_QUERY:
        return []
    rows = session.scalars(sa.select(models.Company).where(~models.Company.gone))
    ranked = [(rank, row) for row in rows if (rank := _rank(row, wanted)) is not None]
    ranked.sort(key=lambda each: (each[0], each[1].name.casefold(), each[1].id))
    return [row for _, row in ranked[:MOST_MATCHES]]


def _rank(row: models.Company, wanted: str) -> int | None:
    texts = (row.name.casefold(), row.identifier.casefold())
    if wanted in texts:
        return 0
    if any(text.startswith(wanted) for text in texts):
        return 1
    if any(f" {wanted}" in text for text in texts):
        return 2
    return 3 if any(wanted in text for text in texts) else None


def agreements_of(session: Session, company_id: int, *, today: dt.date) -> list[AgreementChoice]:
    """The agreements of one company, those that can be billed first."""
    rows = session.scalars(
        sa.select(models.Agreement).where(
            models.Agreement.company_id == company_id, ~models.Agreement.gone
        )
    )
    choices = [as_choice(row, today=today) for row in rows]
    return sorted(choices, key=lambda c: (c.unusable is not None, c.name.casefold(), c.id))


def only_usable(choices: Iterable[AgreementChoice]) -> AgreementChoice | None:
    """The one agreement that can be billed, where there is no choice to make."""
    usable = [choice for choice in choices if choice.unusable is None]
    return usable[0] if len(usable) == 1 else None


def as_choice(row: models.Agreement, *, today: dt.date) -> AgreementChoice:
    """An agreement with the sentence why it cannot be billed, if it cannot."""
    why = "the agreement is gone from ConnectWise" if row.gone else _as_read(row, today)
    status = row.status or ("Cancelled" if row.cancelled else "Active")
    return AgreementChoice(row.id, row.name, row.type_name, status, why)


def _as_read(row: models.Agreement, today: dt.date) -> str | None:
    agreement = Agreement(
        id=row.id,
        name=row.name,
        company_id=row.company_id,
        status=row.status,
        cancelled=row.cancelled,
        end_date=row.end_date,
        no_ending_date=row.no_ending_date,
    )
    return agreement.why_not_writable(today)


# --- reading it anew ----------------------------------------------------------------------------


def latest_refresh(session: Session) -> models.DirectoryRefresh | None:
    """The refresh that was begun last, if there ever was one."""
    newest = models.DirectoryRefresh.id.desc()
    return session.scalar(sa.select(models.DirectoryRefresh).order_by(newest).limit(1))


def is_running(refresh: models.DirectoryRefresh | None, now: dt.datetime) -> bool:
    """Whether a refresh is under way; one that gives no sign of life any more has died."""
    return refresh is not None and refresh.ended_at is None and abs(now - refresh.seen_at) < _SILENT


def start_refresh(installation: Installation, *, actor: str) -> threading.Thread | None:
    """Read customers, companies and agreements in the background; None when that is under way."""
    now = installation.now()
    with _CLAIM, installation.session() as session, session.begin():
        if is_running(latest_refresh(session), now):
            return None
        refresh = models.DirectoryRefresh(
            actor=actor, started_at=now, seen_at=now, stage="Starting"
        )
        session.add(refresh)
        session.flush()
        refresh_id = refresh.id
    thread = threading.Thread(
        target=_run, args=(installation, refresh_id, actor), name="directory", daemon=True
    )
    thread.start()
    return thread


def _run(installation: Installation, refresh_id: int, actor: str) -> None:
    """Carry a refresh out; how it ended always stands on its row."""
    error: str | None = "It was broken off by a fault of ours. Nothing was changed; try again."
    try:
        refresh_now(installation.context(actor=actor, trigger="refresh"), refresh_id)
        error = None
    except (VendorError, NotConfiguredError, WrongKeyError) as problem:
        error = str(problem)
    finally:
        _note(installation, refresh_id, error=error, ended_at=installation.now())


def _note(installation: Installation | SyncContext, refresh_id: int, **values: object) -> None:
    with installation.session() as session, session.begin():
        session.execute(
            sa.update(models.DirectoryRefresh)
            .where(models.DirectoryRefresh.id == refresh_id)
            .values(seen_at=installation.now(), **values)
        )


def refresh_now(context: SyncContext, refresh_id: int) -> None:
    """Read all three lists whole, then keep them in one transaction. Raises VendorError.

    Until the last list is read nothing is changed. What is no longer listed stays, marked as gone,
    so that a mapping to it can say so.
    """
    stages = ("customers from Sophos", "companies from ConnectWise", "agreements from ConnectWise")

    def tell(done: int) -> None:
        stage = f"Reading {stages[done]}" if done < len(stages) else "Saving"
        _note(context, refresh_id, stage=stage, done=done, total=len(stages))

    tell(0)
    tenants = context.sophos.tenants()
    tell(1)
    companies = [c for c in context.connectwise.companies() if not c.deleted]
    tell(2)
    agreements = context.connectwise.agreements()
    tell(3)
    with context.session() as session, session.begin():
        reports.register_tenants(session, tenants, now=context.now())
        store_companies(session, companies)
        store_agreements(session, agreements)
        _audit(session, context, (len(tenants), len(companies), len(agreements)))


def store_companies(session: Session, companies: Collection[Company]) -> None:
    """Keep these as all companies there are."""
    known = {row.id: row for row in session.scalars(sa.select(models.Company))}
    for company in companies:
        row = known.pop(company.id, None)
        if row is None:
            row = models.Company(id=company.id)
            session.add(row)
        row.identifier, row.name, row.status = company.identifier, company.name, company.status
        row.gone = company.deleted
    for row in known.values():
        row.gone = True


def store_agreements(session: Session, agreements: Collection[Agreement]) -> None:
    """Keep these as all agreements there are."""
    known = {row.id: row for row in session.scalars(sa.select(models.Agreement))}
    for agreement in agreements:
        row = known.pop(agreement.id, None)
        if row is None:
            row = models.Agreement(id=agreement.id)
            session.add(row)
        row.company_id, row.name = agreement.company_id, agreement.name
        row.type_name, row.status = agreement.type_name, agreement.status
        row.cancelled, row.end_date = agreement.cancelled, agreement.end_date
        row.no_ending_date, row.gone = agreement.no_ending_date, False
    for row in known.values():
        row.gone = True


def _audit(session: Session, context: SyncContext, counts: tuple[int, int, int]) -> None:
    audit.record(
        session,
        at=context.now(),
        actor=context.actor,
        action="directory.refresh",
        subject="customers, companies and agreements",
        after=dict(zip(("customers", "companies", "agreements"), counts, strict=True)),
    )
