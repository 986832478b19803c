"""Unsaved edits of the product page: staged per person, saved together or not at all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.products import product_mappings
from services.products.product_mappings import ItemChoice, Period, item_of
from services.settings import AppSettings
from services.sync.rules import MissingMapping
from services.sync.words import seats


class StagingError(Exception):
    """An edit cannot be staged or saved; the message says why, and that nothing was changed."""


@dataclass(frozen=True, slots=True)
class Staged:
    """One unsaved edit: the mapping as it is, and as this person wants it.

    `conflict` means that the mapping was changed by someone else after this person saw it, and
    to something else than what this person wants.
    """

    key: str
    name: str
    item: ItemChoice | None
    sync: bool
    saved_item: ItemChoice | None
    saved_sync: bool
    conflict: bool

    @property
    def item_changes(self) -> bool:
        """Whether another ConnectWise product is asked for than the saved one."""
        return (self.item and self.item.id) != (self.saved_item and self.saved_item.id)

    @property
    def changes(self) -> bool:
        """Whether it asks for anything that is not saved already, whoever saved it."""
        return self.item_changes or self.sync != self.saved_sync


def staged_edits(session: Session, user_id: int) -> list[Staged]:
    """Everything that this person changed and has not saved."""
    pairs = session.execute(
        sa.select(models.StagedEdit, models.ProductMapping)
        .join(
            models.ProductMapping,
            models.ProductMapping.product_key == models.StagedEdit.product_key,
        )
        .where(models.StagedEdit.user_id == user_id)
        .order_by(models.ProductMapping.product_name, models.ProductMapping.product_key)
    )
    shown = (_shown(edit, row) for edit, row in pairs)
    return [edit for edit in shown if edit.changes]


def stage_item(
    session: Session,
    user_id: int,
    key: str,
    item: ItemChoice | None,
    *,
    seen_version: int,
    now: dt.datetime,
) -> None:
    """Stage another ConnectWise product for a Sophos product; None clears its mapping."""
    row, edit = _edit(session, user_id, key, seen_version, now)
    edit.changes_item = True
    edit.catalog_item_id = item.id if item else None
    edit.catalog_item_identifier = item.identifier if item else None
    _drop_if_nothing(session, row, edit)


def stage_sync(
    session: Session, user_id: int, key: str, *, on: bool, seen_version: int, now: dt.datetime
) -> None:
    """Stage the switch of a Sophos product in the position that is wanted."""
    row, edit = _edit(session, user_id, key, seen_version, now)
    edit.sync = on
    _drop_if_nothing(session, row, edit)


def undo(session: Session, user_id: int, key: str) -> None:
    """Forget one unsaved edit. Of a conflict, this takes what the other person saved."""
    edit = session.get(models.StagedEdit, (user_id, key))
    if edit is not None:
        session.delete(edit)


def keep_mine(session: Session, user_id: int, key: str) -> None:
    """Hold on to an edit although the mapping was changed: the person has now seen both."""
    edit = session.get(models.StagedEdit, (user_id, key))
    if edit is not None:
        row = session.get_one(models.ProductMapping, key)
        edit.base_version = row.version
        _drop_if_nothing(session, row, edit)


def discard(session: Session, user_id: int) -> int:
    """Forget all unsaved edits of a person and return how many there were."""
    edits = session.scalars(sa.select(models.StagedEdit).filter_by(user_id=user_id)).all()
    for edit in edits:
        session.delete(edit)
    return len(edits)


def save(session: Session, user_id: int, *, actor: str, now: dt.datetime) -> int:
    """Save every staged edit within the caller's transaction, and return how many mappings changed.

    Raises StagingError, with nothing saved, if one of them is in conflict or names a product of
    ConnectWise that can no longer be used.
    """
    pairs = session.execute(
        sa.select(models.StagedEdit, models.ProductMapping)
        .join(
            models.ProductMapping,
            models.ProductMapping.product_key == models.StagedEdit.product_key,
        )
        .where(models.StagedEdit.user_id == user_id)
        .with_for_update()
    ).all()
    edits = [(edit, row, _shown(edit, row)) for edit, row in pairs]
    _refuse_conflicts([shown for _, _, shown in edits])
    _refuse_unusable(session, [shown for _, _, shown in edits])
    saved = 0
    for edit, row, wanted in edits:
        done = product_mappings.change(
            session, row, item=wanted.item, sync=wanted.sync, actor=actor, at=now
        )
        saved += done is not None
        session.delete(edit)
    return saved


# --- what saving does ---------------------------------------------------------------------------


def effects(
    session: Session, edits: Sequence[Staged], period: Period, settings: AppSettings
) -> list[str]:
    """What saving would do to the billing, in a few sentences; nothing for edits without usage."""
    billed = _billed(session, period, [edit.key for edit in edits])
    parts: dict[str, list[tuple[str, Decimal]]] = {}
    for edit in edits:
        kind = _effect(edit, settings)
        if edit.key in billed and kind is not None:
            parts.setdefault(kind, []).extend(billed[edit.key])
    told = []
    for kind, sentence in _EFFECTS.items():
        if kind in parts:
            quantity = sum((quantity for _, quantity in parts[kind]), Decimal(0))
            customers = len({tenant for tenant, _ in parts[kind]})
            told.append(sentence.format(seats=seats(quantity), at=_at(customers)))
    return told


_EFFECTS = {
    "start": "starts billing {seats} at {at}",
    "move": "moves {seats} at {at} to another ConnectWise product",
    "stop": "stops updating {seats} at {at}; their additions stay as they are",
    "default": "has default products made for {seats} at {at} at the next sync",
    "hold": "leaves {seats} at {at} without a ConnectWise product, so they are not billed",
}


def _effect(edit: Staged, settings: AppSettings) -> str | None:
    if not edit.sync:
        return "stop" if edit.saved_sync and edit.saved_item else None
    if edit.item is None:
        made = settings.missing_mapping is MissingMapping.DEFAULT_PRODUCT
        return "default" if made else "hold"
    if not edit.saved_sync or edit.saved_item is None:
        return "start"
    return "move" if edit.item_changes else None


def _billed(
    session: Session, period: Period, keys: Iterable[str]
) -> Mapping[str, list[tuple[str, Decimal]]]:
    """Who uses how much of these products: customers with sync and agreement only."""
    tenant, line = models.TenantMapping, models.UsageLine
    found = session.execute(
        sa.select(line.product_key, line.tenant_id, line.quantity).where(
            line.report_id == period.report_id,
            line.product_key.in_(list(keys)),
            line.tenant_id.in_(
                sa.select(tenant.tenant_id).where(tenant.sync, tenant.agreement_id.is_not(None))
            ),
        )
    )
    billed: dict[str, list[tuple[str, Decimal]]] = {}
    for key, tenant_id, quantity in found:
        billed.setdefault(key, []).append((str(tenant_id), quantity))
    return billed


def _at(customers: int) -> str:
    return f"{customers} customer{'' if customers == 1 else 's'}"


# --- the parts ----------------------------------------------------------------------------------


def _edit(
    session: Session, user_id: int, key: str, seen_version: int, now: dt.datetime
) -> tuple[models.ProductMapping, models.StagedEdit]:
    row = session.get(models.ProductMapping, key)
    if row is None:
        raise StagingError("Sophos has not billed such a product. Nothing was changed.")
    edit = session.get(models.StagedEdit, (user_id, key))
    if edit is None:
        edit = models.StagedEdit(
            user_id=user_id, product_key=key, base_version=seen_version, changes_item=False
        )
        session.add(edit)
    edit.made_at = now
    return row, edit


def _drop_if_nothing(session: Session, row: models.ProductMapping, edit: models.StagedEdit) -> None:
    if _shown(edit, row).changes:
        return
    if edit in session.new:
        session.expunge(edit)
    else:
        session.delete(edit)


def _shown(edit: models.StagedEdit, row: models.ProductMapping) -> Staged:
    wanted = Staged(
        key=row.product_key,
        name=row.product_name,
        item=item_of(edit) if edit.changes_item else item_of(row),
        sync=row.sync if edit.sync is None else edit.sync,
        saved_item=item_of(row),
        saved_sync=row.sync,
        conflict=False,
    )
    return replace(wanted, conflict=wanted.changes and edit.base_version != row.version)


def _refuse_conflicts(edits: Iterable[Staged]) -> None:
    names = [edit.name for edit in edits if edit.conflict]
    if names:
        raise StagingError(
            f"Nothing was saved: {_list(names)} changed meanwhile. Choose in the marked row "
            "whether yours or theirs counts, then save again."
        )


def _refuse_unusable(session: Session, edits: Iterable[Staged]) -> None:
    problems = [p for edit in edits if (p := _unusable(session, edit))]
    if problems:
        raise StagingError(f"Nothing was saved: {'; '.join(problems)}. Choose another there.")


def _unusable(session: Session, edit: Staged) -> str | None:
    if edit.item is None or not edit.item_changes:
        return None
    found = session.get(models.CatalogItem, edit.item.id)
    why = why_not_usable(found)
    return f"{edit.item.identifier}, chosen for {edit.name}, {why}" if why else None


def why_not_usable(item: models.CatalogItem | None) -> str | None:
    """What stands against using this ConnectWise product, after its name; None if nothing."""
    if item is None:
        return "is not in the ConnectWise catalog"
    if item.gone:
        return "is no longer in the ConnectWise catalog"
    if item.inactive:
        return "is inactive in ConnectWise"
    if item.product_class == "Bundle":
        return "is a bundle, which cannot be an addition"
    return None


def _list(names: Sequence[str]) -> str:
    shown = list(_clipped(names[:3]))
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _clipped(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        yield name if len(name) <= 60 else name[:59] + "…"
