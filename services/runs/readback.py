"""What really happened: a doubtful write judged by reading ConnectWise, never by guessing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

import models
from models import ChangeState
from services.clients.errors import NotFound, VendorError
from services.context import SyncContext
from services.journal import Outcome
from services.sync.model import Addition, ChangeKind
from services.sync.words import number

_NOT_ARRIVED = "It did not reach ConnectWise; the next run plans it again."
_NEITHER = "ConnectWise holds neither the old nor the new value; left alone."
_RECOGNISED_FOR = dt.timedelta(days=1)
"""After that a person may have made the addition that looks like the lost one."""


def stale(row: models.Change, additions: Iterable[Addition], today: dt.date) -> str | None:
    """Why a reviewed change no longer fits what stands in ConnectWise, or None when it does."""
    if row.kind is ChangeKind.CREATE:
        there = [
            a
            for a in additions
            if a.catalog_item_id == row.catalog_item_id
            and a.is_open(today)
            and not (a.id in row.known_additions and a.cancelled_date is not None)
        ]
        return f"an addition ({there[0].id}) stands there now" if there else None
    addition = _by_id(row, additions)
    if addition is None:
        return "the addition no longer exists"
    if addition.catalog_item_id != row.catalog_item_id:
        return "the addition is one of another ConnectWise product now"
    if not addition.is_open(today):
        return f"the addition was cancelled as of {addition.cancelled_date}"
    if addition.quantity != row.before:
        return f"its quantity is {number(addition.quantity)} now, not {number(row.before)}"
    return None


def judge(row: models.Change, additions: Iterable[Addition]) -> bool | None:
    """Did the write take effect? True, False, or None when something else stands there now."""
    if row.kind is ChangeKind.CREATE:
        return bool(created(row, additions))
    addition = _by_id(row, additions)
    if addition is None or addition.catalog_item_id != row.catalog_item_id:
        return None
    if _is_as_asked(row, addition):
        return True
    return False if addition.quantity == row.before else None


def created(row: models.Change, additions: Iterable[Addition]) -> list[Addition]:
    """The additions that can come from this create: new, and in all that was written like it.

    ConnectWise does not tell who made an addition, nor when.
    """
    known = set(row.known_additions)
    return [
        a
        for a in additions
        if a.id not in known
        and a.catalog_item_id == row.catalog_item_id
        and a.quantity == row.after
        and a.effective_date == row.effective_date
        and a.cancelled_date is None
    ]


def read_back_create(context: SyncContext, row: models.Change, doubt: VendorError) -> Outcome:
    """After an unclear create: look several times, because the server may still be at work.

    It is never sent a second time in the same run: had it arrived late, seats would be billed
    twice. What is not found stays open, and the next run looks first.
    """
    try:
        for seconds in context.settle_seconds:
            context.sleep(seconds)
            found = created(row, context.connectwise.additions(_agreement(row)))
            if len(found) == 1:
                return Outcome(ChangeState.APPLIED, addition_id=found[0].id, doubt=doubt)
    except VendorError as error:
        return _unread(doubt, error)
    return _unclear(doubt, "it was not found on reading back")


def read_back_change(
    context: SyncContext, row: models.Change, doubt: VendorError
) -> Outcome | None:
    """After an unclear update or cancel: its outcome, or None when it certainly had no effect."""
    try:
        verdict = judge(row, context.connectwise.additions(_agreement(row)))
    except VendorError as error:
        return _unread(doubt, error)
    if verdict is None:
        return Outcome(ChangeState.FAILED, _NEITHER, doubt=doubt)
    return Outcome(ChangeState.APPLIED, doubt=doubt) if verdict else None


def resolve(context: SyncContext, row: models.Change) -> Outcome:
    """Settle an intent that an earlier run left open, by reading. Raises VendorError."""
    if row.kind is ChangeKind.CREATE_PRODUCT:
        return _resolve_product(context, row)
    try:
        additions = context.connectwise.additions(_agreement(row))
    except NotFound:
        # Wrong keys may look like this too: the agreement is gone when the list lacks it as well.
        if context.connectwise.agreements(ids=[_agreement(row)]):
            raise
        return Outcome(ChangeState.FAILED, "The agreement is gone; there is nothing to look for.")
    if row.kind is ChangeKind.CREATE:
        return _resolve_create(context, row, additions)
    verdict = judge(row, additions)
    if verdict:
        return Outcome(ChangeState.APPLIED)
    return Outcome(ChangeState.FAILED, _NOT_ARRIVED if verdict is False else _NEITHER)


def _resolve_create(
    context: SyncContext, row: models.Change, additions: Iterable[Addition]
) -> Outcome:
    found = created(row, additions)
    if not found:
        return Outcome(ChangeState.FAILED, _NOT_ARRIVED)
    if len(found) > 1:
        return Outcome(
            ChangeState.FAILED,
            f"{len(found)} new additions could be the one that was made; left for a person to see.",
        )
    if row.intended_at is None or context.now() - row.intended_at > _RECOGNISED_FOR:
        return Outcome(
            ChangeState.FAILED,
            f"Addition {found[0].id} may be the one that was made, or somebody made it by hand "
            "since. It was left alone; approve its adoption if it is right.",
        )
    return Outcome(ChangeState.APPLIED, addition_id=found[0].id)


def _resolve_product(context: SyncContext, row: models.Change) -> Outcome:
    items = context.connectwise.catalog_items(identifiers=[row.new_identifier or ""])
    usable = [item for item in items if not item.inactive and not item.is_bundle]
    if usable:
        return Outcome(ChangeState.APPLIED, catalog_item_id=usable[0].id)
    return Outcome(ChangeState.FAILED, _NOT_ARRIVED)


def _unread(doubt: VendorError, why: VendorError) -> Outcome:
    return replace(_unclear(doubt, f"it could not be read back ({why})"), doubt=why)


def _unclear(doubt: VendorError, what: str) -> Outcome:
    return Outcome(
        ChangeState.UNCLEAR,
        f"{doubt} Whether it took effect is not known: {what}. The next run looks first.",
        doubt=doubt,
    )


def _is_as_asked(row: models.Change, addition: Addition) -> bool:
    if row.cancelled_date is not None and addition.cancelled_date != row.cancelled_date:
        return False
    wanted: Decimal | None = row.after if row.sets_quantity else row.before
    return addition.quantity == wanted


def _by_id(row: models.Change, additions: Iterable[Addition]) -> Addition | None:
    return next((a for a in additions if a.id == row.addition_id), None)


def _agreement(row: models.Change) -> int:
    if row.agreement_id is None:
        raise ValueError(f"change {row.id} has no agreement")
    return row.agreement_id
