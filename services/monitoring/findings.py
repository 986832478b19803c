"""Everything that a person must look at: findings, changes that wait, changes that failed.

Also the choice, once for all, of the customer to whom a device without one belongs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import SERIAL_LENGTH, ChangeState
from services import audit
from services.sync.model import FindingKind
from services.tenants.tenant_mappings import Author, MappingError, NoSuchCustomerError, customer
from services.tenants.tenant_status import last_planned_run

HELD = "held_change"
FAILED = "failed_change"
_ABOUT_PRODUCTS = (FindingKind.NEW_PRODUCT, FindingKind.UNMAPPED_PRODUCT)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of thing to look at: its name, and what it means for the invoice."""

    title: str
    meaning: str
    severe: bool = False


KINDS: Mapping[str, Kind] = {
    FindingKind.REPORT_SHRUNK.value: Kind(
        "Report looks incomplete", "The whole plan is held until you decide.", severe=True
    ),
    FAILED: Kind("Failed changes", "These were not written to ConnectWise.", severe=True),
    FindingKind.AGREEMENT_UNUSABLE.value: Kind(
        "Agreements that cannot be billed", "Usage is not billed there.", severe=True
    ),
    FindingKind.AMBIGUOUS_ADDITION.value: Kind(
        "Several additions for one product", "None of them is changed.", severe=True
    ),
    FindingKind.UNMAPPED_TENANT.value: Kind(
        "Customers without an agreement", "Their usage is not billed.", severe=True
    ),
    FindingKind.UNASSIGNED_LINE.value: Kind(
        "Usage without a customer", "Sophos names only a serial number; it is not billed.", True
    ),
    FindingKind.UNMAPPED_PRODUCT.value: Kind(
        "Products without a ConnectWise product", "Their usage is not billed.", severe=True
    ),
    FindingKind.CATALOG_ITEM_UNUSABLE.value: Kind(
        "ConnectWise products that cannot be used", "No new additions are made with them.", True
    ),
    FindingKind.DEFAULT_PRODUCT_CONFLICT.value: Kind(
        "Default products that cannot be made", "Their usage is not billed.", severe=True
    ),
    FindingKind.NEGATIVE_USAGE.value: Kind(
        "Usage below zero", "Nothing is written for it.", severe=True
    ),
    HELD: Kind("Held changes", "They wait for a person before they are written."),
    FindingKind.NEW_PRODUCT.value: Kind(
        "New Sophos products", "Their sync is off until you switch it on."
    ),
    FindingKind.PRICE_MISSING.value: Kind(
        "Default products without a price", "They are billed at 0."
    ),
    FindingKind.LEFT_ALONE.value: Kind(
        "Additions left alone", "They stay as they are in ConnectWise."
    ),
    FindingKind.SYNC_OFF.value: Kind(
        "Additions whose sync is off", "They stay as they are in ConnectWise."
    ),
}


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """One thing to look at, and what it is about: as far as known, a customer and a product."""

    kind: str
    subject: str
    message: str
    advice: str
    tenant_id: str | None = None
    product_key: str | None = None
    change_id: int | None = None
    run_id: int | None = None
    serial: str | None = None
    hint: str | None = None
    """The customer's name as Sophos wrote it on the line of a device."""
    count: int = 1
    """How many changes it stands for."""
    settled: str | None = None
    """What was done about it since the run; the next one takes it over."""


@dataclass(frozen=True, slots=True)
class Group:
    """The open things of one kind."""

    key: str
    kind: Kind
    findings: tuple[OpenFinding, ...]

    @property
    def open(self) -> int:
        """How many nobody has dealt with yet."""
        return sum(finding.count for finding in self.findings if finding.settled is None)


@dataclass(frozen=True, slots=True)
class OpenFindings:
    """Everything open, by kind, and the run that it is of (None before the first one)."""

    run: models.SyncRun | None
    groups: tuple[Group, ...]

    @property
    def open(self) -> int:
        """How many there are in all."""
        return sum(group.open for group in self.groups)


def open_findings(session: Session) -> OpenFindings:
    """The findings of the newest run that planned, with the changes that wait or failed since."""
    run = last_planned_run(session)
    if run is None:
        return OpenFindings(None, ())
    found = [*_findings(session, run), *_changes(session, run)]
    by_kind: defaultdict[str, list[OpenFinding]] = defaultdict(list)
    for finding in found:
        by_kind[finding.kind].append(finding)
    order = {key: place for place, key in enumerate(KINDS)}
    groups = [
        Group(key, KINDS.get(key, Kind(key.replace("_", " ").capitalize(), "")), tuple(each))
        for key, each in sorted(by_kind.items(), key=lambda item: order.get(item[0], 99))
    ]
    return OpenFindings(run, tuple(groups))


def _findings(session: Session, run: models.SyncRun) -> Iterable[OpenFinding]:
    rows = list(session.scalars(sa.select(models.Finding).where(models.Finding.run_id == run.id)))
    tenants = {t.tenant_id: t for t in session.scalars(sa.select(models.TenantMapping))}
    products = {p.product_key: p for p in session.scalars(sa.select(models.ProductMapping))}
    assigned = _assigned(session)
    hints = _devices(session, run)
    owners = _owners(session)
    for row in rows:
        serial = row.subject if row.kind is FindingKind.UNASSIGNED_LINE else None
        tenant = tenants.get(row.subject) or tenants.get(owners.get(row.subject, ""))
        product = products.get(row.subject)
        yield OpenFinding(
            kind=row.kind.value,
            subject=row.subject,
            message=row.message,
            advice=row.advice,
            tenant_id=tenant.tenant_id if tenant else None,
            product_key=product.product_key if product else None,
            run_id=run.id,
            serial=serial if serial in hints else None,
            hint=hints.get(serial or ""),
            settled=_settled(row, tenant, product, assigned),
        )


def _settled(
    row: models.Finding,
    tenant: models.TenantMapping | None,
    product: models.ProductMapping | None,
    assigned: Mapping[str, str],
) -> str | None:
    """What a person did about a finding since its run, where that shows."""
    if row.kind is FindingKind.UNASSIGNED_LINE and row.subject in assigned:
        return f"Assigned to {assigned[row.subject]}."
    if row.kind is FindingKind.UNMAPPED_TENANT and tenant and tenant.agreement_id:
        return "Mapped." if tenant.sync else "Mapped; its usage sync is still off."
    if row.kind in _ABOUT_PRODUCTS and product and product.catalog_item_id:
        return "Mapped." if product.sync else "Mapped; its sync is still off."
    return None


def _changes(session: Session, run: models.SyncRun) -> Iterable[OpenFinding]:
    """Changes that wait or failed, of this run and of undoings after it."""
    states = (ChangeState.HELD, ChangeState.FAILED, ChangeState.UNCLEAR)
    rows = session.scalars(
        sa.select(models.Change)
        .where(models.Change.run_id >= run.id, models.Change.state.in_(states))
        .order_by(models.Change.id)
    )
    names = {t.tenant_id: t.tenant_name for t in session.scalars(sa.select(models.TenantMapping))}
    places: defaultdict[tuple[str, int, str, str], list[models.Change]] = defaultdict(list)
    for row in rows:
        held = row.state is ChangeState.HELD
        why = (row.held if held else row.error) or "no reason was given"
        places[HELD if held else FAILED, row.run_id, row.tenant_id or "", why].append(row)
    for (kind, run_id, tenant_id, why), parts in places.items():
        yield OpenFinding(
            kind=kind,
            subject=str(parts[0].id),
            message=_told(names.get(tenant_id, ""), kind, parts),
            advice=f"{why[0].upper()}{why[1:]}.".replace("..", "."),
            tenant_id=tenant_id or None,
            change_id=parts[0].id,
            run_id=run_id,
            count=len(parts),
        )


def _told(customer_name: str, kind: str, parts: list[models.Change]) -> str:
    """One sentence for the changes of one customer that wait, or failed, for the same reason."""
    who = f"{customer_name}: " if customer_name else ""
    if len(parts) == 1:
        return f"{who}{parts[0].reason}"
    return f"{who}{len(parts)} changes {'wait' if kind == HELD else 'failed'}"


def _owners(session: Session) -> dict[str, str]:
    """The customer of each addition of ours, by the name that findings give to it."""
    rows = session.scalars(sa.select(models.OwnedAddition))
    return {f"addition {row.addition_id}": row.sources[0][0] for row in rows if row.sources}


def _devices(session: Session, run: models.SyncRun) -> dict[str, str | None]:
    """The serial numbers without a customer in the report of a run, with the name on the line."""
    line = models.UsageLine
    rows = session.execute(
        sa.select(line.serial, line.account_name).where(
            line.report_id == run.report_id, line.tenant_id.is_(None), line.serial.is_not(None)
        )
    )
    return {row.serial: row.account_name for row in rows}


# --- devices ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assignment:
    """A device whose customer a person chose."""

    serial: str
    tenant_id: str
    tenant_name: str


def assignments(session: Session) -> list[Assignment]:
    """Every choice that is remembered."""
    rows = session.execute(
        sa.select(models.SerialAssignment, models.TenantMapping.tenant_name)
        .join(
            models.TenantMapping,
            models.TenantMapping.tenant_id == models.SerialAssignment.tenant_id,
        )
        .order_by(models.SerialAssignment.serial)
    )
    return [Assignment(row.serial, row.tenant_id, name) for row, name in rows]


def assign(session: Session, serial: str, tenant_id: str, author: Author) -> None:
    """Bill a device to a customer from the next run on. Raises MappingError."""
    try:
        tenant = customer(session, tenant_id)
    except NoSuchCustomerError:
        raise MappingError("tenant_id", "Choose a customer. Nothing was saved.") from None
    if not _was_billed(session, serial):
        raise MappingError(
            "serial", f"Sophos has billed no device {serial[:120]}. Nothing was saved."
        )
    if len(serial) > SERIAL_LENGTH:
        raise MappingError(
            "serial",
            f"The serial number {serial[:40]}... is longer than {SERIAL_LENGTH} characters, so it "
            "cannot be assigned here. Nothing was saved; assign the device in Sophos Central.",
        )
    row = session.get(models.SerialAssignment, serial)
    before = {"customer": row.tenant_id} if row else None
    if row is None:
        row = models.SerialAssignment(serial=serial)
        session.add(row)
    row.tenant_id = tenant.tenant_id
    after = {"customer": row.tenant_id, "name": tenant.tenant_name}
    _record(session, serial, author, before, after)


def unassign(session: Session, serial: str, author: Author) -> None:
    """Forget a choice; doing so twice does no harm."""
    row = session.get(models.SerialAssignment, serial)
    if row is not None:
        session.delete(row)
        _record(session, serial, author, {"customer": row.tenant_id}, None)


def _was_billed(session: Session, serial: str) -> bool:
    lines = sa.select(models.UsageLine.id).where(models.UsageLine.serial == serial).limit(1)
    return session.scalar(lines) is not None


def _assigned(session: Session) -> dict[str, str]:
    return {each.serial: each.tenant_name for each in assignments(session)}


def _record(
    session: Session,
    serial: str,
    author: Author,
    before: Mapping[str, object] | None,
    after: Mapping[str, object] | None,
) -> None:
    audit.record(
        session,
        at=author.at,
        actor=author.actor,
        action="serial.assign",
        subject=f"serial {serial}",
        before=before,
        after=after,
    )
