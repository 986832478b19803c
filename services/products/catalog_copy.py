"""The local copy of ConnectWise's catalog: kept fresh in the background, never in the way.

First everything is read, later only what changed since, and once a week everything again, because
only that shows which items are gone.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.clients.connectwise import ConnectWiseClient
from services.clients.errors import VendorError
from services.connections import NotConfiguredError, connectwise_client
from services.database import AlreadyLockedError, exclusive
from services.installation import Installation
from services.secrets import WrongKeyError
from services.sync.model import CatalogItem

MARKER = "catalog"
FULL_MARKER = "catalog_full"
STALE_AFTER = dt.timedelta(minutes=5)
FULL_AFTER = dt.timedelta(days=7)
OVERLAP = dt.timedelta(minutes=15)
"""Read again what changed shortly before: the vendor's clock is not ours."""
_AT_ONCE = 1000
"""Rows a transaction: nobody else waits long for the database."""

logger = logging.getLogger("tallybridge.catalog")
_running: set[str] = set()
_failures: dict[str, str] = {}
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class CopyState:
    """How fresh the copy is. `at` is None before the first; `problem` says why a try failed."""

    at: dt.datetime | None
    version: int
    refreshing: bool
    problem: str | None

    def is_stale(self, now: dt.datetime) -> bool:
        """Whether it is time to look for changes."""
        return self.at is None or now - self.at > STALE_AFTER


def copy_state(installation: Installation, session: Session) -> CopyState:
    """How fresh the copy is, and whether it is being refreshed just now."""
    marker = session.get(models.Marker, MARKER)
    name = _name(installation)
    return CopyState(
        at=marker.at if marker else None,
        version=marker.number if marker else 0,
        refreshing=name in _running,
        problem=_failures.get(name),
    )


def refresh_soon(
    installation: Installation, then: Callable[[Installation], None] = lambda _: None
) -> bool:
    """Refresh in the background, `then` do what depends on it; False when that is on already."""
    name = _name(installation)
    with _guard:
        if name in _running:
            return False
        _running.add(name)
    threading.Thread(
        target=_refresh_and_tell, args=(installation, name, then), name="catalog", daemon=True
    ).start()
    return True


def _refresh_and_tell(
    installation: Installation, name: str, then: Callable[[Installation], None]
) -> None:
    try:
        with exclusive(installation.engine, "catalog"):
            refresh(installation, connectwise_client(installation.effective_config()))
        then(installation)
        _failures.pop(name, None)
    except AlreadyLockedError:
        logger.info("another process refreshes the copy of the catalog")
    except (VendorError, NotConfiguredError, WrongKeyError, sa.exc.SQLAlchemyError, OSError) as e:
        logger.warning("the copy of the catalog could not be refreshed: %s", e)
        said = isinstance(e, VendorError | NotConfiguredError | WrongKeyError)
        _failures[name] = str(e) if said else "The database could not be written."
    finally:
        with _guard:
            _running.discard(name)


def refresh(
    installation: Installation, connectwise: ConnectWiseClient, *, full: bool = False
) -> int:
    """Bring the copy up to date and return how many items changed. Raises VendorError.

    Items are only called gone when the whole catalog was read without them.
    """
    started = installation.now()
    with installation.reading() as session:
        last = session.get(models.Marker, MARKER)
        last_full = session.get(models.Marker, FULL_MARKER)
    full = full or not last or not last_full or started - last_full.at > FULL_AFTER
    if last and last.at > started:  # by a clock that was wrong: nothing could be newer
        full = True
    since = None if full or last is None else last.at - OVERLAP
    items = connectwise.catalog_items(updated_since=since)
    changed = _store(installation, items)
    if full and items:
        changed += _mark_gone(installation, {item.id for item in items})
    with installation.session() as session, session.begin():
        _touch(session, MARKER, started, changed=bool(changed) or last is None)
        if full:
            _touch(session, FULL_MARKER, started, changed=True)
    return changed


def remember(session: Session, item: CatalogItem) -> None:
    """Keep one item that was just read or made, within the caller's transaction."""
    if _merge(session, [item]):
        marker = session.get(models.Marker, MARKER)
        if marker is not None:
            marker.number += 1  # its instant stays: nothing else was looked for


def _store(installation: Installation, items: list[CatalogItem]) -> int:
    changed = 0
    for start in range(0, len(items), _AT_ONCE):
        with installation.session() as session, session.begin():
            changed += _merge(session, items[start : start + _AT_ONCE])
    return changed


def _merge(session: Session, items: Iterable[CatalogItem]) -> int:
    """Insert what is new and change what differs; returns how many rows that were."""
    wanted = {item.id: _columns(item) for item in items}
    table = models.CatalogItem.__table__
    known = {
        row["id"]: dict(row)
        for row in session.execute(sa.select(table).where(table.c.id.in_(wanted))).mappings()
    }
    new = [row for number, row in wanted.items() if number not in known]
    differ = [row for number, row in wanted.items() if number in known and known[number] != row]
    if new:
        session.execute(sa.insert(models.CatalogItem), new)
    if differ:
        session.execute(sa.update(models.CatalogItem), differ)
    return len(new) + len(differ)


def _columns(item: CatalogItem) -> dict[str, object]:
    return {
        "id": item.id,
        "identifier": item.identifier,
        "description": item.description,
        "product_class": item.product_class,
        "inactive": item.inactive,
        "gone": False,
        "price": item.price,
        "cost": item.cost,
        "taxable": item.taxable,
    }


def _mark_gone(installation: Installation, present: set[int]) -> int:
    with installation.session() as session, session.begin():
        kept = session.scalars(sa.select(models.CatalogItem.id).where(~models.CatalogItem.gone))
        gone = [number for number in kept if number not in present]
        if gone:
            session.execute(
                sa.update(models.CatalogItem), [{"id": number, "gone": True} for number in gone]
            )
    return len(gone)


def _touch(session: Session, name: str, at: dt.datetime, *, changed: bool) -> None:
    marker = session.get(models.Marker, name)
    if marker is None:
        session.add(models.Marker(name=name, number=1, at=at))
        return
    marker.at = at
    marker.number += int(changed)


def _name(installation: Installation) -> str:
    return str(installation.engine.url)
