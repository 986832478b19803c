"""A checksum of a plan: what is applied is what was shown."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal

from services.sync.model import Change
from services.sync.words import number


def fingerprint(changes: Iterable[Change]) -> str:
    """The checksum of everything that the changes would write, whatever their order."""
    rows = sorted(
        [
            c.kind.value,
            c.agreement_id,
            str(c.item),
            c.addition_id,
            _text(c.before),
            _text(c.after),
            _text(c.effective_date),
            _text(c.cancelled_date),
            c.sets_quantity,
            c.product_key or "",
        ]
        for c in changes
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _text(value: Decimal | dt.date | None) -> str | None:
    if value is None:
        return None
    return number(value) if isinstance(value, Decimal) else value.isoformat()
