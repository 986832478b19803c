"""The Overview: connections, runs, what needs attention, quantity by month, first steps."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from blueprints.chart import bars
from models import RunState
from services.monitoring import overview
from tests.web.client import Client
from tests.web.world import installation_of


def test_it_is_healthy_at_a_glance(viewer: Client) -> None:
    page = viewer.page("/")
    assert page.text.count("Working") == 2
    assert "Run 1" in page.text
    assert "Needs attention" in page.text
    assert "Set-up:" not in page.text


def test_each_kind_leads_to_its_findings(viewer: Client) -> None:
    page = viewer.page("/")
    links = [a["href"] for a in page.all("a") if a.get("href").startswith("/findings?show=")]
    assert "/findings?show=held_change" in links
    for link in links:
        viewer.page(link)


def test_the_chart_and_its_table_say_the_same(viewer: Client, database: Session) -> None:
    (month,) = overview.usage_by_month(database)
    total = database.scalar(sa.select(sa.func.sum(models.UsageLine.quantity)))
    assert month.quantity == total
    page = viewer.page("/")
    assert f"{total.normalize():,f}" in page.all("svg", role="img")[0].text
    assert month.month in page.all("table")[0].text


def test_months_are_compared_with_the_one_before(app: Flask, database: Session) -> None:
    now = installation_of(app).now()
    with installation_of(app).session() as session, session.begin():
        for month, quantity in (("2026-01", 10), ("2026-02", 4), ("2026-04", -3)):
            report = models.UsageReport(month=month, fingerprint=month, read_at=now, tenant_ids=[])
            session.add(report)
            session.flush()
            line = models.UsageLine(report_id=report.id, tenant_id="t", product_key="K")
            line.product_name, line.quantity = "Name", Decimal(quantity)
            session.add(line)
    found = {each.month: each for each in overview.usage_by_month(database)}
    assert (found["2026-02"].change, found["2026-04"].change) == (Decimal(-6), None)
    assert found["2026-01"].customers == 1


def test_bars_are_never_below_zero_and_none_is_no_error() -> None:
    assert bars([]).bars == ()
    chart = bars([("a", Decimal(-5)), ("b", Decimal(0))])
    assert [bar.height for bar in chart.bars] == [0, 0]
    full = bars([("a", Decimal(5)), ("b", Decimal(10))]).bars
    assert full[1].height == 2 * full[0].height


def test_read_only_is_announced(
    make: Callable[..., Flask], sign_in: Callable[[Flask, str], Client]
) -> None:
    page = sign_in(make(READ_ONLY="true"), "viewer").page("/")
    assert "Read-only is switched on" in page.text


def test_the_first_steps_stand_in_order(empty_admin: Client) -> None:
    page = empty_admin.page("/")
    assert "Set-up: 1 of 7 done" in page.text
    assert page.text.count("Not connected") == 2
    assert page.text.index("Connect Sophos") < page.text.index("Map the customers")
    assert "Go on: Sophos" in page.text


def test_a_failed_run_shows_which_vendor_failed(app: Flask, viewer: Client) -> None:
    now = installation_of(app).now()
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.update(models.SyncRun).values(ended_at=now.replace(hour=1)))
        session.add(
            models.SyncRun(
                trigger="manual",
                actor="admin",
                state=RunState.FAILED,
                message="ConnectWise did not answer <in time>. Nothing was written.",
                started_at=now,
                ended_at=now,
            )
        )
    page = viewer.page("/")
    assert "Failing" in page.text
    assert page.text.count("Working") == 1
    assert "did not answer <in time>" in page.text
