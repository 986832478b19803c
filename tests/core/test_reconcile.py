"""Usage beside what is billed: nothing is lost, nothing is counted twice, nothing is decided."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.sync.desired import desired_additions
from services.sync.model import ChangeKind, Firewall, Situation, UsageLine
from services.sync.plan import compute_plan
from services.sync.reconcile import (
    NOBODY,
    Compared,
    Obstacle,
    Verdict,
    add_up,
    reconcile,
    verdict,
)
from services.sync.standing import IncompleteSituationError, Standing
from tests.core.counter import example
from tests.core.factories import (
    addition,
    agreement,
    facts,
    item,
    line,
    ours,
    product,
    situation,
    tenant,
)
from tests.core.strategies import situations, tidy

ZERO = Decimal(0)
V = TypeVar("V")


def only(s: Situation) -> Compared:
    (row,) = reconcile(s)
    return row


def told(row: Compared) -> tuple[object, ...]:
    return row.sophos, row.connectwise, verdict(row.sophos, row.connectwise)


def lines_of(row: Compared) -> list[UsageLine]:
    return [line for record in row.records for line in record.lines]


# --- laws -----------------------------------------------------------------------------------------


@given(situations())
def test_every_usage_line_is_counted_once(s: Situation) -> None:
    example()
    rows = reconcile(s)
    assert Counter(map(repr, s.usage)) == Counter(
        repr(each) for row in rows for each in lines_of(row)
    )
    assert sum((row.sophos for row in rows), ZERO) == sum((each.quantity for each in s.usage), ZERO)
    for row in rows:
        assert row.sophos == sum((each.quantity for each in lines_of(row)), ZERO)
        assert row.sophos == sum((r.quantity for r in row.records), ZERO)


@given(situations())
def test_every_addition_is_counted_at_most_once(s: Situation) -> None:
    example()
    rows = reconcile(s)
    counted = Counter(a.id for row in rows for a in row.additions)
    assert not counted or max(counted.values()) == 1
    for row in rows:
        assert row.connectwise == sum((a.quantity for a in row.additions), ZERO)
        assert {a.agreement_id for a in row.additions} <= {row.agreement_id}
        assert {a.catalog_item_id for a in row.additions} <= {row.item_id}
        assert row.ours <= {a.id for a in row.additions}


@given(situations())
def test_no_place_has_two_rows(s: Situation) -> None:
    example()
    with_additions = [(r.agreement_id, r.item_id) for r in reconcile(s) if r.additions]
    assert len(with_additions) == len(set(with_additions))


@given(situations())
def test_what_is_ours_and_bills_is_always_shown(s: Situation) -> None:
    example()
    standing = Standing(s)
    shown = {a.id for row in reconcile(s) for a in row.additions}
    for owned in standing.ours.values():
        there, where = standing.of(owned), s.agreements.get(owned.agreement_id)
        if there and there.quantity and where and not where.why_not_writable(s.today):
            # Usage without a place of its own company may stand on that agreement as well.
            assert there.id in shown


@given(situations(), st.randoms(use_true_random=False))
def test_the_order_is_nothing(s: Situation, dice: Random) -> None:
    example()

    def mixed(values: Iterable[V]) -> list[V]:
        found = list(values)
        dice.shuffle(found)
        return found

    other = dataclasses.replace(
        s,
        usage=tuple(mixed(s.usage)),
        tenants=dict(mixed(s.tenants.items())),
        products=dict(mixed(s.products.items())),
        items=dict(mixed(s.items.items())),
        agreements=dict(mixed(s.agreements.items())),
        additions={key: tuple(mixed(each)) for key, each in mixed(s.additions.items())},
        owned=tuple(mixed(s.owned)),
        firewalls=tuple(mixed(s.firewalls)),
    )
    assert reconcile(other) == reconcile(s)


@given(situations())
def test_switching_the_sync_changes_no_number(s: Situation) -> None:
    """Usable without ever switching sync on: only the advice differs."""
    example()
    off = dataclasses.replace(
        s,
        tenants={k: dataclasses.replace(t, sync=False) for k, t in s.tenants.items()},
        products={k: dataclasses.replace(p, sync=False) for k, p in s.products.items()},
    )
    plain = [dataclasses.replace(row, obstacles=()) for row in reconcile(s)]
    assert [dataclasses.replace(row, obstacles=()) for row in reconcile(off)] == plain
    assert add_up((r.sophos, r.connectwise, r.unit_price) for r in reconcile(off)) == add_up(
        (r.sophos, r.connectwise, r.unit_price) for r in plain
    )


@given(tidy())
def test_what_a_plan_creates_is_what_is_not_billed(s: Situation) -> None:
    """In good order the two agree: what is missing here is what the plan would make."""
    example()
    state = desired_additions(s)
    assume(not state.blocked and not state.products)
    made = {
        (c.agreement_id, c.item): c.after
        for c in compute_plan(s, state).changes
        if c.kind is ChangeKind.CREATE
    }
    missing = {
        (r.agreement_id, r.item_id): r.sophos - r.connectwise
        for r in reconcile(s)
        if r.sophos != r.connectwise and not r.obstacles
    }
    assert made == missing


@given(st.lists(st.tuples(*[st.integers(-5, 9).map(Decimal)] * 2, st.sampled_from([None, 2, 3]))))
def test_totals_add_up(rows: list[tuple[Decimal, Decimal, int | None]]) -> None:
    example()
    priced = [(a, b, None if p is None else Decimal(p)) for a, b, p in rows]
    totals = add_up(priced)
    assert totals.agree + totals.differ == len(rows)
    assert totals.not_billed.seats - totals.overbilled.seats == sum(
        (a - b for a, b, _ in priced), ZERO
    )
    assert totals.not_billed.money - totals.overbilled.money == sum(
        ((a - b) * p for a, b, p in priced if p is not None), ZERO
    )
    unpriced = [a - b for a, b, p in priced if p is None and a != b]
    assert totals.not_billed.unpriced + totals.overbilled.unpriced == len(unpriced)


# --- rules ----------------------------------------------------------------------------------------


def test_nothing_to_compare() -> None:
    assert reconcile(situation()) == ()


def test_equal_on_both_sides() -> None:
    one = addition(1, 5)
    row = only(situation([line("t1", "P1", 5)], additions=[one], owned=[ours(one)]))
    assert told(row) == (5, 5, Verdict.AGREES)
    assert row.obstacles == ()
    assert row.ours == {1}


@pytest.mark.parametrize(
    ("used", "stands", "found"),
    [(7, 5, Verdict.UNDERBILLED), (3, 5, Verdict.OVERBILLED), (7, 0, Verdict.NOT_BILLED)],
)
def test_more_or_less(used: int, stands: int, found: Verdict) -> None:
    one = addition(1, stands)
    row = only(situation([line("t1", "P1", used)], additions=[one], owned=[ours(one)]))
    assert told(row) == (used, stands, found)
    assert row.unit_price == 2


def test_several_products_on_one_item_are_one_row_that_shows_both() -> None:
    s = situation(
        [line("t1", "P1", 4), line("t1", "P2", 3), line("t1", "P1", 1)],
        products=[product("P1", 100), product("P2", 100)],
        additions=[addition(1, 8)],
    )
    row = only(s)
    assert told(row) == (8, 8, Verdict.AGREES)
    assert row.product_keys == ("P1", "P2")
    parts = [facts(r.product_key, r.quantity, len(r.lines)) for r in row.records]
    assert parts == [("P1", 5, 2), ("P2", 3, 1)]


def test_two_customers_on_one_agreement_are_one_row() -> None:
    s = situation(
        [line("t1", "P1", 4), line("t2", "P1", 3)],
        tenants=[tenant("t1"), tenant("t2")],
        additions=[addition(1, 7)],
    )
    assert only(s).tenant_ids == ("t1", "t2")


def test_a_customer_without_an_agreement_is_not_billed() -> None:
    row = only(situation([line("t1", "P1", 12)], tenants=[tenant(agreement=None)]))
    assert told(row) == (12, 0, Verdict.NOT_BILLED)
    assert row.obstacles == (Obstacle.CUSTOMER_UNMAPPED,)
    assert row.unit_price == 2, "about 24 a month"


def test_an_unknown_customer_and_product_are_not_billed() -> None:
    row = only(situation([line("t9", "P9", 12)]))
    assert told(row) == (12, 0, Verdict.NOT_BILLED)
    assert row.obstacles == (Obstacle.CUSTOMER_UNMAPPED, Obstacle.PRODUCT_UNMAPPED)
    assert row.unit_price is None


def test_a_product_without_a_catalog_item_is_not_billed() -> None:
    row = only(situation([line("t1", "P1", 12)], products=[product("P1", None, sync=False)]))
    assert told(row) == (12, 0, Verdict.NOT_BILLED)
    assert row.obstacles == (Obstacle.PRODUCT_UNMAPPED,)
    assert row.agreement_id == 10


def test_each_device_without_a_customer_is_a_row() -> None:
    s = situation(
        [line(None, "P1", 1, serial="S1"), line(None, "P1", 1, serial="S2")],
        firewalls=[Firewall("S9", "t1", None)],
    )
    rows = reconcile(s)
    assert [(r.tenant_ids, r.obstacles, r.records[0].tenant_id) for r in rows] == [
        ((), (Obstacle.NO_CUSTOMER,), NOBODY)
    ] * 2
    assert [lines_of(r)[0].serial for r in rows] == ["S1", "S2"]


def test_a_device_that_was_assigned_counts_for_its_customer() -> None:
    s = situation([line(None, "P1", 1, serial="S1")], serial_assignments={"S1": "t1"})
    assert only(s).tenant_ids == ("t1",)


@pytest.mark.parametrize(
    "state",
    [
        {"status": "Expired"},
        {"cancelled": True},
        {"end_date": dt.date(2026, 10, 1), "no_ending_date": False},
    ],
)
def test_an_agreement_that_makes_no_invoices_bills_nothing(state: dict[str, Any]) -> None:
    s = situation(
        [line("t1", "P1", 5)], agreements=[agreement(10, **state)], additions=[addition(1, 5)]
    )
    row = only(s)
    assert told(row) == (5, 0, Verdict.NOT_BILLED)
    assert row.obstacles == (Obstacle.AGREEMENT_UNUSABLE,)


def test_an_agreement_of_another_company_bills_somebody_else() -> None:
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(company_id=7)],
        additions=[addition(1, 5)],
    )
    assert told(only(s)) == (5, 0, Verdict.NOT_BILLED)


def test_an_addition_without_usage_is_overbilled() -> None:
    row = only(situation(additions=[addition(1, 5)]))
    assert told(row) == (0, 5, Verdict.OVERBILLED)
    assert (row.tenant_ids, row.product_keys) == (("t1",), ("P1",))
    assert row.obstacles == (Obstacle.NOT_OURS,)


def test_what_has_nothing_to_do_with_sophos_is_not_looked_at() -> None:
    assert reconcile(situation(additions=[addition(1, 5, item=555)])) == ()
    assert reconcile(situation(additions=[addition(1, 5, agreement=11)])) == ()
    assert reconcile(situation(additions=[addition(1, 0)])) == ()


def test_ours_is_looked_at_wherever_it_stands() -> None:
    """The product was mapped to another one since, or a person changed it in ConnectWise."""
    one = addition(1, 5, item=555)
    row = only(situation(additions=[one], owned=[ours(one)]))
    assert told(row) == (0, 5, Verdict.OVERBILLED)
    assert row.obstacles == (Obstacle.MAPPED_ELSEWHERE,)
    assert row.tenant_ids == ("t1",)


def test_ours_without_usage_is_of_whom_it_stood_for() -> None:
    one = addition(1, 5)
    s = situation(
        tenants=[tenant("t1"), tenant("t2")], additions=[one], owned=[ours(one, ("t2", "P1"))]
    )
    assert only(s).tenant_ids == ("t2",)


def test_without_usage_it_is_of_everybody_who_is_billed_there() -> None:
    elsewhere = tenant("t3", agreements_by_product={"P1": 11})
    s = situation(tenants=[tenant("t1"), tenant("t2"), elsewhere], additions=[addition(1, 5)])
    assert only(s).tenant_ids == ("t1", "t2")


def test_what_we_ended_and_what_ended_itself_bills_nothing() -> None:
    ended = addition(1, 5, cancelled_date=dt.date(2026, 12, 31))
    past = addition(2, 5, cancelled_date=dt.date(2026, 9, 30))
    s = situation(additions=[ended, past], owned=[ours(ended, ended_by_us=True)])
    assert reconcile(s) == ()


def test_several_additions_are_added_up() -> None:
    s = situation([line("t1", "P1", 5)], additions=[addition(1, 3), addition(2, 1)])
    row = only(s)
    assert told(row) == (5, 4, Verdict.UNDERBILLED)
    assert row.obstacles == (Obstacle.SEVERAL_ADDITIONS,)


@pytest.mark.parametrize(
    ("prices", "found"), [([None], 2), ([3], 3), ([3, 3], 3), ([3, None], None), ([3, 4], None)]
)
def test_the_price_of_one_more(prices: list[int | None], found: int | None) -> None:
    additions = [
        addition(n, 1, unit_price=None if p is None else Decimal(p)) for n, p in enumerate(prices)
    ]
    assert only(situation([line("t1", "P1", 9)], additions=additions)).unit_price == found


@pytest.mark.parametrize("item_change", [{"product_class": "Bundle"}, {"inactive": True}])
def test_an_item_that_cannot_be_billed(item_change: dict[str, Any]) -> None:
    s = situation([line("t1", "P1", 5)], items=[item(100, **item_change)])
    assert Obstacle.ITEM_UNUSABLE in only(s).obstacles


def test_an_item_that_is_gone() -> None:
    assert only(situation([line("t1", "P1", 5)], items=[])).obstacles == (Obstacle.ITEM_UNUSABLE,)


def test_usage_below_zero_is_told() -> None:
    assert Obstacle.NEGATIVE_USAGE in only(situation([line("t1", "P1", -2)])).obstacles
    lost = only(situation([line("t1", "P1", -2)], tenants=[]))
    assert Obstacle.NEGATIVE_USAGE in lost.obstacles


def test_a_customer_switched_off_is_compared_all_the_same() -> None:
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(sync=False)],
        products=[product("P1", 100, sync=False)],
        additions=[addition(1, 3)],
    )
    row = only(s)
    assert told(row) == (5, 3, Verdict.UNDERBILLED)
    assert row.obstacles == (
        Obstacle.CUSTOMER_SYNC_OFF,
        Obstacle.PRODUCT_SYNC_OFF,
        Obstacle.NOT_OURS,
    )


def test_an_agreement_that_was_not_read_is_no_zero() -> None:
    s = dataclasses.replace(situation([line("t1", "P1", 5)]), additions={})
    with pytest.raises(IncompleteSituationError):
        reconcile(s)
