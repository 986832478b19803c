"""Where a difference is put right: one click from its line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from flask import url_for

from blueprints.fixes import Fix, product_url
from models import ChangeState
from services.runs.reconciliation_pages import Shown
from services.sync.model import FindingKind
from services.sync.reconcile import Obstacle

_CHANGES = {
    ChangeState.HELD: "Look at the held change",
    ChangeState.PLANNED: "Look at the planned change",
    ChangeState.SKIPPED: "See why it was left out",
}


def fixes_of(shown: Shown) -> list[Fix]:
    """What a person can do about a difference, the most pressing first; none where both agree."""
    if not shown.line.difference:
        return []
    found: list[Fix] = []
    for obstacle in shown.line.obstacles:
        if obstacle not in shown.mended and obstacle in _FIXES:
            way, text = _FIXES[obstacle]
            found.extend(way(shown, text))
    if shown.change is not None:
        found.append(Fix(_CHANGES.get(shown.change.state, "Look at the change"), _change(shown)))
    if not found and not shown.mended and not shown.line.written:
        found.extend(_product(shown, "Open product"))
    return list(dict.fromkeys(found))[:3]


def _change(shown: Shown) -> str:
    """Found among many others by its customer's name."""
    assert shown.change is not None  # noqa: S101
    return url_for(
        "sync_runs.show",
        run_id=shown.change.run_id,
        state=shown.change.state.value,
        q=next(iter(shown.line.tenant_names), None),
        _anchor=f"change-{shown.change.id}",
    )


def _customer(shown: Shown, text: str) -> Iterator[Fix]:
    if shown.tenant_id is not None:
        where = url_for("tenant_mappings.edit", tenant_id=shown.tenant_id)
        yield Fix(text, where, dialog=True)


def _customers(shown: Shown, text: str) -> Iterator[Fix]:
    if shown.tenant_id is not None:
        yield Fix(text, url_for("tenant_mappings.index", q=shown.tenant_id))


def _product(shown: Shown, text: str) -> Iterator[Fix]:
    url = product_url(shown.product_key) if shown.product_key is not None else None
    if url:
        yield Fix(text, url)


def _finding(_shown: Shown, text: str, *, kind: FindingKind) -> Iterator[Fix]:
    yield Fix(text, url_for("findings.index", show=kind.value))


_unassigned = partial(_finding, kind=FindingKind.UNASSIGNED_LINE)
_negative = partial(_finding, kind=FindingKind.NEGATIVE_USAGE)
_ambiguous = partial(_finding, kind=FindingKind.AMBIGUOUS_ADDITION)
_FIXES: dict[Obstacle, tuple[Callable[[Shown, str], Iterator[Fix]], str]] = {
    Obstacle.NO_CUSTOMER: (_unassigned, "Assign the device"),
    Obstacle.CUSTOMER_UNMAPPED: (_customer, "Choose agreement …"),
    Obstacle.AGREEMENT_UNUSABLE: (_customer, "Choose another agreement …"),
    Obstacle.PRODUCT_UNMAPPED: (_product, "Map the product"),
    Obstacle.ITEM_UNUSABLE: (_product, "Map another product"),
    Obstacle.MAPPED_ELSEWHERE: (_product, "Open product"),
    Obstacle.NEGATIVE_USAGE: (_negative, "Open the finding"),
    Obstacle.SEVERAL_ADDITIONS: (_ambiguous, "Open the finding"),
    Obstacle.CUSTOMER_SYNC_OFF: (_customers, "Switch the customer on"),
    Obstacle.PRODUCT_SYNC_OFF: (_product, "Switch the product on"),
}
