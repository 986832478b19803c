"""Setting up: what is done and what comes next, read from the state of the installation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import RunState
from services import audit
from services.connection_values import CONNECTWISE, SOPHOS
from services.monitoring.overview import Connection
from services.settings import AppSettings
from services.sync.rules import MissingMapping

READING = "set-up"
"""The trigger of the run that only reads, so that there are products and customers to map."""
_OVER = "setup_over"
_DEFAULTS_SEEN = "setup_default_product"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the progress follows from."""

    connected: frozenset[str] = frozenset()
    """The vendors that can be called, and whose last test did not fail."""
    locked: frozenset[str] = frozenset()
    """The connection values that the environment sets."""
    default_product: bool = False
    products: bool = False
    customers: bool = False
    previewed: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and whether it is done. `by_environment`: there is nothing to type."""

    key: str
    title: str
    text: str
    done: bool
    by_environment: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """All steps in their order."""

    steps: Sequence[Step]
    over: bool
    """Whether nobody has to be reminded: all is done, a run has written, or it was dismissed."""

    @property
    def done(self) -> int:
        """How many steps are done."""
        return sum(step.done for step in self.steps)

    @property
    def next(self) -> Step | None:
        """The first step that is not done."""
        return next((step for step in self.steps if not step.done), None)


def progress_of(facts: Facts) -> Progress:
    """The steps as the facts have them."""
    sophos, connectwise = ("Sophos" in facts.connected, "ConnectWise" in facts.connected)
    steps = (
        Step("administrator", "Administrator", "The first account.", done=True),
        Step("sophos", "Sophos", "Connect Sophos Central Partner.", sophos,
             facts.locked >= set(SOPHOS)),
        Step("connectwise", "ConnectWise", "Connect ConnectWise PSA.", connectwise,
             facts.locked >= set(CONNECTWISE)),
        Step("default_product", "Default product",
             "What a product gets that the sync makes.", facts.default_product),
        Step("products", "Products",
             "Map the Sophos products, and switch their sync on.", facts.products),
        Step("customers", "Customers",
             "Map the customers to agreements, and switch their sync on.", facts.customers),
        Step("preview", "Preview",
             "See what would be written, before anything is.", facts.previewed),
    )  # fmt: skip
    return Progress(steps, facts.over or all(step.done for step in steps))


def progress(
    session: Session,
    vendors: Collection[Connection],
    settings: AppSettings,
    *,
    locked: Collection[str],
    untested: Collection[str] = (),
) -> Progress:
    """How far setting up is. `untested` are vendors whose last test failed or is still running."""
    connected = frozenset(v.vendor for v in vendors if v.configured) - frozenset(untested)
    return progress_of(
        Facts(
            connected=connected,
            locked=frozenset(locked),
            default_product=_default_product(session, settings),
            products=_any(session, _billable_product(settings)),
            customers=_any(
                session,
                sa.and_(models.TenantMapping.agreement_id.is_not(None), models.TenantMapping.sync),
            ),
            previewed=_any(session, _previewed()),
            over=_any(session, models.Marker.name == _OVER)
            or _any(session, models.SyncRun.state == RunState.SUCCEEDED),
        )
    )


def _default_product(session: Session, settings: AppSettings) -> bool:
    """Whether somebody looked at it: changed it, went on with what stood there, or wants none."""
    return (
        settings.default_product != AppSettings().default_product
        or settings.missing_mapping is not MissingMapping.DEFAULT_PRODUCT
        or _any(session, models.Marker.name == _DEFAULTS_SEEN)
    )


def _billable_product(settings: AppSettings) -> sa.ColumnElement[bool]:
    """A product that takes part, and that has a ConnectWise product or will get one."""
    product = models.ProductMapping
    if settings.missing_mapping is MissingMapping.DEFAULT_PRODUCT:
        return product.sync.is_(True)
    return sa.and_(product.sync, product.catalog_item_id.is_not(None))


def _previewed() -> sa.ColumnElement[bool]:
    return sa.and_(models.SyncRun.fingerprint.is_not(None), models.SyncRun.trigger != READING)


def _any(session: Session, condition: sa.ColumnElement[bool]) -> bool:
    return bool(session.scalar(sa.select(sa.literal(1)).where(condition).limit(1)))


# --- what a person decided ----------------------------------------------------------------------


def accept_default_product(session: Session, *, now: dt.datetime) -> None:
    """Remember that somebody went on with the default product as it stands."""
    _mark(session, _DEFAULTS_SEEN, now)


def finish(session: Session, *, actor: str, now: dt.datetime) -> None:
    """Nobody is reminded of setting up any more, whatever is open."""
    if session.get(models.Marker, _OVER) is None:
        _mark(session, _OVER, now)
        audit.record(session, at=now, actor=actor, action="setup.finish", subject="set-up")


def _mark(session: Session, name: str, now: dt.datetime) -> None:
    if session.get(models.Marker, name) is None:
        session.add(models.Marker(name=name, number=1, at=now))


# --- what the steps show ------------------------------------------------------------------------


def newest_run(session: Session, *, reading: bool) -> models.SyncRun | None:
    """The newest run that only read for the set-up; or else the newest of all others."""
    run = models.SyncRun
    fits = run.trigger == READING if reading else run.trigger != READING
    return session.scalar(sa.select(run).where(fits).order_by(run.id.desc()).limit(1))


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are, are mapped, and take part in the sync."""

    known: int
    mapped: int
    syncing: int


def count_products(session: Session) -> Count:
    """The Sophos products."""
    mapping = models.ProductMapping
    return _count(session, mapping.catalog_item_id.is_not(None), mapping.sync.is_(True))


def count_customers(session: Session) -> Count:
    """The customers; one is mapped that has an agreement."""
    mapping = models.TenantMapping
    return _count(session, mapping.agreement_id.is_not(None), mapping.sync.is_(True))


def _count(session: Session, mapped: sa.ColumnElement[bool], sync: sa.ColumnElement[bool]) -> Count:
    row = session.execute(
        sa.select(
            sa.func.count(),
            sa.func.count(sa.case((mapped, 1))),
            sa.func.count(sa.case((sync, 1))),
        )
    ).one()
    return Count(*row)
