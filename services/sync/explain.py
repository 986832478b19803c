"""Why a number is what it is, in one sentence, down to the Sophos lines that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from services.sync.model import Source, UsageRecord
from services.sync.words import number

NameOf = Callable[[str], str]
_SHOWN = 4


def explain_quantity(records: Sequence[UsageRecord], name_of: NameOf) -> str:
    """For example `CIXA-MSP 40 + CIXAXDR 7 (3 lines)`; tenants are named when there are several."""
    several = len({r.tenant_id for r in records}) > 1
    parts = [
        f"{name_of(r.tenant_id) + ' ' if several else ''}{r.product_key} {number(r.quantity)}"
        for r in records
    ]
    lines = sum(len(r.lines) for r in records)
    return f"Sophos: {_shortened(parts, ' + ')} ({lines} line{'' if lines == 1 else 's'})"


def list_sources(sources: Iterable[Source], name_of: NameOf) -> str:
    """For example `CIXA-MSP of Acme Ltd, CIXAXDR of Acme Ltd`."""
    return _shortened([f"{s.product_key} of {name_of(s.tenant_id)}" for s in sources], ", ")


def _shortened(parts: Sequence[str], joint: str) -> str:
    if len(parts) <= _SHOWN:
        return joint.join(parts)
    return f"{joint.join(parts[:_SHOWN])}{joint}{len(parts) - _SHOWN} more"
