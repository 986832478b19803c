"""The shapes of a comparison in the JSON API; json_shapes.py has what all shapes share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.formats.json_shapes import Instant, MonthText, PageQuery
from services.sync.reconcile import Obstacle, Verdict

Exact = Annotated[str, Field(description="An exact decimal number.")]


class ReconciliationQuery(PageQuery):
    """Which comparison, and which part of it."""

    month: Annotated[
        MonthText | None, Field(description="Default: the month that was compared last.")
    ] = None
    show: Annotated[
        Literal["differences", "not-billed", "overbilled", "all"],
        Field(description="Which lines; the totals are always of all of them."),
    ] = "differences"


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Difference(_Shape):
    """All differences of one direction, added up; money is per billing cycle."""

    lines: int
    quantity: Exact
    money: Annotated[str, Field(description="Of those whose price is known. Exact.")]
    unpriced_lines: Annotated[int, Field(description="How many have no known price.")]
    unpriced_quantity: Exact


class ComparedLine(_Shape):
    """Usage beside what is billed for it, at one place or at none."""

    tenant_ids: Annotated[
        list[str], Field(description="Several when they share an agreement; none when unknown.")
    ]
    customer: str | None
    serial: str | None
    products: Annotated[list[str], Field(description="The codes of its Sophos products.")]
    agreement_id: int | None
    catalog_item: str | None
    catalog_item_id: int | None
    sophos: Exact
    connectwise: Exact
    difference: Annotated[str, Field(description="Sophos less ConnectWise. Exact.")]
    unit_price: Annotated[str | None, Field(description="Exact; null where none is known.")]
    money: Annotated[str | None, Field(description="Difference times price. Exact.")]
    verdict: Verdict
    obstacles: list[Obstacle]
    why: str


class Reconciliation(_Shape):
    """The newest comparison; `run` is null when nothing was compared yet."""

    run: int | None
    month: MonthText | None
    read_at: Instant | None
    not_billed: Difference
    overbilled: Difference
    agree: Annotated[int, Field(description="How many lines say the same on both sides.")]
    items: list[ComparedLine]
    page: int
    size: int
    pages: Annotated[int, Field(ge=1, description="How many pages there are.")]
    total: int
