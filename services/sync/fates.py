"""What became of the usage that an addition of ours stood for."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from services.sync.desired import DesiredState
from services.sync.model import Situation, Source, Target


class Fate(Enum):
    """The value is how a sentence says it."""

    HERE = "still billed here"
    MOVED = "billed elsewhere now"
    ENDED = "no longer in Sophos' report"
    NOWHERE = "moved to a place that cannot be billed now"
    OFF = "switched off"
    UNMAPPED = "no longer mapped"
    BLOCKED = "not to be written for now"


STUCK = frozenset({Fate.NOWHERE, Fate.OFF, Fate.UNMAPPED, Fate.BLOCKED})
"""Usage that must go on being billed where it is, because it is billed nowhere else."""


def fate_of(
    source: Source,
    place: Target,
    *,
    situation: Situation,
    state: DesiredState,
    billed_at: Target | None,
    unbillable: Iterable[Target],
) -> Fate:
    """The fate of usage that was billed at `place`.

    `billed_at` is the target that asks for it now, and `unbillable` are the targets that cannot
    be written to. What is off or unmapped is never taken for usage that ended.
    """
    if billed_at is not None:
        if billed_at == place:
            return Fate.HERE
        return Fate.NOWHERE if billed_at in unbillable else Fate.MOVED
    tenant = situation.tenants.get(source.tenant_id)
    product = situation.products.get(source.product_key)
    if tenant is None or tenant.agreement_for(source.product_key) is None:
        return Fate.UNMAPPED
    if product is None or not product.sync or not tenant.sync:
        return Fate.OFF
    if source in state.blocked:
        return Fate.BLOCKED
    mapped_now = {change.product_key for change in state.products}
    if product.catalog_item_id is None and source.product_key not in mapped_now:
        return Fate.UNMAPPED
    return Fate.ENDED


def describe(fates: Iterable[Fate]) -> str:
    """Several fates in one phrase."""
    return " or ".join(sorted({fate.value for fate in fates}))
