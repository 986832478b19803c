"""The settings that decide what a plan contains, and what of it is held."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class UsageEnded(StrEnum):
    """What to do when a pair that we manage has no line in a complete report."""

    HOLD = "hold"
    ZERO = "zero"
    CANCEL = "cancel"


class MissingMapping(StrEnum):
    """What to do when a Sophos product with sync on, but without a mapping, has usage."""

    DEFAULT_PRODUCT = "default_product"
    HOLD = "hold"


class EffectiveDate(StrEnum):
    """The first billed day of an addition that we create."""

    FIRST_OF_MONTH = "first_of_month"
    TODAY = "today"


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decide what a plan contains and what of it is held.

    Percentages are of the quantity before, the tenants of the last report, or the additions that
    we manage. A limit of None switches that guard rail off.
    """

    usage_ended: UsageEnded = UsageEnded.HOLD
    missing_mapping: MissingMapping = MissingMapping.DEFAULT_PRODUCT
    effective_date: EffectiveDate = EffectiveDate.FIRST_OF_MONTH
    default_identifier: str = "Sophos_{code}"
    decrease_percent: Decimal | None = Decimal(30)
    decrease_at_least: Decimal = Decimal(5)
    hold_drop_to_zero: bool = True
    price_effect_limit: Decimal | None = Decimal(5000)
    decreasing_share_percent: Decimal | None = Decimal(20)
    missing_tenants_percent: Decimal | None = Decimal(10)
