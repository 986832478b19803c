"""The product page: one row per Sophos product with all that is known of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.products.product_mappings import ItemChoice, Period, Usage, item_of, newest_period
from services.products.staging import Staged, effects, staged_edits, why_not_usable
from services.products.suggestions import Suggestion, suggestions
from services.settings import AppSettings
from services.sync.rules import MissingMapping

FILTERS = {
    "all": "All",
    "unmapped": "Unmapped",
    "mapped": "Mapped",
    "sync": "Sync on",
    "attention": "Needs attention",
}
SORTS = ("name", "usage", "item", "sync", "status")
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_FIREWALL = ("firewall", "xgs", "xstream")


@dataclass(frozen=True, slots=True)
class View:
    """What of the table is asked for."""

    filter: str = "all"
    text: str = ""
    sort: str = "name"
    descending: bool = False

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> View:
        """From an address; what makes no sense is left out."""
        chosen, sort = asked.get("filter", "all"), asked.get("sort", "name")
        return cls(
            filter=chosen if chosen in FILTERS else "all",
            text=asked.get("text", "").replace("\0", "").strip()[:200],
            sort=sort if sort in SORTS else "name",
            descending=asked.get("order") == "desc",
        )

    def query(self, **changes: str) -> dict[str, str]:
        """The address of this view with some parts changed, without what is the default."""
        order = "desc" if self.descending else "asc"
        parts = {"filter": self.filter, "text": self.text, "sort": self.sort, "order": order}
        plain = {"filter": "all", "text": "", "sort": "name", "order": "asc"}
        return {k: v for k, v in (parts | changes).items() if v != plain[k]}

    def sorted_by(self, column: str) -> dict[str, str]:
        """The address that sorts by a column; once more turns it round."""
        turned = column == self.sort and not self.descending
        return self.query(sort=column, order="desc" if turned else "asc")


ONLY_UNSAVED = View(text="\0")
"""A view without rows or counts: after one switch only the bar of unsaved edits is shown anew."""


@dataclass(frozen=True, slots=True)
class Row:
    """A Sophos product as this person sees it: with their unsaved edit, if any."""

    key: str
    dom: str
    name: str
    earlier_names: Sequence[str]
    version: int
    usage: Usage | None
    item: ItemChoice | None
    description: str
    sync: bool
    staged: Staged | None
    state: str
    state_kind: str
    notes: Sequence[str]
    attention: bool
    suggestion: Suggestion | None


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page."""

    rows: Sequence[Row]
    counts: Mapping[str, int]
    staged: Sequence[Staged]
    effects: Sequence[str]
    period: Period
    unmapped: int


def product_page(session: Session, user_id: int, view: View, settings: AppSettings) -> Page:
    """The rows that the view asks for, and what is unsaved."""
    period, staged = newest_period(session), staged_edits(session, user_id)
    rows = [] if view == ONLY_UNSAVED else _rows(session, staged, period, settings)
    tests = _tests()
    return Page(
        rows=_sorted(_matching([r for r in rows if tests[view.filter](r)], view.text), view),
        counts={name: sum(1 for row in rows if test(row)) for name, test in tests.items()},
        staged=staged,
        effects=effects(session, staged, period, settings) if staged else (),
        period=period,
        unmapped=sum(row.item is None for row in rows),
    )


def product_row(session: Session, user_id: int, key: str, settings: AppSettings) -> Row | None:
    """One row of the page."""
    staged = [edit for edit in staged_edits(session, user_id) if edit.key == key]
    rows = _rows(session, staged, newest_period(session), settings, only=key)
    return rows[0] if rows else None


def dom_name(key: str) -> str:
    """A product code as a part of an id: itself, or a digest where it is not plain."""
    return key if _PLAIN_KEY.fullmatch(key) else hashlib.sha256(key.encode()).hexdigest()[:12]


# --- rows ---------------------------------------------------------------------------------------


def _rows(
    session: Session,
    staged: Iterable[Staged],
    period: Period,
    settings: AppSettings,
    only: str | None = None,
) -> list[Row]:
    edits = {edit.key: edit for edit in staged}
    query = sa.select(models.ProductMapping)
    if only is not None:
        query = query.where(models.ProductMapping.product_key == only)
    mappings = session.scalars(query).all()
    ids = {m.catalog_item_id for m in mappings} | {e.item.id for e in edits.values() if e.item}
    items = _items(session, {i for i in ids if i is not None})
    copied = session.get(models.Marker, "catalog") is not None
    open_ones = [
        (m.product_key, m.product_name)
        for m in mappings
        if (edits[m.product_key].item if m.product_key in edits else m.catalog_item_id) is None
    ]
    offered = suggestions(session, open_ones, settings.default_product.identifier)
    return [
        _row(
            mapping,
            edits.get(mapping.product_key),
            period.products.get(mapping.product_key),
            items if copied else None,
            settings,
            offered.get(mapping.product_key),
        )
        for mapping in mappings
    ]


def _items(session: Session, ids: set[int]) -> Mapping[int, models.CatalogItem]:
    found = session.scalars(sa.select(models.CatalogItem).where(models.CatalogItem.id.in_(ids)))
    return {item.id: item for item in found}


def _row(
    mapping: models.ProductMapping,
    edit: Staged | None,
    usage: Usage | None,
    items: Mapping[int, models.CatalogItem] | None,
    settings: AppSettings,
    suggestion: Suggestion | None,
) -> Row:
    item, sync = (edit.item, edit.sync) if edit else (item_of(mapping), mapping.sync)
    copied = items.get(item.id) if items and item else None
    problem = why_not_usable(copied) if items is not None and item else None
    state, kind, notes = _state(item, usage, problem, settings, sync=sync)
    if edit:
        state, kind = ("Conflict", "bad") if edit.conflict else ("Unsaved", "info")
    if sync and _wants_invoice_schedule(mapping, settings):
        notes.append("Firewall usage is monthly: use the schedule with the Sophos invoice.")
    return Row(
        key=mapping.product_key,
        dom=dom_name(mapping.product_key),
        name=mapping.product_name,
        earlier_names=mapping.earlier_names,
        version=mapping.version,
        usage=usage,
        item=item,
        description=copied.description if copied else "",
        sync=sync,
        staged=edit,
        state=state,
        state_kind=kind,
        notes=notes,
        attention=kind in ("warn", "bad") or bool(notes),
        suggestion=suggestion if edit is None or not edit.conflict else None,
    )


def _state(
    item: ItemChoice | None,
    usage: Usage | None,
    problem: str | None,
    settings: AppSettings,
    *,
    sync: bool,
) -> tuple[str, str, list[str]]:
    """The status in words, its colour, and what there is to say about it."""
    if item is None and sync:
        if settings.missing_mapping is MissingMapping.DEFAULT_PRODUCT:
            note = "At the next usage a default product is made and mapped, then sync resumes."
        else:
            note = "Usage is held until you map it: the settings say to ask."
        return "Paused", "warn", [note]
    if item is None:
        return ("Not mapped", "warn", []) if usage else ("Not mapped", "quiet", [])
    if problem:
        return "Check the product", "bad", [f"{item.identifier} {problem}."]
    return ("Syncing", "good", []) if sync else ("Sync off", "quiet", [])


def _wants_invoice_schedule(mapping: models.ProductMapping, settings: AppSettings) -> bool:
    """Whether a firewall product is synced at other times than with the monthly invoice."""
    words = f"{mapping.product_group or ''} {mapping.product_name}".casefold()
    return settings.schedule.when in ("daily", "monthly") and any(w in words for w in _FIREWALL)


# --- choosing and sorting -----------------------------------------------------------------------


def _tests() -> Mapping[str, Callable[[Row], bool]]:
    """Which rows each filter shows. An unsaved row stays where it was, for it still is that."""
    return {
        "all": bool,
        "unmapped": lambda row: row.item is None or _saved(row, mapped=False),
        "mapped": lambda row: row.item is not None or _saved(row, mapped=True),
        "sync": lambda row: row.sync or (row.staged is not None and row.staged.saved_sync),
        "attention": lambda row: row.attention or row.staged is not None,
    }


def _saved(row: Row, *, mapped: bool) -> bool:
    return row.staged is not None and (row.staged.saved_item is not None) is mapped


def _matching(rows: Sequence[Row], text: str) -> Sequence[Row]:
    words = text.casefold().split()
    return [row for row in rows if all(word in _all_text(row) for word in words)]


def _all_text(row: Row) -> str:
    parts = [row.name, row.key, *row.earlier_names, row.description]
    return "\n".join([*parts, row.item.identifier if row.item else ""]).casefold()


def _sorted(rows: Iterable[Row], view: View) -> Sequence[Row]:
    by_name = sorted(rows, key=lambda row: (row.name.casefold(), row.key))
    if view.sort == "name":
        return by_name[::-1] if view.descending else by_name
    return sorted(by_name, key=_SORT_KEYS[view.sort], reverse=view.descending)


_URGENCY = ("bad", "warn", "info", "good", "quiet")
_SORT_KEYS: Mapping[str, Callable[[Row], Any]] = {
    "usage": lambda row: row.usage.quantity if row.usage else Decimal(-1),
    "item": lambda row: (row.item is None, row.item.identifier.casefold() if row.item else ""),
    "sync": lambda row: not row.sync,
    "status": lambda row: (_URGENCY.index(row.state_kind), row.state),
}


def unmapped_products(session: Session, user_id: int) -> list[Row]:
    """The Sophos products without a ConnectWise product, those with usage first."""
    page = product_page(session, user_id, View(), AppSettings())
    return sorted((r for r in page.rows if r.item is None), key=lambda row: row.usage is None)
