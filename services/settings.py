"""The settings that people change in the app (or import): typed, checked, with defaults."""

from __future__ import annotations

import datetime as dt
import reprlib
import zoneinfo
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

import models
from services.plain_words import plain_reason
from services.sync.rules import EffectiveDate, MissingMapping, Rules, UsageEnded


class SettingsError(ValueError):
    """A setting is wrong; `name` is its name and the message says why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.reason = message


def _timezone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{reprlib.repr(name)} is not a time zone; write it like Europe/Berlin"
        ) from None
    return name


def _with_code(template: str) -> str:
    if "{code}" not in template:
        raise ValueError("it must contain {code}, which stands for the Sophos product code")
    return template


Percent = Annotated[Decimal, Field(ge=0, le=100)]
Amount = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardRails(_Part):
    """When a change is held for a person. None switches a rail off."""

    decrease_percent: Percent | None = Decimal(30)
    decrease_at_least: Amount = Decimal(5)
    drop_to_zero: bool = True
    price_effect: Amount | None = Decimal(5000)
    decreasing_share_percent: Percent | None = Decimal(20)
    missing_customers_percent: Percent | None = Decimal(10)


def rails_off(rails: GuardRails) -> int:
    """How many guard rails hold nothing."""
    limits = (
        rails.decrease_percent,
        rails.price_effect,
        rails.decreasing_share_percent,
        rails.missing_customers_percent,
    )
    return limits.count(None) + (not rails.drop_to_zero)


class DefaultProduct(_Part):
    """What a product gets that the sync makes, by ConnectWise's own names.

    What is left open follows the mapped Sophos products, else ConnectWise's own defaults.
    """

    identifier: Annotated[str, Field(min_length=6, max_length=60), AfterValidator(_with_code)] = (
        "Sophos_{code}"
    )
    category: str | None = None
    subcategory: str | None = None
    type: str | None = None
    product_class: Literal["Agreement", "Inventory", "NonInventory", "Service"] | None = None
    unit: str | None = None
    taxable: bool | None = None


class Schedule(_Part):
    """When a sync run starts by itself; `time` is in the billing time zone.

    `invoice`: looked at once a day, a run when Sophos' report is new or changed. `day` counts for
    `monthly` only.
    """

    when: Literal["by_hand", "invoice", "monthly", "daily"] = "invoice"
    day: Annotated[int, Field(ge=1, le=28)] = 1
    time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "06:00"


class Notifications(_Part):
    """What people are told. Without hours, a good run is missed as the schedule lets expect it."""

    run_failed: bool = True
    held: bool = True
    unmapped: bool = True
    no_good_run: bool = True
    credential: bool = True
    backup: bool = True
    lockouts: bool = True
    no_good_run_hours: Annotated[int, Field(ge=1, le=24 * 62)] | None = None
    sophos_credential_expires: dt.date | None = None


class Retention(_Part):
    """For how many months old details are kept; None keeps them for ever.

    `runs_months`: the changes and findings of sync runs. `usage_months`: the lines of Sophos'
    reports, counted in months that were read. The audit and the runs themselves always stay.
    """

    runs_months: Annotated[int, Field(ge=3, le=240)] | None = 24
    usage_months: Annotated[int, Field(ge=13, le=240)] | None = 24


class Backups(_Part):
    """The automatic backup once a day, and how many of these are kept."""

    daily: bool = True
    keep: Annotated[int, Field(ge=1, le=365)] = 14


class AppSettings(_Part):
    """All settings with their defaults."""

    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"
    read_only: bool = False
    usage_ended: UsageEnded = UsageEnded.HOLD
    missing_mapping: MissingMapping = MissingMapping.DEFAULT_PRODUCT
    effective_date: EffectiveDate = EffectiveDate.FIRST_OF_MONTH
    new_products_sync: bool = False
    guard_rails: GuardRails = GuardRails()
    default_product: DefaultProduct = DefaultProduct()
    schedule: Schedule = Schedule()
    notifications: Notifications = Notifications()
    retention: Retention = Retention()
    backups: Backups = Backups()

    @property
    def rules(self) -> Rules:
        """The part of the settings that decides plans."""
        rails = self.guard_rails
        return Rules(
            usage_ended=self.usage_ended,
            missing_mapping=self.missing_mapping,
            effective_date=self.effective_date,
            default_identifier=self.default_product.identifier,
            decrease_percent=rails.decrease_percent,
            decrease_at_least=rails.decrease_at_least,
            hold_drop_to_zero=rails.drop_to_zero,
            price_effect_limit=rails.price_effect,
            decreasing_share_percent=rails.decreasing_share_percent,
            missing_tenants_percent=rails.missing_customers_percent,
        )

    def today(self, now: dt.datetime) -> dt.date:
        """The calendar day in the billing time zone."""
        return now.astimezone(zoneinfo.ZoneInfo(self.timezone)).date()


def load_settings(session: Session, locked: Mapping[str, Any] | None = None) -> AppSettings:
    """The settings in force: what was stored, under what the environment has `locked`."""
    stored = {row.name: row.value["value"] for row in session.scalars(select(models.Setting))}
    return AppSettings.model_validate({**stored, **(locked or {})})


def check_settings(values: Mapping[str, Any], current: AppSettings) -> AppSettings:
    """`current` with `values` put over it; a part like `guard_rails` may be given in part.

    Raises SettingsError for an unknown name or a wrong value.
    """
    merged = current.model_dump(mode="json")
    for name, value in values.items():
        part = merged.get(name)
        merged[name] = {**part, **value} if isinstance(part, dict) and _is_map(value) else value
    try:
        return AppSettings.model_validate(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        message = "there is no such setting" if unknown else plain_reason(first)
        raise SettingsError(where, message) from None


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


def store_settings(session: Session, settings: AppSettings) -> None:
    """Keep what differs from the defaults."""
    defaults = AppSettings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    for name, value in values.items():
        row = session.get(models.Setting, name)
        if value == defaults[name]:
            if row is not None:
                session.delete(row)
        elif row is None:
            session.add(models.Setting(name=name, value={"value": value}))
        else:
            row.value = {"value": value}
