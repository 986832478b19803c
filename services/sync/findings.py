"""What a person must look at: the findings of usage, mappings and catalog, in their words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from services.sync.model import (
    Addition,
    CatalogItem,
    Desired,
    Finding,
    FindingKind,
    ProductMapping,
    Situation,
    UsageLine,
    UsageRecord,
)
from services.sync.words import number, seats

TOO_FINE = "its quantity in ConnectWise has more than six decimal places"


def item_findings(product: ProductMapping, item: CatalogItem | None) -> list[Finding]:
    """What is wrong with the catalog item of a mapped product, if anything."""
    if item is None:
        problem = "its ConnectWise product no longer exists; nothing was written for it"
    elif item.is_bundle:
        problem = f"{item.identifier} is a bundle, and bundles cannot be agreement additions"
    elif item.inactive:
        problem = f"{item.identifier} is inactive in ConnectWise; no new additions are made with it"
    else:
        return []
    return [
        Finding(
            FindingKind.CATALOG_ITEM_UNUSABLE,
            product.product_key,
            f"{product.product_name} ({product.product_key}): {problem}.",
            "Map the Sophos product to an active ConnectWise product, or clear its mapping.",
        )
    ]


def unmapped_product(product: ProductMapping, quantity: Decimal) -> Finding:
    """Sync is on and there is usage, but the rules say to ask rather than make a product."""
    return Finding(
        FindingKind.UNMAPPED_PRODUCT,
        product.product_key,
        f"{product.product_name} ({product.product_key}) has sync on and usage of "
        f"{seats(quantity)}, but no ConnectWise product; it was not billed.",
        "Map it to a ConnectWise product, or let a default product be made in the settings.",
    )


def conflict(product: ProductMapping, identifier: str, problem: str) -> Finding:
    """Why a default product cannot be made."""
    return Finding(
        FindingKind.DEFAULT_PRODUCT_CONFLICT,
        product.product_key,
        f"No default product was made for {product.product_name} ({product.product_key}): its "
        f"identifier would be {identifier}, but {problem}.",
        "Map the Sophos product by hand, or change the identifier template in the settings.",
    )


def price_missing(product: ProductMapping, identifier: str) -> Finding:
    """A default product is made without a price: a person has to set it in ConnectWise."""
    return Finding(
        FindingKind.PRICE_MISSING,
        product.product_key,
        f"{identifier}, the default product of {product.product_name} ({product.product_key}), "
        "has no price; its additions are billed at 0 until it has one.",
        "Set its price in ConnectWise, and the unit price of the additions made so far.",
    )


def unassigned_findings(lines: Iterable[UsageLine]) -> Iterator[Finding]:
    """Lines that belong to no tenant, one finding per device and product."""
    by_device: defaultdict[tuple[str, str], list[UsageLine]] = defaultdict(list)
    for line in lines:
        by_device[(line.serial or line.order or "without serial number", line.product_key)].append(
            line
        )
    for (device, product_key), parts in by_device.items():
        quantity = sum((line.quantity for line in parts), Decimal(0))
        product = min(line.product_name for line in parts)
        names = sorted({line.account_name for line in parts if line.account_name})
        guess = f" Sophos calls the customer {names[0]}." if names else ""
        yield Finding(
            FindingKind.UNASSIGNED_LINE,
            device,
            f"{number(quantity)} x {product} ({product_key}) on {device} belongs to no customer; "
            f"it was not billed.{guess}",
            "Assign the serial number to a customer; the choice is remembered.",
        )


def unmapped_tenants(records: Iterable[UsageRecord], situation: Situation) -> Iterator[Finding]:
    """Tenants with usage for which no agreement is known, of products that are not switched off."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    names: dict[str, str] = {}
    for record in records:
        tenant = situation.tenants.get(record.tenant_id)
        product = situation.products.get(record.product_key)
        if product is not None and not product.sync:
            continue
        if tenant is None or tenant.agreement_for(record.product_key) is None:
            totals[record.tenant_id] += record.quantity
            name = tenant.tenant_name if tenant else record.lines[0].account_name
            names[record.tenant_id] = name or record.tenant_id
    for tenant_id, quantity in totals.items():
        yield Finding(
            FindingKind.UNMAPPED_TENANT,
            tenant_id,
            f"{names[tenant_id]} used {seats(quantity)}, but has no ConnectWise agreement; "
            "they were not billed.",
            "Choose its company and agreement on the Customers page, then switch its sync on.",
        )


def new_products(records: Iterable[UsageRecord], situation: Situation) -> Iterator[Finding]:
    """Sophos products with usage that nobody has decided about yet: sync off and unmapped."""
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    tenants: defaultdict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    for record in records:
        product = situation.products.get(record.product_key)
        if product is None or (not product.sync and product.catalog_item_id is None):
            totals[record.product_key] += record.quantity
            tenants[record.product_key].add(record.tenant_id)
            names[record.product_key] = (
                product.product_name if product else record.lines[0].product_name
            )
    for key, quantity in totals.items():
        count = len(tenants[key])
        yield Finding(
            FindingKind.NEW_PRODUCT,
            key,
            f"{names[key]} ({key}) has usage of {seats(quantity)} at "
            f"{count} customer{'' if count == 1 else 's'}, but its sync is off and it is not "
            "mapped; it was not billed.",
            "Map it to a ConnectWise product and switch its sync on.",
        )


def negative_finding(record: UsageRecord, situation: Situation) -> Finding:
    """Usage below zero: never written."""
    name = situation.tenants[record.tenant_id].tenant_name
    return Finding(
        FindingKind.NEGATIVE_USAGE,
        record.tenant_id,
        f"{name}: Sophos reports {number(record.quantity)} for {record.product_key}, which is "
        "below zero; nothing was written for it.",
        "Look at the credit lines of this month's Sophos report and correct the addition by hand.",
    )


def unwritable(addition: Addition, why: str) -> Finding:
    """An addition of ours on an agreement to which nothing may be written."""
    return Finding(
        FindingKind.AGREEMENT_UNUSABLE,
        f"addition {addition.id}",
        f"Addition {addition.id} on agreement {addition.agreement_id} stays at "
        f"{number(addition.quantity)}: {why}.",
        "End the addition in ConnectWise if it should not be billed any more.",
    )


def ambiguous(
    desired: Desired, there: Sequence[Addition], item: CatalogItem | None, name: str
) -> Finding:
    """Several open additions where usage asks for one: nobody can say which one is meant."""
    return Finding(
        FindingKind.AMBIGUOUS_ADDITION,
        desired.records[0].tenant_id,
        f"{name}: agreement {desired.target.agreement_id} has {len(there)} open additions of "
        f"{item.identifier if item else desired.target.item} "
        f"({', '.join(str(a.id) for a in there)}); usage asks for "
        f"{number(desired.quantity)}, and none of them was touched.",
        "Cancel all but one of them in ConnectWise; the next run then goes on.",
    )


def too_fine(
    desired: Desired, there: Sequence[Addition], item: CatalogItem | None, name: str
) -> Finding:
    """One open addition whose quantity we could not keep, and so not put back, as it is."""
    return Finding(
        FindingKind.AMBIGUOUS_ADDITION,
        desired.records[0].tenant_id,
        f"{name}: addition {there[0].id} of {item.identifier if item else desired.target.item} on "
        f"agreement {desired.target.agreement_id} says {number(there[0].quantity)}, which has more "
        f"than six decimal places; usage asks for {number(desired.quantity)}, and it was not "
        "touched.",
        "Give it a quantity of at most six places in ConnectWise; the next run then goes on.",
    )
