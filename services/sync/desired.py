"""Usage, mappings and rules -> the additions that usage asks for, and findings for a person."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.sync.findings import (
    conflict as conflict_finding,
)
from services.sync.findings import (
    item_findings,
    negative_finding,
    new_products,
    price_missing,
    unassigned_findings,
    unmapped_product,
    unmapped_tenants,
)
from services.sync.model import (
    CatalogItem,
    Change,
    ChangeKind,
    Desired,
    Finding,
    FindingKind,
    Firewall,
    ItemRef,
    ProductMapping,
    Situation,
    Source,
    Target,
    UsageLine,
    UsageRecord,
)
from services.sync.rules import MissingMapping

IDENTIFIER_LIMIT = 60
"""Older ConnectWise servers take identifiers of at most 60 characters."""
DESCRIPTION_LIMIT = 60


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What usage asks for.

    `products` are the default products to make or to take over first. `blocked` is usage that
    exists although nothing may be written for it; each has a finding that says why.
    """

    desired: Mapping[Target, Desired]
    products: tuple[Change, ...]
    findings: tuple[Finding, ...]
    blocked: frozenset[Source]
    tenants_with_usage: frozenset[str]


def place_lines(
    lines: Iterable[UsageLine],
    firewalls: Iterable[Firewall],
    serial_assignments: Mapping[str, str],
) -> tuple[list[tuple[str, UsageLine]], list[UsageLine]]:
    """Find the tenant of every line: (tenant id, line) pairs, and the lines that have none.

    A line without `accountId` belongs to the tenant that a person chose for its serial number,
    else to the owner of the firewall with that serial number (facts: Sophos, billing usage).
    """
    owners = _owners(firewalls)
    placed: list[tuple[str, UsageLine]] = []
    unassigned: list[UsageLine] = []
    for line in lines:
        chosen = serial_assignments.get(line.serial) if line.serial else None
        known = owners.get(line.serial) if line.serial else None
        tenant_id = line.tenant_id or chosen or known
        if tenant_id:
            placed.append((tenant_id, line))
        else:
            unassigned.append(line)
    return placed, unassigned


def _owners(firewalls: Iterable[Firewall]) -> dict[str, str | None]:
    """The owner of each serial number; one with two different owners has none."""
    claims: defaultdict[str, set[str | None]] = defaultdict(set)
    for firewall in firewalls:
        claims[firewall.serial].add(firewall.owner_id)
    return {serial: min(owners, key=str) for serial, owners in claims.items() if len(owners) == 1}


def sum_usage(placed: Iterable[tuple[str, UsageLine]]) -> list[UsageRecord]:
    """Add up the lines of each tenant and Sophos product, in a stable order."""
    lines_of: defaultdict[Source, list[UsageLine]] = defaultdict(list)
    for tenant_id, line in placed:
        lines_of[Source(tenant_id, line.product_key)].append(line)
    return [
        UsageRecord(
            source.tenant_id,
            source.product_key,
            sum((line.quantity for line in lines), Decimal(0)),
            tuple(sorted(lines, key=_line_order)),
        )
        for source, lines in sorted(lines_of.items())
    ]


def default_identifier(template: str, product_key: str) -> str:
    """The identifier of a default product, never longer than every ConnectWise server takes."""
    identifier = template.replace("{code}", product_key)
    if len(identifier) <= IDENTIFIER_LIMIT:
        return identifier
    digest = hashlib.sha256(identifier.encode()).hexdigest()[:8]
    return f"{identifier[: IDENTIFIER_LIMIT - 9]}-{digest}"


def default_description(product_name: str) -> str:
    """The newest Sophos name, cut at a word to what ConnectWise takes."""
    name = " ".join(product_name.split())
    if len(name) <= DESCRIPTION_LIMIT:
        return name
    head = name[: DESCRIPTION_LIMIT + 1]
    return head.rsplit(" ", 1)[0] if " " in head else head[:DESCRIPTION_LIMIT]


def desired_additions(situation: Situation) -> DesiredState:
    """Decide which additions usage asks for. A pure function; the order of its inputs is nothing.

    Only tenants and Sophos products whose sync is on and that are mapped take part. Usage that
    may not be written for now is returned as `blocked`, so that its additions are left alone.
    """
    placed, unassigned = place_lines(
        situation.usage, situation.firewalls, situation.serial_assignments
    )
    records = sum_usage(placed)
    findings = [*unassigned_findings(unassigned), *unmapped_tenants(records, situation)]
    blocked: set[Source] = set()

    taking_part = list(_taking_part(records, situation))
    usable, agreement_findings = _with_usable_agreement(taking_part, situation)
    findings += agreement_findings
    blocked |= {_source(r) for r, _ in taking_part} - {_source(r) for r, _ in usable}

    items, product_changes, problems = _items_of([r for r, _ in usable], situation)
    findings += [*problems, *new_products(records, situation)]

    targets: defaultdict[Target, list[UsageRecord]] = defaultdict(list)
    for record, agreement_id in usable:
        item = items.get(record.product_key)
        if item is None:
            blocked.add(_source(record))
        else:
            targets[Target(agreement_id, item)].append(record)

    desired: dict[Target, Desired] = {}
    for target, parts in targets.items():
        negative = [r for r in parts if r.quantity < 0]
        if negative:
            findings += [negative_finding(r, situation) for r in negative]
            blocked |= {_source(r) for r in parts}
        else:
            total = sum((r.quantity for r in parts), Decimal(0))
            desired[target] = Desired(target, total, tuple(sorted(parts, key=_source)))
    return DesiredState(
        desired,
        tuple(product_changes),
        tuple(sorted(set(findings))),
        frozenset(blocked),
        frozenset(r.tenant_id for r in records),
    )


# --- records ------------------------------------------------------------------------------------


def _source(record: UsageRecord) -> Source:
    return Source(record.tenant_id, record.product_key)


def _line_order(line: UsageLine) -> tuple[str, ...]:
    return (line.order or "", line.serial or "", str(line.quantity), repr(line))


def _taking_part(
    records: Iterable[UsageRecord], situation: Situation
) -> Iterator[tuple[UsageRecord, int]]:
    """The records to bill, each with the agreement that it is mapped to."""
    for record in records:
        product = situation.products.get(record.product_key)
        tenant = situation.tenants.get(record.tenant_id)
        if product and product.sync and tenant and tenant.sync:
            agreement_id = tenant.agreement_for(record.product_key)
            if agreement_id is not None:
                yield record, agreement_id


# --- agreements ---------------------------------------------------------------------------------


def _with_usable_agreement(
    records: Sequence[tuple[UsageRecord, int]], situation: Situation
) -> tuple[list[tuple[UsageRecord, int]], list[Finding]]:
    """Keep the records whose agreement may be written to; one finding per tenant and agreement."""
    places = {(record.tenant_id, agreement_id) for record, agreement_id in records}
    verdicts = {place: _why_unusable(*place, situation) for place in sorted(places)}
    usable = [(r, a) for r, a in records if verdicts[r.tenant_id, a] is None]
    findings = [
        Finding(
            FindingKind.AGREEMENT_UNUSABLE,
            tenant_id,
            f"{situation.tenants[tenant_id].tenant_name}: {why} (agreement {agreement_id}); "
            "nothing was written for this customer there.",
            "Choose an active agreement of the customer's company on the Customers page.",
        )
        for (tenant_id, agreement_id), why in verdicts.items()
        if why
    ]
    return usable, findings


def _why_unusable(tenant_id: str, agreement_id: int, situation: Situation) -> str | None:
    tenant = situation.tenants[tenant_id]
    agreement = situation.agreements.get(agreement_id)
    if agreement is None:
        return "the agreement does not exist in ConnectWise"
    if tenant.company_id is not None and agreement.company_id != tenant.company_id:
        return "the agreement belongs to another company"
    return agreement.why_not_writable(situation.today)


# --- catalog items ------------------------------------------------------------------------------


def _items_of(
    records: Sequence[UsageRecord], situation: Situation
) -> tuple[dict[str, ItemRef], list[Change], list[Finding]]:
    """The catalog item of every Sophos product that has usage; default products where missing."""
    quantities = _quantities(records)
    products = [situation.products[key] for key in sorted(quantities)]
    items: dict[str, ItemRef] = {}
    findings: list[Finding] = []
    unmapped: list[ProductMapping] = []
    for product in products:
        if product.catalog_item_id is None:
            unmapped.append(product)
            continue
        item = situation.items.get(product.catalog_item_id)
        findings += item_findings(product, item)
        if item is not None and _is_default(item, product, situation) and not item.price:
            findings.append(price_missing(product, item.identifier))
        if item is not None and not item.is_bundle:
            items[product.product_key] = item.id
    used = {record.product_key for record in records if record.quantity > 0}
    unmapped = [p for p in unmapped if p.product_key in used]
    if situation.rules.missing_mapping is MissingMapping.HOLD:
        findings += [unmapped_product(p, quantities[p.product_key]) for p in unmapped]
        return items, [], findings
    changes = []
    for product, identifier, conflict in _default_products(unmapped, situation):
        if conflict:
            findings.append(conflict)
            continue
        change = _product_change(product, identifier, situation)
        items[product.product_key] = change.item
        changes.append(change)
        existing = situation.items.get(change.item) if isinstance(change.item, int) else None
        if existing is None or not existing.price:
            findings.append(price_missing(product, identifier))
    return items, changes, findings


def _quantities(records: Iterable[UsageRecord]) -> defaultdict[str, Decimal]:
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for record in records:
        total[record.product_key] += record.quantity
    return total


def _default_products(
    unmapped: Sequence[ProductMapping], situation: Situation
) -> Iterator[tuple[ProductMapping, str, Finding | None]]:
    """Each unmapped product with the identifier of its default product, or why there is none."""
    named = [
        (p, default_identifier(situation.rules.default_identifier, p.product_key)) for p in unmapped
    ]
    users: defaultdict[str, list[str]] = defaultdict(list)
    for product, identifier in named:
        users[identifier.casefold()].append(product.product_key)
    for product, identifier in named:
        sharing = users[identifier.casefold()]
        existing = _item_named(identifier, situation)
        problem = None
        if len(sharing) > 1:
            problem = f"{', '.join(sharing)} would all get it"
        elif existing is not None and existing.is_bundle:
            problem = "a bundle already has it, and bundles cannot be agreement additions"
        elif existing is not None and existing.inactive:
            problem = "an inactive ConnectWise product already has it"
        yield (
            product,
            identifier,
            conflict_finding(product, identifier, problem) if problem else None,
        )


def _is_default(item: CatalogItem, product: ProductMapping, situation: Situation) -> bool:
    """Whether the item bears the identifier of this product's default product."""
    default = default_identifier(situation.rules.default_identifier, product.product_key)
    return item.identifier.casefold() == default.casefold()


def _item_named(identifier: str, situation: Situation) -> CatalogItem | None:
    wanted = identifier.casefold()
    matches = [i for i in situation.items.values() if i.identifier.casefold() == wanted]
    return min(matches, key=lambda item: item.id, default=None)


def _product_change(product: ProductMapping, identifier: str, situation: Situation) -> Change:
    existing = _item_named(identifier, situation)
    name = f"{product.product_name} ({product.product_key})"
    reason = f"{name} has usage and no mapping: " + (
        "ConnectWise has an active product of that identifier, which it is mapped to"
        if existing
        else "a default product is made and mapped"
    )
    return Change(
        kind=ChangeKind.CREATE_PRODUCT,
        tenant_id=None,
        agreement_id=None,
        item=existing.id if existing else identifier,
        before=None,
        after=None,
        reason=reason,
        product_key=product.product_key,
        product_name=product.product_name,
        identifier=identifier,
    )
