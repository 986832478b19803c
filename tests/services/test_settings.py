"""Settings: typed, checked, kept only where they differ from the defaults."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.settings import (
    AppSettings,
    SettingsError,
    check_settings,
    load_settings,
    store_settings,
)
from services.sync.rules import Rules, UsageEnded


def test_the_defaults_are_those_of_the_core() -> None:
    """Two places say them; they may not drift apart."""
    assert AppSettings().rules == Rules()


def test_every_rule_can_be_set() -> None:
    settings = check_settings(
        {
            "usage_ended": "cancel",
            "missing_mapping": "hold",
            "default_product": {"identifier": "X_{code}"},
            "guard_rails": {
                "decrease_percent": 1,
                "decrease_at_least": 2,
                "drop_to_zero": False,
                "price_effect": "3.50",
                "decreasing_share_percent": 4,
                "missing_customers_percent": None,
            },
        },
        AppSettings(),
    )
    rules = settings.rules
    assert rules.usage_ended is UsageEnded.CANCEL
    assert rules.default_identifier == "X_{code}"
    assert (
        rules.decrease_percent,
        rules.decrease_at_least,
        rules.hold_drop_to_zero,
        rules.price_effect_limit,
        rules.decreasing_share_percent,
        rules.missing_tenants_percent,
    ) == (Decimal(1), Decimal(2), False, Decimal("3.50"), Decimal(4), None)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"colour": "red"}, "colour"),
        ({"timezone": "Mars"}, "timezone"),
        ({"timezone": None}, "timezone"),
        ({"read_only": "perhaps"}, "read_only"),
        ({"usage_ended": 0}, "usage_ended"),
        ({"guard_rails": None}, "guard_rails"),
        ({"guard_rails": {"decrease_percent": -1}}, "guard_rails.decrease_percent"),
        ({"guard_rails": {"decrease_percent": 100.1}}, "guard_rails.decrease_percent"),
        ({"guard_rails": {"decrease_percent": "NaN"}}, "guard_rails.decrease_percent"),
        ({"guard_rails": {"price_effect": "Infinity"}}, "guard_rails.price_effect"),
        ({"guard_rails": {"price_effect": "1.234"}}, "guard_rails.price_effect"),
        ({"guard_rails": {"drop_to_zero": None}}, "guard_rails.drop_to_zero"),
        ({"guard_rails": {"other": 1}}, "guard_rails.other"),
        ({"default_product": {"identifier": "Sophos"}}, "default_product.identifier"),
        ({"default_product": {"identifier": "{code}" + "x" * 60}}, "default_product.identifier"),
        ({"default_product": {"product_class": "Bundle"}}, "default_product.product_class"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, Any], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_settings(values, AppSettings())
    assert caught.value.name == name
    assert len(str(caught.value).splitlines()) == 1


def test_stored_and_loaded_again(session: Session) -> None:
    changed = check_settings(
        {"timezone": "Europe/Berlin", "guard_rails": {"price_effect": None}}, AppSettings()
    )
    store_settings(session, changed)
    session.commit()
    assert load_settings(session) == changed
    assert set(session.scalars(sa.select(models.Setting.name))) == {"timezone", "guard_rails"}
    store_settings(session, AppSettings())
    session.commit()
    assert session.scalars(sa.select(models.Setting)).all() == []


def test_the_environment_has_the_last_word(session: Session) -> None:
    store_settings(session, AppSettings(read_only=False, timezone="Europe/Berlin"))
    assert load_settings(session, {"read_only": True}).read_only is True
    assert load_settings(session, {"timezone": "UTC"}).timezone == "UTC"
    assert load_settings(session).timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "day"),
    [("UTC", 31), ("Europe/Berlin", 1), ("America/Los_Angeles", 31), ("Pacific/Kiritimati", 1)],
)
def test_the_day_is_the_one_of_the_billing_zone(zone: str, day: int) -> None:
    """Half an hour before midnight in London, at the end of a year."""
    instant = dt.datetime(2026, 12, 31, 23, 30, tzinfo=dt.UTC)
    assert AppSettings(timezone=zone).today(instant).day == day
