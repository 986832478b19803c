"""Reports: names follow the newest month, changes are seen, whole reports are the yardstick."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import replace
from decimal import Decimal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.runs.reports import (
    register_products,
    register_tenants,
    store_report,
    trusted_tenants,
)
from services.sync.model import Month, Tenant, UsageLine

OCTOBER, NOVEMBER = Month(2026, 10), Month(2026, 11)


def line(name: str = "Endpoint", key: str = "EP", **changes: object) -> UsageLine:
    base = UsageLine(
        tenant_id="t1", product_key=key, product_name=name, quantity=Decimal(3), serial="s1"
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def register(session: Session, month: Month, *lines: UsageLine, sync: bool = False) -> None:
    moment = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    register_products(session, month, lines, sync_new=sync, now=moment)
    session.commit()


def product(session: Session, key: str = "EP") -> models.ProductMapping:
    return session.get_one(models.ProductMapping, key)


# --- names --------------------------------------------------------------------------------------


def test_the_newest_name_is_kept_and_older_ones_remembered(session: Session) -> None:
    for month, name in ((8, "One"), (9, "Two"), (10, "Three"), (11, "Two")):
        register(session, Month(2026, month), line(name))
    assert product(session).product_name == "Two"
    assert product(session).earlier_names == ["One", "Three"]
    assert product(session).last_month == "2026-11"


def test_an_older_month_never_renames_back(session: Session) -> None:
    register(session, NOVEMBER, line("New"))
    register(session, OCTOBER, line("Old"))
    assert product(session).product_name == "New"
    assert product(session).last_month == "2026-11"


def test_the_same_report_again_changes_nothing(session: Session) -> None:
    register(session, NOVEMBER, line("One"))
    register(session, NOVEMBER, line("Two"))
    version = product(session).version
    register(session, NOVEMBER, line("Two"))
    assert product(session).version == version
    assert product(session).earlier_names == ["One"]


def test_two_names_in_one_report_do_not_swing(session: Session) -> None:
    lines = [line("B"), line("A"), line("C")]
    register(session, NOVEMBER, *lines)
    first = product(session).product_name
    for seed in range(5):
        random.Random(seed).shuffle(lines)
        register(session, NOVEMBER, *lines)
    assert product(session).product_name == first
    assert product(session).earlier_names == []


@pytest.mark.parametrize("sync", [True, False])
def test_a_new_product_starts_as_the_setting_says_and_stays_so(
    session: Session, sync: bool
) -> None:
    register(session, NOVEMBER, line(), sync=sync)
    assert product(session).sync is sync
    register(session, NOVEMBER, line("Other"), sync=not sync)
    assert product(session).sync is sync


def test_tenants_keep_mapping_and_sync_when_their_name_changes(
    session: Session, now: dt.datetime
) -> None:
    register_tenants(session, [Tenant("t1", "One", None, None)], now=now)
    session.flush()
    row = session.get_one(models.TenantMapping, "t1")
    assert row.sync is False
    row.sync, row.agreement_id = True, 201
    register_tenants(session, [Tenant("t1", "Two", "term", "active")], now=now)
    session.commit()
    assert (row.tenant_name, row.billing_type, row.status) == ("Two", "term", "active")
    assert (row.sync, row.agreement_id) == (True, 201)
    register_tenants(session, [], now=now)
    assert session.get(models.TenantMapping, "t1") is not None, "gone at Sophos is not forgotten"


# --- what was read ------------------------------------------------------------------------------


def test_the_same_lines_in_any_order_are_the_same_report(
    session: Session, now: dt.datetime
) -> None:
    lines = [line(order="1"), line(order="2"), line(key="SRV", order="3")]
    first = store_report(session, NOVEMBER, lines, now=now)
    assert store_report(session, NOVEMBER, lines[::-1], now=now).id == first.id
    assert session.scalar(sa.select(sa.func.count()).select_from(models.UsageLine)) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"quantity": Decimal(4)},
        {"tenant_id": "t2"},
        {"tenant_id": None},
        {"serial": "s2"},
        {"product_key": "OTHER"},
        {"order": "9"},
    ],
    ids=str,
)
def test_anything_that_bills_otherwise_is_another_report(
    session: Session, now: dt.datetime, changed: dict[str, object]
) -> None:
    first = store_report(session, NOVEMBER, [line()], now=now)
    second = store_report(session, NOVEMBER, [replace(line(), **changed)], now=now)  # type: ignore[arg-type]
    assert second.id != first.id
    assert store_report(session, OCTOBER, [line()], now=now).id not in (first.id, second.id)


def test_a_report_that_goes_back_is_kept_again(session: Session, now: dt.datetime) -> None:
    ids = [
        store_report(session, NOVEMBER, [line(quantity=Decimal(n))], now=now).id for n in (1, 2, 1)
    ]
    assert len(set(ids)) == 3


def test_an_empty_report_is_a_report(session: Session, now: dt.datetime) -> None:
    assert store_report(session, NOVEMBER, [], now=now).fingerprint


# --- the yardstick ------------------------------------------------------------------------------


def report(session: Session, month: Month, tenants: list[str], *, trusted: bool) -> None:
    session.add(
        models.UsageReport(
            month=str(month),
            fingerprint="x",
            read_at=dt.datetime(2026, 11, 22, tzinfo=dt.UTC),
            trusted=trusted,
            tenant_ids=tenants,
        )
    )
    session.flush()


def test_only_whole_reports_are_the_yardstick(session: Session) -> None:
    assert trusted_tenants(session, NOVEMBER) == frozenset()
    report(session, Month(2026, 9), ["too old"], trusted=True)
    assert trusted_tenants(session, NOVEMBER) == frozenset()
    report(session, OCTOBER, ["a", "b"], trusted=True)
    assert trusted_tenants(session, NOVEMBER) == {"a", "b"}
    report(session, NOVEMBER, ["a"], trusted=False)
    assert trusted_tenants(session, NOVEMBER) == {"a", "b"}
    report(session, NOVEMBER, ["a", "b", "c"], trusted=True)
    report(session, NOVEMBER, [], trusted=False)
    assert trusted_tenants(session, NOVEMBER) == {"a", "b", "c"}
    assert trusted_tenants(session, OCTOBER) == {"a", "b"}


def test_the_yardstick_reaches_over_the_new_year(session: Session) -> None:
    report(session, Month(2025, 12), ["a"], trusted=True)
    assert trusted_tenants(session, Month(2026, 1)) == {"a"}
