"""/metrics: for who has the token, readable by Prometheus, and true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

import models
from models import ChangeState
from sandbox import Sandbox
from services.monitoring.health import HEARTBEAT
from services.monitoring.metrics import VendorCalls
from services.runs import sync_runs
from services.upkeep.housekeeping import BACKUP
from tests.web.world import NOW, installation_of

Make = Callable[..., Flask]
TOKEN = "let-prometheus-in"


@pytest.fixture
def app(make: Make) -> Flask:
    return make(METRICS_TOKEN=TOKEN)


def scraped(app: Flask) -> dict[str, Metric]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = app.test_client().get("/metrics", headers=headers)
    assert answer.status_code == 200
    assert answer.mimetype == "text/plain"
    read = text_string_to_metric_families(answer.text)
    return {family.name: family for family in read}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    found = [s.value for s in families[name].samples if labels.items() <= s.labels.items()]
    return sum(found)


def test_without_a_token_in_the_configuration_there_is_no_such_page(make: Make) -> None:
    client = make().test_client()
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer é"],
)
def test_a_wrong_token_sees_nothing(app: Flask, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    answer = app.test_client().get("/metrics", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "tallybridge_" not in answer.text


def test_the_kind_is_written_in_any_case(app: Flask) -> None:
    headers = {"Authorization": f"bearer {TOKEN}"}
    assert app.test_client().get("/metrics", headers=headers).status_code == 200


def test_it_is_openmetrics_for_who_asks_so(app: Flask) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/openmetrics-text"}
    answer = app.test_client().get("/metrics", headers=headers)
    assert answer.mimetype == "application/openmetrics-text"
    families = openmetrics_families(answer.text)  # type: ignore[no-untyped-call]
    assert len(list(families)) > 12


def test_the_names_follow_the_conventions(app: Flask) -> None:
    families = scraped(app)
    ours = {name: f for name, f in families.items() if name.startswith("tallybridge_")}
    assert len(ours) == 14
    for name, family in ours.items():
        assert family.documentation.endswith("."), name
        assert name == name.lower()
        assert family.type in ("counter", "gauge")
        assert not name.endswith(("_count", "_sum", "_bucket"))
        for sample in family.samples:
            assert sample.name.endswith("_total") is (family.type == "counter"), sample.name
    assert "process_resident_memory_bytes" in families


def test_the_numbers_are_those_of_the_database(app: Flask) -> None:
    with installation_of(app).session() as session, session.begin():
        session.add(models.Marker(name=HEARTBEAT, at=NOW))
        session.add(models.Marker(name=BACKUP, at=NOW))
    families = scraped(app)
    with installation_of(app).reading() as session:
        states = Counter(session.scalars(sa.select(models.Change.state)))
    held = states[ChangeState.HELD]
    assert value(families, "tallybridge_build_info", version="0.1.0") == 1
    assert value(families, "tallybridge_database_up") == 1
    assert value(families, "tallybridge_runs", result="succeeded", trigger="manual") == 1
    assert value(families, "tallybridge_last_successful_run_timestamp_seconds") == NOW.timestamp()
    assert value(families, "tallybridge_last_run_duration_seconds") == 0
    assert value(families, "tallybridge_scheduler_heartbeat_timestamp_seconds") == NOW.timestamp()
    assert value(families, "tallybridge_last_backup_timestamp_seconds") == NOW.timestamp()
    for state, count in states.items():
        assert value(families, "tallybridge_newest_plan_changes", state=state.value) == count
    assert value(families, "tallybridge_held_changes") == held > 0
    assert value(families, "tallybridge_open_findings") > 0
    assert value(families, "tallybridge_open_findings", kind="report_shrunk") == 0


def test_unmapped_usage_is_what_the_lines_say(app: Flask) -> None:
    line, tenant = models.UsageLine, models.TenantMapping
    product = models.ProductMapping
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.update(product).values(catalog_item_id=1))
        session.execute(sa.update(tenant).values(agreement_id=1))
    assert value(scraped(app), "tallybridge_unmapped_usage_customers") == 0
    with installation_of(app).session() as session, session.begin():
        lost = session.scalars(
            sa.select(line.tenant_id).where(line.tenant_id.is_not(None)).limit(1)
        ).one()
        session.execute(sa.update(tenant).where(tenant.tenant_id == lost).values(agreement_id=None))
        expected = session.scalar(sa.select(sa.func.sum(line.quantity)).filter_by(tenant_id=lost))
    families = scraped(app)
    assert value(families, "tallybridge_unmapped_usage_customers") == 1
    without_tenant = value(families, "tallybridge_unmapped_usage_quantity") - float(expected or 0)
    assert without_tenant >= 0


def test_calls_to_vendors_are_counted_as_they_end(app: Flask, sandbox: Sandbox) -> None:
    before = scraped(app)
    context = installation_of(app).context(actor="anna", trigger="manual")
    sync_runs.preview(context)
    after = scraped(app)
    for vendor, made in (
        ("Sophos", context.sophos.calls),
        ("ConnectWise", context.connectwise.calls),
    ):
        was = value(before, "tallybridge_vendor_calls", vendor=vendor)
        assert value(after, "tallybridge_vendor_calls", vendor=vendor, status="200") > 0
        assert value(after, "tallybridge_vendor_calls", vendor=vendor) - was == made > 0


def test_each_status_is_counted_for_itself() -> None:
    calls = VendorCalls()
    for status in ("200", "200", "Unavailable"):
        calls("Sophos", status)
    (family,) = calls.collect()
    counted = {s.labels["status"]: s.value for s in family.samples if s.name.endswith("_total")}
    assert counted == {"200": 2, "Unavailable": 1}


def test_without_a_database_it_says_so(app: Flask) -> None:
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.text("DROP TABLE markers"))
    families = scraped(app)
    assert value(families, "tallybridge_database_up") == 0
    assert "tallybridge_runs" not in families
