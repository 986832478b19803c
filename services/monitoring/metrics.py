"""What Prometheus reads: names and units by its conventions, values from the database.

Everything is counted where it stands, in a few queries, so the numbers survive a restart. Only
the calls to vendors are counted in this process, since it started.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.clients.sessions import VERSION
from services.installation import Installation
from services.monitoring.health import HEARTBEAT, last_good_run
from services.sync.model import FindingKind
from services.tenants.tenant_status import last_planned_run
from services.upkeep.housekeeping import backup_state


class VendorCalls(Collector):
    """Counts what went out to the vendors. Told by the clients, whichever thread they run in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: Counter[tuple[str, str]] = Counter()

    def __call__(self, vendor: str, status: str) -> None:
        """Count one attempt."""
        with self._lock:
            self._counted[vendor, status] += 1

    def collect(self) -> Iterator[Metric]:
        """The counts so far."""
        with self._lock:
            counted = dict(self._counted)
        calls = CounterMetricFamily(
            "tallybridge_vendor_calls",
            "Requests to a vendor by this process since it started, by HTTP status or failure.",
            labels=("vendor", "status"),
        )
        for key, count in sorted(counted.items()):
            calls.add_metric(key, count)
        yield calls


vendor_calls = VendorCalls()
"""Those of this process."""


def exposition(installation: Installation, accept: str) -> tuple[bytes, str]:
    """The page and its content type, in the format that the reader accepts."""
    registry = CollectorRegistry()
    registry.register(vendor_calls)
    registry.register(_Stored(installation))
    ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Stored(Collector):
    """What stands in the database at the moment of reading."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def describe(self) -> list[Metric]:
        """Nothing is read when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything in one look; without a database only that there is none."""
        build = GaugeMetricFamily(
            "tallybridge_build_info", "The version that runs.", labels=("version",)
        )
        build.add_metric((VERSION,), 1)
        yield build
        try:
            with self._installation.reading() as session:
                found = list(_read(session))
        except SQLAlchemyError:
            found = []
        yield _gauge(
            "tallybridge_database_up", "Whether the database could be read.", int(bool(found))
        )
        yield from found


def _gauge(name: str, text: str, value: float | None) -> GaugeMetricFamily:
    """One number; without a value there is no sample."""
    gauge = GaugeMetricFamily(name, text)
    if value is not None:
        gauge.add_metric((), value)
    return gauge


def _read(session: Session) -> Iterator[Metric]:
    yield from _runs(session)
    yield from _newest_plan(session)
    yield from _not_billed(session)
    marker = session.get(models.Marker, HEARTBEAT)
    yield _gauge(
        "tallybridge_scheduler_heartbeat_timestamp_seconds",
        "When the scheduler last gave a sign of life.",
        marker.at.timestamp() if marker else None,
    )
    backup = backup_state(session)
    yield _gauge(
        "tallybridge_last_backup_timestamp_seconds",
        "When the last daily backup was made.",
        backup.good_at.timestamp() if backup.good_at else None,
    )


def _runs(session: Session) -> Iterator[Metric]:
    run = models.SyncRun
    good_at = last_good_run(session)
    yield _gauge(
        "tallybridge_last_successful_run_timestamp_seconds",
        "When a run last brought ConnectWise up to date, or found that it was.",
        good_at.timestamp() if good_at else None,
    )
    counted = session.execute(
        sa.select(run.state, run.trigger, sa.func.count())
        .where(run.state != RunState.RUNNING)
        .group_by(run.state, run.trigger)
    )
    runs = CounterMetricFamily(
        "tallybridge_runs", "Sync runs that ended.", labels=("result", "trigger")
    )
    for state, trigger, count in counted:
        runs.add_metric((state.value, trigger), count)
    yield runs
    last = session.scalars(
        sa.select(run).where(run.ended_at.is_not(None)).order_by(run.id.desc()).limit(1)
    ).first()
    ended_at = last.ended_at if last else None
    yield _gauge(
        "tallybridge_last_run_duration_seconds",
        "How long the run that was begun last took.",
        (ended_at - last.started_at).total_seconds() if last and ended_at else None,
    )


def _newest_plan(session: Session) -> Iterator[Metric]:
    """The newest plan only: to count all that were ever made would take longer every month."""
    plan = last_planned_run(session)
    change, finding = models.Change, models.Finding
    plan_id = plan.id if plan else 0
    changes = GaugeMetricFamily(
        "tallybridge_newest_plan_changes",
        "Changes of the newest plan, as they stand.",
        labels=("kind", "state"),
    )
    rows = session.execute(
        sa.select(change.kind, change.state, sa.func.count())
        .where(change.run_id == plan_id)
        .group_by(change.kind, change.state)
    )
    for kind, state, count in rows:
        changes.add_metric((kind.value, state.value), count)
    yield changes
    counted = Counter(
        session.scalars(sa.select(finding.kind).where(finding.run_id == plan_id)).all()
    )
    findings = GaugeMetricFamily(
        "tallybridge_open_findings", "Findings of the newest plan.", labels=("kind",)
    )
    for each in FindingKind:  # every one, so that an alert sees the zero too
        findings.add_metric((each.value,), counted[each])
    yield findings
    # Undoing makes runs that are no plan, but whose changes wait or fail as well.
    states = Counter(session.scalars(sa.select(change.state).where(change.run_id >= plan_id)).all())
    yield _gauge(
        "tallybridge_held_changes", "Changes that wait for a person.", states[ChangeState.HELD]
    )
    yield _gauge(
        "tallybridge_failed_changes",
        "Changes that were not written to ConnectWise, or may not have been.",
        states[ChangeState.FAILED] + states[ChangeState.UNCLEAR],
    )


def _not_billed(session: Session) -> Iterator[Metric]:
    """Usage of the newest report that goes nowhere: its product or its customer is not mapped."""
    line, product, tenant = models.UsageLine, models.ProductMapping, models.TenantMapping
    other = models.ProductAgreement
    elsewhere = sa.exists().where(
        other.tenant_id == line.tenant_id, other.product_key == line.product_key
    )
    report = models.UsageReport
    newest = (
        sa.select(report.id)
        .order_by(report.month.desc(), report.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    quantity, customers = session.execute(
        sa.select(sa.func.sum(line.quantity), sa.func.count(line.tenant_id.distinct()))
        .outerjoin(product, product.product_key == line.product_key)
        .outerjoin(tenant, tenant.tenant_id == line.tenant_id)
        .where(
            line.report_id == newest,
            sa.or_(
                product.catalog_item_id.is_(None),
                sa.and_(tenant.agreement_id.is_(None), ~elsewhere),
            ),
        )
    ).one()
    yield _gauge(
        "tallybridge_unmapped_usage_quantity",
        "Seats of the newest report whose product or customer is not mapped.",
        float(quantity or 0),
    )
    yield _gauge(
        "tallybridge_unmapped_usage_customers", "Customers with such usage.", customers or 0
    )
