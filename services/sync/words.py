"""Numbers as a person writes them, for the sentences of plans and findings."""

from __future__ import annotations

from decimal import Decimal


def number(value: Decimal | None) -> str:
    """A quantity without needless zeros: 12, 2.5; nothing for None."""
    if value is None:
        return "nothing"
    text = format(value.normalize(), "f")
    return "0" if text == "-0" else text


def seats(quantity: Decimal) -> str:
    """A quantity with its unit."""
    return f"{number(quantity)} seat{'' if quantity == 1 else 's'}"
