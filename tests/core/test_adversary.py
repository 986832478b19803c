"""Situations made to lead the plan astray: seats billed twice, billed nowhere, lines not ours."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from services.sync.model import Change, ChangeKind, FindingKind, Situation, Source
from services.sync.plan import IncompleteSituationError
from services.sync.rules import EffectiveDate, UsageEnded
from tests.core.factories import (
    NO_RAILS,
    TODAY,
    addition,
    agreement,
    changes,
    facts,
    findings,
    firewall,
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
from tests.core.world import World, nothing

CANCEL = dataclasses.replace(NO_RAILS, usage_ended=UsageEnded.CANCEL)
ZERO = dataclasses.replace(NO_RAILS, usage_ended=UsageEnded.ZERO)


def unheld(s: Situation, kind: ChangeKind | None = None) -> list[Change]:
    return [c for c in changes(s, kind) if c.held is None]


# --- billed twice -------------------------------------------------------------------------------


def test_seats_that_leave_an_addition_which_must_stay_for_others_are_not_billed_elsewhere_too() -> (
    None
):
    """P1 moves to item 101; P2, which shares the old addition, is switched off."""
    old = addition(1, 8)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3)],
        products=[product("P1", 101), product("P2", 100, sync=False)],
        items=[item(100), item(101)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=NO_RAILS,
    )
    assert unheld(s, ChangeKind.CREATE) == []


def test_seats_that_leave_an_ambiguous_addition_are_not_billed_elsewhere_too() -> None:
    """P1 moves to item 101; the old place has a second line, made by hand, and keeps P2."""
    old, by_hand = addition(1, 8), addition(2, 1)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3)],
        products=[product("P1", 101), product("P2", 100)],
        items=[item(100), item(101)],
        additions=[old, by_hand],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=NO_RAILS,
    )
    assert unheld(s, ChangeKind.CREATE) == []


def exchange(**more: Any) -> Situation:
    """t2's 3 seats leave addition 1, and t1's P2 brings 3 of addition 2: 1 needs no write."""
    one, two = addition(1, 3), addition(2, 8, item=101)
    return situation(
        [line("t1", "P1", 5), line("t1", "P2", 3), line("t2", "P3", 3)],
        tenants=[tenant("t1", 10), tenant("t2", 11)],
        products=[
            product("P1", 102, sync=more.pop("sync", True)),
            product("P2", 100),
            product("P3", 100),
        ],
        items=[item(100), item(101), item(102)],
        additions=[one, two],
        owned=[
            ours(one, ("t2", "P3")),
            ours(two, ("t1", "P1"), ("t1", "P2"), quantity=more.pop("wrote", 8)),
        ],
        rules=NO_RAILS,
    )


def test_seats_exchanged_at_a_number_that_happens_to_be_right_move_all_together() -> None:
    world = World(exchange())
    world.apply(guarded(world.situation), nothing)
    assert world.billed_twice() == set()
    assert facts(*world.standing()) == ((10, 100, 3), (10, 102, 5), (11, 100, 3))


@pytest.mark.parametrize("more", [{"sync": False}, {"wrote": 7}], ids=["part off", "edited"])
def test_seats_exchanged_at_a_number_that_happens_to_be_right_are_not_billed_twice(
    more: dict[str, Any],
) -> None:
    world = World(exchange(**more))
    world.apply(guarded(world.situation), nothing)
    assert world.billed_twice() == set()


def test_an_old_agreement_that_was_not_read_stops_the_plan_of_a_move() -> None:
    """The tenant moved from agreement 10 to 11, and only 11 was read."""
    old = addition(1, 5, agreement=10)
    s = situation(
        [line("t1", "P1", 5)], tenants=[tenant(agreement=11)], additions=[old], owned=[ours(old)]
    )
    s = dataclasses.replace(s, additions={11: ()})
    with pytest.raises(IncompleteSituationError):
        plan_of(s)


def test_a_move_from_two_additions_at_one_place_ends_both() -> None:
    one, two = addition(1, 5), addition(2, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[one, two],
        owned=[ours(one), ours(two)],
        rules=NO_RAILS,
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    assert world.billed_twice() == set()


def test_a_second_run_after_two_of_our_additions_at_one_place_ended_changes_nothing() -> None:
    one, two = addition(1, 5), addition(2, 5)
    s = situation(additions=[one, two], owned=[ours(one), ours(two)], rules=CANCEL)
    world = World(s)
    world.apply(guarded(s))
    assert guarded(world.situation).changes == ()


def test_seats_that_come_back_are_not_billed_on_days_that_the_ended_addition_still_bills() -> None:
    """P1 went to agreement 11 from November on, and comes back in October."""
    late = [agreement(10), agreement(11, bill_start_date=dt.date(2026, 11, 1))]
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=late,
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    world.situation = dataclasses.replace(world.situation, tenants={"t1": tenant()})
    world.apply(guarded(world.situation), nothing)
    assert world.billed_twice() == set()


def test_a_new_addition_does_not_bill_days_that_a_line_ended_by_hand_has_billed() -> None:
    """Somebody ended the old line in mid-month; ours would begin on the first."""
    s = situation(
        [line("t1", "P1", 5)], additions=[addition(1, 5, cancelled_date=dt.date(2026, 10, 15))]
    )
    (change,) = changes(s, ChangeKind.CREATE)
    assert change.effective_date is not None
    assert change.held or change.effective_date > dt.date(2026, 10, 15)


def test_an_addition_that_a_person_ended_is_not_made_again_elsewhere_without_asking() -> None:
    """Removed in ConnectWise, then remapped: still removed by a person."""
    s = situation(
        [line("t1", "P1", 5)], products=[product("P1", 200)], owned=[ours(addition(1, 5))]
    )
    (change,) = changes(s, ChangeKind.CREATE)
    assert change.held


def test_a_move_to_two_places_ends_the_old_addition_before_the_first_of_them_bills() -> None:
    """P1 joins an addition that is billed now; P2 goes where billing begins in November."""
    old, there = addition(1, 8), addition(2, 1, item=200)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3), line("t1", "P3", 1)],
        tenants=[tenant(agreements_by_product={"P2": 11})],
        products=[product("P1", 200), product("P2", 100), product("P3", 200)],
        agreements=[agreement(10), agreement(11, bill_start_date=dt.date(2026, 11, 1))],
        additions=[old, there],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2")), ours(there, ("t1", "P3"))],
        rules=NO_RAILS,
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    assert world.billed_twice() == set()


def test_an_already_invoiced_month_is_not_billed_again_on_another_agreement() -> None:
    """October stands on an invoice of agreement 10 already; 11 is invoiced in arrears."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[agreement(10, next_invoice_date=dt.date(2026, 11, 1)), agreement(11)],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    (create,) = changes(s, ChangeKind.CREATE)
    assert create.effective_date is not None
    assert create.held or create.effective_date >= dt.date(2026, 11, 1)


# --- billed nowhere, or longer than wished ------------------------------------------------------


def test_ending_an_addition_never_prolongs_the_end_that_a_person_set() -> None:
    old = addition(1, 5, cancelled_date=dt.date(2026, 10, 31))
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[agreement(10), agreement(11, bill_start_date=dt.date(2026, 11, 15))],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    assert changes(s, ChangeKind.CANCEL) == []


def test_a_move_that_a_crash_cut_short_goes_on_with_the_same_last_day() -> None:
    """The new addition, billed from November on, was made; the old one was not ended yet."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[agreement(10), agreement(11, bill_start_date=dt.date(2026, 11, 1))],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    world = World(s)
    plan = guarded(s)
    world.apply(plan, nothing, stop_after=1)
    (planned,) = (c for c in plan.changes if c.kind is ChangeKind.CANCEL)
    (now,) = changes(world.situation, ChangeKind.CANCEL)
    assert now.cancelled_date == planned.cancelled_date == dt.date(2026, 10, 31)


def test_usage_ended_is_asked_about_when_the_rest_of_the_addition_moves() -> None:
    """P1 moves, P2 is no longer in the report, and the rule is to ask."""
    old = addition(1, 8)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200), product("P2", 100)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=NO_RAILS,
    )
    assert [c.kind for c in changes(s)] == [ChangeKind.CANCEL, ChangeKind.CREATE]
    assert all(c.held for c in changes(s))


def test_seats_of_a_product_that_is_off_stay_known_when_the_others_grow_to_the_same_number() -> (
    None
):
    """P2's 5 seats are off; P1 grows from 5 to 10, then falls to 9: 10 stood for both."""
    old = addition(1, 10)
    s = situation(
        [line("t1", "P1", 10), line("t1", "P2", 5)],
        products=[product("P1", 100), product("P2", 100, sync=False)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=NO_RAILS,
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    later = dataclasses.replace(world.situation, usage=[line("t1", "P1", 9)])
    assert unheld(later) == []


def test_an_addition_at_zero_keeps_what_it_stands_for() -> None:
    """Usage ended and 0 was written; then the product is switched off: nothing is touched."""
    old = addition(1, 5)
    s = situation(additions=[old], owned=[ours(old)], rules=ZERO)
    world = World(s)
    world.apply(guarded(s))
    off = dataclasses.replace(
        world.situation, products={"P1": product("P1", 100, sync=False)}, rules=CANCEL
    )
    assert unheld(off) == []


def test_the_reason_to_end_an_addition_at_zero_still_says_of_what() -> None:
    old = addition(1, 5)
    world = World(situation(additions=[old], owned=[ours(old)], rules=ZERO))
    world.apply(guarded(world.situation))
    (cancel,) = changes(dataclasses.replace(world.situation, rules=CANCEL))
    assert "P1 of Tenant t1" in cancel.reason


def test_usage_of_an_unmapped_product_is_not_lost_because_another_customer_has_a_credit() -> None:
    s = situation(
        [line("t1", "P1", 5), line("t2", "P1", -5)],
        tenants=[tenant("t1"), tenant("t2", 11)],
        products=[product("P1", None)],
    )
    assert ChangeKind.CREATE in {c.kind for c in changes(s)} or plan_of(s).findings


def test_a_growth_elsewhere_in_the_group_does_not_hide_a_fall_on_one_addition() -> None:
    """P1's 5 seats move to an addition that also grows; P2 falls from 40 to 5 all the same."""
    a, b = addition(1, 45), addition(2, 100, item=200)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 5), line("t1", "P3", 150)],
        products=[product("P1", 200), product("P2", 100), product("P3", 200)],
        additions=[a, b],
        owned=[ours(a, ("t1", "P1"), ("t1", "P2")), ours(b, ("t1", "P3"))],
    )
    assert all(c.held for c in changes(s, ChangeKind.UPDATE))


def test_a_drop_to_zero_is_a_decrease_even_where_drops_to_zero_are_not_held_as_such() -> None:
    old = addition(1, 100)
    rules = dataclasses.replace(NO_RAILS, decrease_percent=Decimal(30), usage_ended=UsageEnded.ZERO)
    assert only_change(situation(additions=[old], owned=[ours(old)], rules=rules)).held


# --- old ownership ------------------------------------------------------------------------------


def test_ownership_of_a_line_that_is_gone_does_not_hold_the_one_that_replaced_it() -> None:
    """Line 1 was removed and made again as 2; what 1 also stood for was switched off since."""
    gone, now = addition(1, 8), addition(2, 5)
    s = situation(
        [line("t1", "P1", 6)],
        products=[product("P1", 100), product("P2", 100, sync=False)],
        additions=[now],
        owned=[ours(gone, ("t1", "P1"), ("t1", "P2")), ours(now)],
    )
    assert only_change(s).held is None


def test_a_line_whose_product_a_person_changed_counts_as_edited() -> None:
    """Addition 1 was ours on item 100; somebody changed its product to 200 in ConnectWise."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P2", 3)],
        additions=[dataclasses.replace(old, catalog_item_id=200)],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    assert unheld(s) == []


def test_seats_are_not_billed_again_while_the_old_line_bills_under_another_product() -> None:
    """As before, and then P1 is remapped to item 300: the line of old still bills it."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 300)],
        items=[item(100), item(200), item(300)],
        additions=[dataclasses.replace(old, catalog_item_id=200)],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    assert unheld(s) == []


# --- the order of the inputs --------------------------------------------------------------------


def test_two_owners_of_one_serial_number_are_no_owner_in_any_order() -> None:
    rows = [firewall("S1", "t1"), firewall("S1", "t2")]
    usage = [line(None, "P1", 5, serial="S1")]
    one = situation(usage, tenants=[tenant("t1"), tenant("t2", 11)], firewalls=rows)
    assert changes(one) == changes(dataclasses.replace(one, firewalls=rows[::-1])) == []


def test_a_line_without_serial_number_belongs_to_no_firewall_without_one() -> None:
    s = situation([line(None, "P1", 5)], firewalls=[firewall("", "t1")])
    assert changes(s) == []


def test_findings_do_not_depend_on_the_order_of_lines_with_different_names() -> None:
    usage = [line(None, "P1", 1, serial="S", name=n) for n in ("Old name", "New name")]
    assert plan_of(situation(usage)).findings == plan_of(situation(usage[::-1])).findings


def test_changes_do_not_depend_on_the_order_of_lines_that_differ_in_little() -> None:
    usage = [line("t1", "P1", 1, account_name=n) for n in ("A", "B")]
    assert changes(situation(usage)) == changes(situation(usage[::-1]))


# --- what is said -------------------------------------------------------------------------------


def test_a_product_that_is_switched_off_does_not_ask_for_a_customer_mapping() -> None:
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=None)],
        products=[product("P1", 100, sync=False)],
    )
    assert findings(s, FindingKind.UNMAPPED_TENANT) == []


# --- what already holds -------------------------------------------------------------------------


def test_a_move_onto_an_ambiguous_place_takes_nothing_away() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[old, addition(2, 1, item=200), addition(3, 1, item=200)],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    assert changes(s) == []
    assert [f.subject for f in findings(s, FindingKind.LEFT_ALONE)] == ["addition 1"]


def test_a_move_onto_a_line_made_by_hand_waits_as_a_whole() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[old, addition(2, 5, item=200)],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    assert [(c.kind, bool(c.held)) for c in changes(s)] == [
        (ChangeKind.CANCEL, True),
        (ChangeKind.ADOPT, True),
    ]


def test_seats_that_went_away_and_came_back_are_made_anew_after_the_old_ones_ended() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    world.situation = dataclasses.replace(world.situation, products={"P1": product("P1", 100)})
    world.apply(guarded(world.situation), nothing)
    assert world.billed_twice() == set()
    assert guarded(world.situation).changes == ()
    assert world.standing() == [(10, 100, Decimal(5))]


def test_a_move_on_the_day_of_its_making_bills_nothing_at_the_first_place() -> None:
    new = addition(1, 5, effective_date=TODAY)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[new],
        owned=[ours(new)],
        rules=dataclasses.replace(NO_RAILS, effective_date=EffectiveDate.TODAY),
    )
    cancel, create = changes(s)
    assert (cancel.cancelled_date, cancel.sets_quantity) == (TODAY, True)
    assert create.effective_date == TODAY


def test_an_ended_line_of_ours_that_a_person_opened_again_is_theirs() -> None:
    old = addition(1, 5)
    s = situation([line("t1", "P1", 7)], additions=[old], owned=[ours(old, ended_by_us=True)])
    assert only_change(s).kind is ChangeKind.ADOPT
    assert changes(dataclasses.replace(s, usage=())) == []


def test_a_half_moved_source_that_stands_on_two_lines_of_ours_is_taken_from_the_old_one() -> None:
    old, new = addition(1, 5), addition(2, 5, item=200)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        additions=[old, new],
        owned=[ours(old), ours(new)],
        rules=NO_RAILS,
    )
    (change,) = unheld(s)
    assert (change.kind, change.addition_id) == (ChangeKind.CANCEL, 1)
    (kept,) = plan_of(s).confirmed
    assert kept.sources == {Source("t1", "P1")}


def test_a_customer_who_moves_on_from_an_agreement_that_is_over_is_billed_on_the_new_one() -> None:
    """The yearly renewal: the old agreement makes no invoices, so its line need not end."""
    old = addition(1, 5)
    over = agreement(10, end_date=dt.date(2026, 10, 14), no_ending_date=False)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[over, agreement(11)],
        additions=[old],
        owned=[ours(old)],
        rules=NO_RAILS,
    )
    (create,) = changes(s)
    assert (create.kind, create.agreement_id, create.held) == (ChangeKind.CREATE, 11, None)
    assert create.effective_date == dt.date(2026, 10, 15)
    (finding,) = findings(s, FindingKind.AGREEMENT_UNUSABLE)
    assert "stays at 5: the agreement ended on 2026-10-14" in finding.message


def test_a_line_that_ended_at_zero_does_not_put_off_the_next_one() -> None:
    ended = addition(1, 0, cancelled_date=dt.date(2026, 10, 20))
    s = situation([line("t1", "P1", 5)], additions=[ended], rules=NO_RAILS)
    assert only_change(s).effective_date == dt.date(2026, 10, 1)


def test_the_rest_of_a_move_that_was_interrupted_is_not_held_as_a_drop_to_zero() -> None:
    """The new place bills already; only the ending of the old one is missing."""
    old, new = addition(1, 50), addition(2, 50, item=101)
    s = situation(
        [line("t1", "P1", 50)],
        products=[product("P1", 101)],
        items=[item(100), item(101)],
        additions=[old, new],
        owned=[ours(old), ours(new)],
    )
    (cancel,) = guarded(s).changes
    assert (cancel.kind, cancel.addition_id, cancel.held) == (ChangeKind.CANCEL, 1, None)
