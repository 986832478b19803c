"""Days and ownership made to lead the plan astray: whose seats a line bills, and from when on."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal

import pytest

from services.sync.guard import guard
from services.sync.model import ChangeKind, Month
from tests.core.factories import (
    NO_RAILS,
    addition,
    agreement,
    changes,
    guarded,
    item,
    line,
    only_change,
    ours,
    plan_of,
    product,
    situation,
    tenant,
)
from tests.core.test_adversary import ZERO, exchange
from tests.core.world import World, nothing


def test_what_waits_behind_a_guard_rail_keeps_what_it_stood_for() -> None:
    """The exchange is too dear at first; were it forgotten, t2's seats would go alone."""
    dear = {100: item(100), 101: item(101), 102: item(102, price=Decimal(900))}
    rails = dataclasses.replace(NO_RAILS, price_effect_limit=Decimal(4000))
    world = World(dataclasses.replace(exchange(), items=dear, rules=rails))
    for _ in range(2):
        plan = guarded(world.situation)
        world.apply(plan, nothing)
        assert [bool(c.held) for c in plan.changes] == [True, True, True]
        assert plan.confirmed == ()
        assert world.billed_twice() == set()


@pytest.mark.parametrize("how", ["shrunk", "older"])
def test_a_report_that_is_not_believed_changes_nothing_of_what_an_addition_stands_for(
    how: str,
) -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)], additions=[old], owned=[ours(old, ("t1", "P1"), ("t2", "P1"))]
    )
    plan = plan_of(s)
    assert [o.addition_id for o in plan.confirmed] == [1]
    weighed = guard(
        plan,
        s.rules,
        managed=1,
        tenants_now=["t1"],
        tenants_before=["t1", "t2"] if how == "shrunk" else [],
        synced=Month(2026, 11),
        month=s.month if how == "older" else None,
    )
    assert weighed.confirmed == ()


def test_a_line_of_ours_that_a_person_ended_bills_until_then_wherever_it_is_made_again() -> None:
    """Ended in mid-month by hand, and remapped; the new line must not begin on the first."""
    old = addition(1, 5, cancelled_date=dt.date(2026, 10, 15))
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    (create,) = changes(s)
    assert create.held == "it was removed in ConnectWise: make it again?"
    assert create.effective_date == dt.date(2026, 10, 16)
    world = World(s)
    world.apply(guarded(s))
    assert world.billed_twice() == set()
    grown = dataclasses.replace(world.situation, usage=[line("t1", "P1", 6)])
    assert only_change(grown).held is None


@pytest.mark.parametrize(
    ("last", "held"),
    [
        (dt.date(2026, 9, 30), None),
        (dt.date(2026, 10, 31), "until 2026-11-01 an older line bills a part of it"),
    ],
)
def test_seats_do_not_join_a_line_in_a_month_that_their_ended_one_still_bills(
    last: dt.date, held: str | None
) -> None:
    """P2's own line was ended; P2 comes to the line of P1, whose new number has no date."""
    joined, ended = addition(1, 5), addition(2, 3, item=200, cancelled_date=last)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3)],
        products=[product("P1", 100), product("P2", 100)],
        additions=[joined, ended],
        owned=[
            ours(joined),
            ours(ended, ("t1", "P2"), ended_by_us=True, last_billed_day=last),
        ],
        rules=NO_RAILS,
    )
    assert only_change(s).held == held


@pytest.mark.parametrize(
    ("stands", "first"),
    [
        (None, dt.date(2026, 10, 1)),
        (dt.date(2026, 10, 9), dt.date(2026, 10, 10)),
        (dt.date(2026, 12, 31), dt.date(2027, 1, 1)),
    ],
)
def test_what_we_ended_is_believed_as_it_stands_now_not_as_we_left_it(
    stands: dt.date | None, first: dt.date
) -> None:
    """We ended it on 31 October; since then a person deleted it, or chose another last day."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[dataclasses.replace(old, cancelled_date=stands)] if stands else [],
        owned=[ours(old, ended_by_us=True, last_billed_day=dt.date(2026, 10, 31))],
        rules=NO_RAILS,
    )
    assert only_change(s).effective_date == first


def test_what_we_ended_on_an_agreement_that_is_not_read_any_more_is_believed_as_we_left_it() -> (
    None
):
    gone = ours(
        addition(1, 5, agreement=9), ended_by_us=True, last_billed_day=dt.date(2026, 10, 31)
    )
    s = situation([line("t1", "P1", 5)], owned=[gone], rules=NO_RAILS)
    assert only_change(s).effective_date == dt.date(2026, 11, 1)


def test_seats_do_not_move_unasked_to_a_line_that_a_person_lets_end() -> None:
    old, ending = addition(1, 5), addition(2, 3, item=200, cancelled_date=dt.date(2026, 12, 31))
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3)],
        products=[product("P1", 200), product("P2", 200)],
        additions=[old, ending],
        owned=[ours(old), ours(ending, ("t1", "P2"))],
        rules=NO_RAILS,
    )
    assert all(c.held for c in changes(s))
    grows = dataclasses.replace(s, usage=[line("t1", "P2", 4)], additions={10: (ending,), 11: ()})
    assert only_change(grows).held is None


@pytest.mark.parametrize(("invoice", "held"), [(None, True), (15, True), (20, False)])
def test_seats_that_begin_elsewhere_later_are_not_taken_from_a_line_that_stays(
    invoice: int | None, held: bool
) -> None:
    """t2 goes to an agreement that is billed from 20 November on; t1 keeps the line of both."""
    old = addition(1, 8)
    invoiced = dt.date(2026, 11, invoice) if invoice else None
    s = situation(
        [line("t1", "P1", 5), line("t2", "P1", 3)],
        tenants=[tenant("t1"), tenant("t2", 11)],
        agreements=[
            agreement(10, next_invoice_date=invoiced),
            agreement(11, bill_start_date=dt.date(2026, 11, 20)),
        ],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t2", "P1"))],
        rules=NO_RAILS,
    )
    assert [(c.kind, bool(c.held)) for c in changes(s)] == [
        (ChangeKind.UPDATE, held),
        (ChangeKind.CREATE, held),
    ]
    world = World(s)
    world.apply(guarded(s))
    assert guarded(world.situation).changes == ()


def test_usage_that_ended_ends_in_the_same_run_that_maps_its_product_anew() -> None:
    """P1's mapping was cleared; t2 has usage, so a default product is made, and t1 has none."""
    old = addition(1, 5)
    s = situation(
        [line("t2", "P1", 5)],
        tenants=[tenant("t1"), tenant("t2")],
        products=[product("P1", None)],
        additions=[old],
        owned=[ours(old)],
        rules=ZERO,
    )
    world = World(s)
    world.apply(guarded(s))
    assert {c.kind for c in changes(s)} == {
        ChangeKind.CREATE_PRODUCT,
        ChangeKind.CREATE,
        ChangeKind.UPDATE,
    }
    assert guarded(world.situation).changes == ()


def test_seats_do_not_join_a_line_too_early_because_its_number_happens_to_be_right() -> None:
    """P2 takes the place of P1, which moves on, while an ended line bills P2 until the 31st."""
    joined, last = addition(1, 3), dt.date(2026, 10, 31)
    ended = addition(2, 3, item=101, cancelled_date=last)
    s = situation(
        [line("t1", "P1", 3), line("t1", "P2", 3)],
        products=[product("P1", 200), product("P2", 100)],
        items=[item(100), item(101), item(200)],
        additions=[joined, ended],
        owned=[ours(joined), ours(ended, ("t1", "P2"), ended_by_us=True, last_billed_day=last)],
        rules=NO_RAILS,
    )
    assert only_change(s).held == (
        "seats would be billed twice: until 2026-11-01 an older line bills a part of it"
    )
    assert plan_of(s).confirmed == ()
    world = World(s)
    world.apply(guarded(s))
    assert guarded(world.situation).changes == ()
    november = dataclasses.replace(s, month=Month(2026, 11), today=dt.date(2026, 11, 26))
    assert only_change(november).held is None
