"""The rules of the sync, sentence by sentence, and the failures of comparable integrations."""

from __future__ import annotations

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from services.sync.desired import desired_additions
from services.sync.guard import guard
from services.sync.model import CatalogItem, Change, ChangeKind, FindingKind, Month, Plan, Source
from services.sync.plan import IncompleteSituationError
from services.sync.rules import EffectiveDate, MissingMapping, Rules, UsageEnded
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

K = ChangeKind
F = FindingKind


# --- desired ------------------------------------------------------------------------------------


def test_several_lines_of_one_tenant_and_product_add_up() -> None:
    change = only_change(situation([line("t1", "P1", 2), line("t1", "P1", 3)]))
    assert facts(change.kind, change.after, change.before) == (K.CREATE, 5, None)
    assert change.reason == "Sophos: P1 5 (2 lines); billed from 2026-10-01"


def test_lines_are_listed_in_the_order_of_their_order_numbers() -> None:
    usage = [line("t1", "P1", 3, order="O1"), line("t1", "P1", 2, order="O2")]
    for rows in (usage, usage[::-1]):
        (record,) = only_change(situation(rows)).records
        assert record.lines == tuple(usage)


def test_two_products_on_one_item_and_agreement_are_one_addition_that_explains_both() -> None:
    s = situation(
        [line("t1", "P1", 40), line("t1", "P2", 7)],
        products=[product("P1", 100), product("P2", 100)],
    )
    change = only_change(s)
    assert change.after == 47
    assert change.reason.startswith("Sophos: P1 40 + P2 7 (2 lines)")
    assert change.sources == {Source("t1", "P1"), Source("t1", "P2")}


def test_several_tenants_may_share_an_agreement_and_are_named() -> None:
    s = situation(
        [line("t1", "P1", 1), line("t2", "P1", 2)],
        tenants=[tenant("t1", name="Acme"), tenant("t2", name="Beta")],
    )
    change = only_change(s)
    assert change.after == 3
    assert change.reason.startswith("Sophos: Acme P1 1 + Beta P1 2 (2 lines)")


def test_one_tenants_products_may_go_to_different_agreements() -> None:
    s = situation(
        [line("t1", "P1", 1), line("t1", "P2", 2)],
        tenants=[tenant(agreements_by_product={"P2": 11})],
    )
    assert [facts(c.agreement_id, c.after) for c in changes(s)] == [(10, 1), (11, 2)]


@pytest.mark.parametrize(
    ("tenants", "products"),
    [
        ([tenant(sync=False)], [product()]),
        ([tenant(agreement=None)], [product()]),
        ([], [product()]),
        ([tenant()], [product(sync=False)]),
        ([tenant()], []),
    ],
    ids=["tenant off", "tenant unmapped", "tenant unknown", "product off", "product unknown"],
)
def test_only_what_is_mapped_and_switched_on_takes_part(
    tenants: list[object], products: list[object]
) -> None:
    s = situation([line("t1", "P1", 5)], tenants=tenants, products=products)  # type: ignore[arg-type]
    assert changes(s) == []


def test_the_tenants_with_usage_are_all_of_the_report_mapped_or_not() -> None:
    state = desired_additions(situation([line("t1", "P1", 5), line("t7", "P9", 1)]))
    assert state.tenants_with_usage == {"t1", "t7"}


def test_an_unmapped_tenant_with_usage_is_told_with_its_seats() -> None:
    usage = [line("t9", "P1", 5, account_name="Acme"), line("t9", "P2", 1, account_name="Acme")]
    (finding,) = findings(situation(usage), F.UNMAPPED_TENANT)
    assert finding.subject == "t9"
    assert finding.message.startswith("Acme used 6 seats, but has no ConnectWise agreement")
    nameless, named = situation([line("t9", "P1", 1)]), tenant("t9", None, name="Nine")
    assert findings(nameless, F.UNMAPPED_TENANT)[0].message.startswith("t9 used 1 seat,")
    told = dataclasses.replace(nameless, tenants={"t9": named})
    assert findings(told, F.UNMAPPED_TENANT)[0].message.startswith("Nine used 1 seat,")


def test_a_newly_seen_product_is_told_with_its_seats_and_customers() -> None:
    usage = [line("t1", "NEW", 5), line("t2", "NEW", 1)]
    (finding,) = findings(situation(usage), F.NEW_PRODUCT)
    assert finding.message.startswith("Name NEW (NEW) has usage of 6 seats at 2 customers, but")
    one = situation(usage[:1], products=[product("NEW", None, sync=False)])
    assert "at 1 customer," in findings(one, F.NEW_PRODUCT)[0].message
    decided = situation(usage[:1], products=[product("NEW", 100, sync=False)])
    assert findings(decided, F.NEW_PRODUCT) == []


def test_lines_without_a_tenant_go_by_serial_number_a_persons_choice_first() -> None:
    s = situation(
        [line(None, "P1", 5, serial="S1"), line(None, "P1", 2, serial="S2")],
        tenants=[tenant("t1", 10), tenant("t2", 11)],
        firewalls=[firewall("S1", None, "t1"), firewall("S2", "t1")],
        serial_assignments={"S2": "t2"},
    )
    assert [facts(c.agreement_id, c.after) for c in changes(s)] == [(10, 5), (11, 2)]


def test_a_line_that_names_its_tenant_is_not_moved_by_its_serial_number() -> None:
    s = situation([line("t1", "P1", 5, serial="S1")], serial_assignments={"S1": "t2"})
    assert only_change(s).tenant_id == "t1"


def test_a_line_that_belongs_to_nobody_is_told_with_sophos_guess_of_the_customer() -> None:
    usage = [
        line(None, "P1", 5, serial="S1", account_name="Acme"),
        line(None, "P1", 1, serial="S1"),
        line(None, "P1", 1, order="O7"),
        line(None, "P1", 1),
    ]
    s = situation(usage, firewalls=[firewall("S1", "t1", "t2")])
    rows = findings(s, F.UNASSIGNED_LINE)
    assert [f.subject for f in rows] == ["O7", "S1", "without serial number"]
    assert rows[1].message == (
        "6 x Name P1 (P1) on S1 belongs to no customer; it was not billed."
        " Sophos calls the customer Acme."
    )
    assert changes(s) == []


@pytest.mark.parametrize("credit", ["-2", "-1", "-0.5"])
def test_usage_below_zero_is_never_written_and_told(credit: str) -> None:
    old = addition(1, 5)
    s = situation([line("t1", "P1", credit)], additions=[old], owned=[ours(old)])
    assert changes(s) == []
    (finding,) = findings(s, F.NEGATIVE_USAGE)
    assert f"Sophos reports {credit} for P1" in finding.message
    assert findings(s, F.LEFT_ALONE)


def test_a_credit_of_one_part_blocks_the_whole_addition() -> None:
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", -2)],
        products=[product("P1", 100), product("P2", 100)],
    )
    assert changes(s) == []
    assert desired_additions(s).blocked == {Source("t1", "P1"), Source("t1", "P2")}


def test_a_credit_line_within_a_product_is_added_up() -> None:
    assert only_change(situation([line("t1", "P1", 5), line("t1", "P1", -2)])).after == 3


# --- default products ---------------------------------------------------------------------------


def test_usage_without_a_mapping_makes_a_default_product_first() -> None:
    made, create = changes(situation([line("t1", "P1", 5)], products=[product("P1", None)]))
    assert (made.kind, made.item, made.product_key) == (K.CREATE_PRODUCT, "Sophos_P1", "P1")
    assert (made.product_name, made.tenant_id, made.agreement_id) == ("Name P1", None, None)
    assert made.identifier == "Sophos_P1"
    assert "a default product is made and mapped" in made.reason
    assert facts(create.kind, create.item, create.after) == (K.CREATE, "Sophos_P1", 5)
    assert create.unit_price is None


def test_an_active_item_that_has_the_identifier_is_taken() -> None:
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", None)],
        items=[item(100), item(300, identifier="SOPHOS_p1")],
    )
    made, create = changes(s)
    assert (made.item, create.item, made.identifier) == (300, 300, "Sophos_P1")
    assert "which it is mapped to" in made.reason


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"inactive": True}, "an inactive ConnectWise product already has it"),
        ({"product_class": "Bundle"}, "a bundle already has it"),
    ],
)
def test_an_item_that_cannot_be_taken_is_a_conflict(more: dict[str, object], why: str) -> None:
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", None)],
        items=[item(300, identifier="Sophos_P1", **more)],
    )
    assert changes(s) == []
    (finding,) = findings(s, F.DEFAULT_PRODUCT_CONFLICT)
    assert why in finding.message


@pytest.mark.parametrize(
    ("items", "mapped", "told"),
    [
        ([], None, True),
        ([item(300, identifier="Sophos_P1", price=None)], None, True),
        ([item(300, identifier="Sophos_P1", price=Decimal(0))], None, True),
        ([item(300, identifier="Sophos_P1")], None, False),
        ([item(300, identifier="Sophos_P1", price=None)], 300, True),
        ([item(300, identifier="Sophos_P1")], 300, False),
        ([item(300, identifier="Our_own", price=None)], 300, False),
    ],
)
def test_a_default_product_without_a_price_is_told(
    items: list[CatalogItem], mapped: int | None, told: bool
) -> None:
    s = situation([line("t1", "P1", 5)], products=[product("P1", mapped)], items=items)
    rows = findings(s, F.PRICE_MISSING)
    assert [f.subject for f in rows] == (["P1"] if told else [])
    assert all("Sophos_P1, the default product of Name P1 (P1)" in f.message for f in rows)


def test_of_two_items_with_the_identifier_the_older_is_meant() -> None:
    items = [item(301, identifier="sophos_p1"), item(300, identifier="Sophos_P1")]
    s = situation([line("t1", "P1", 5)], products=[product("P1", None)], items=items)
    assert changes(s)[0].item == 300


def test_two_products_never_get_one_default_product() -> None:
    s = situation(
        [line("t1", "ab", 5), line("t1", "AB", 5), line("t1", "c", 1)],
        products=[product(k, None) for k in ("ab", "AB", "c")],
    )
    assert [c.item for c in changes(s)] == ["Sophos_c", "Sophos_c"]
    assert len(findings(s, F.DEFAULT_PRODUCT_CONFLICT)) == 2
    assert "AB, ab would all get it" in findings(s, F.DEFAULT_PRODUCT_CONFLICT)[0].message


def test_no_default_product_is_made_for_nothing() -> None:
    s = situation([line("t1", "P1", 0)], products=[product("P1", None)])
    assert changes(s) == []


def test_the_rule_to_ask_makes_no_default_product() -> None:
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", None)],
        rules=Rules(missing_mapping=MissingMapping.HOLD),
    )
    assert changes(s) == []
    (finding,) = findings(s, F.UNMAPPED_PRODUCT)
    assert "usage of 5 seats, but no ConnectWise product" in finding.message
    assert desired_additions(s).blocked == {Source("t1", "P1")}


def test_clearing_a_mapping_makes_no_second_addition_for_the_same_seats() -> None:
    """Webroot's integration did."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", None)],
        additions=[old],
        owned=[ours(old)],
    )
    world = World(s)
    world.apply(guarded(s), nothing)
    assert [row[2] for row in world.standing()] == [5]
    assert world.billed_twice() == set()


# --- actual -------------------------------------------------------------------------------------


def test_none_is_created_one_of_ours_updated_a_right_one_left() -> None:
    old = addition(1, 5)
    base = situation([line("t1", "P1", 7)], additions=[old], owned=[ours(old)])
    change = only_change(base)
    assert facts(change.kind, change.addition_id, change.before, change.after) == (
        K.UPDATE,
        1,
        5,
        7,
    )
    assert change.held is None
    assert change.money == 4
    assert change.tenant_id == "t1"
    right = dataclasses.replace(base, usage=[line("t1", "P1", 5)])
    assert changes(right) == []
    assert [o.addition_id for o in plan_of(right).confirmed] == [1]


def test_an_addition_that_is_not_ours_is_adopted_only_after_a_person_said_so() -> None:
    change = only_change(situation([line("t1", "P1", 7)], additions=[addition(1, 5)]))
    assert facts(change.kind, change.before, change.after) == (K.ADOPT, 5, 7)
    assert change.held
    assert "not made by us" in change.held


def test_an_equal_addition_that_is_not_ours_still_has_to_be_adopted() -> None:
    change = only_change(situation([line("t1", "P1", 5)], additions=[addition(1, 5)]))
    assert facts(change.kind, change.before, change.after) == (K.ADOPT, 5, 5)


def test_no_usage_adopts_nothing_and_creates_nothing() -> None:
    zero = [line("t1", "P1", 0)]
    assert changes(situation(zero, additions=[addition(1, 5)])) == []
    assert changes(situation(zero)) == []


def test_several_open_additions_are_told_and_not_touched() -> None:
    rows = [addition(2, 3), addition(1, 5)]
    s = situation([line("t1", "P1", 7)], additions=rows, owned=[ours(rows[0])])
    assert changes(s) == []
    (finding,) = findings(s, F.AMBIGUOUS_ADDITION)
    assert "agreement 10 has 2 open additions of I100 (1, 2); usage asks for 7" in finding.message


FINE = Decimal("5.1234567")


@pytest.mark.parametrize("mine", [True, False])
def test_a_quantity_that_we_could_not_keep_exactly_is_told_and_not_touched(mine: bool) -> None:
    row = dataclasses.replace(addition(1, 5), quantity=FINE)
    usage = [line("t1", "P1", 7), line("t2", "P1", 3)]
    s = situation(
        usage,
        tenants=[tenant("t1", 10), tenant("t2", 11)],
        additions=[row],
        owned=[ours(addition(1, 5))] if mine else [],
    )
    assert only_change(s).agreement_id == 11, "the other customer goes on"
    (finding,) = findings(s, F.AMBIGUOUS_ADDITION)
    assert "says 5.1234567, which has more than six decimal places" in finding.message


@pytest.mark.parametrize(("item", "seats"), [(100, 0), (101, 7)], ids=["ended", "remapped"])
def test_nor_when_nothing_asks_for_it_any_more(item: int, seats: int) -> None:
    row = dataclasses.replace(addition(1, 5), quantity=FINE)
    usage = [line("t1", "P1", seats)] if seats else [line("t2", "P1", 1)]
    s = situation(
        usage,
        tenants=[tenant("t1", 10), tenant("t2", 11)],
        products=[product("P1", item)],
        additions=[row],
        owned=[ours(addition(1, 5))],
    )
    assert [c for c in changes(s) if c.agreement_id == 10 and c.held is None] == []
    assert "stays at 5.1234567: its quantity" in findings(s, F.LEFT_ALONE)[0].message


@pytest.mark.parametrize(
    ("cancelled", "kind"),
    [
        (TODAY, K.CREATE),
        (TODAY - dt.timedelta(days=30), K.CREATE),
        (TODAY + dt.timedelta(days=1), K.ADOPT),
    ],
)
def test_an_addition_is_open_until_its_last_billed_day(
    cancelled: dt.date, kind: ChangeKind
) -> None:
    s = situation([line("t1", "P1", 7)], additions=[addition(1, 5, cancelled_date=cancelled)])
    assert only_change(s).kind is kind


def test_lines_that_we_did_not_make_are_never_set_to_zero() -> None:
    """A public Sophos-to-HaloPSA tool zeroed every line of the client not in Sophos' list."""
    s = situation(
        additions=[addition(1, 5), addition(2, 5, item=200), addition(3, 9, item=777)],
        rules=dataclasses.replace(NO_RAILS, usage_ended=UsageEnded.ZERO),
    )
    assert changes(s) == []


def test_what_a_person_edited_is_held_with_both_numbers() -> None:
    old = addition(1, 6)
    s = situation([line("t1", "P1", 7)], additions=[old], owned=[ours(old, quantity=5)])
    assert only_change(s).held == (
        "edited in ConnectWise: we wrote 5, it now says 6, usage asks for 7"
    )


def test_what_a_person_edited_to_the_right_number_is_confirmed() -> None:
    old = addition(1, 7)
    s = situation([line("t1", "P1", 7)], additions=[old], owned=[ours(old, quantity=5)])
    (owned,) = plan_of(s).confirmed
    assert facts(changes(s), owned.quantity) == ([], 7)


@pytest.mark.parametrize("rule", UsageEnded)
def test_what_a_person_edited_is_held_when_its_usage_ended_too(rule: UsageEnded) -> None:
    old = addition(1, 6)
    s = situation(
        additions=[old],
        owned=[ours(old, quantity=5)],
        rules=dataclasses.replace(NO_RAILS, usage_ended=rule),
    )
    assert only_change(s).held == "edited in ConnectWise: we wrote 5, it now says 6"


@pytest.mark.parametrize("how", ["deleted", "cancelled"])
def test_what_a_person_removed_is_asked_about(how: str) -> None:
    old = addition(1, 5, cancelled_date=dt.date(2026, 10, 1))
    s = situation(
        [line("t1", "P1", 5)], additions=[old] if how == "cancelled" else [], owned=[ours(old)]
    )
    change = only_change(s)
    assert (change.kind, change.held) == (
        K.CREATE,
        "it was removed in ConnectWise: make it again?",
    )


def test_what_we_ended_ourselves_is_made_anew_without_asking() -> None:
    old = addition(1, 5, cancelled_date=dt.date(2026, 9, 30))
    s = situation([line("t1", "P1", 5)], additions=[old], owned=[ours(old, ended_by_us=True)])
    assert only_change(s).held is None


def test_what_we_ended_from_a_later_day_on_does_not_stand_any_more() -> None:
    old = addition(1, 5, cancelled_date=dt.date(2026, 10, 31))
    s = situation(
        [line("t1", "P1", 5)],
        agreements=[agreement(10, next_invoice_date=dt.date(2026, 11, 1))],
        additions=[old],
        owned=[ours(old, ended_by_us=True)],
    )
    assert only_change(s).kind is K.CREATE


def test_additions_of_an_agreement_that_were_not_read_stop_everything() -> None:
    s = dataclasses.replace(situation([line("t1", "P1", 5)]), additions={11: ()})
    with pytest.raises(IncompleteSituationError, match="agreement 10"):
        plan_of(s)


# --- remapped, moved ----------------------------------------------------------------------------


def test_a_remapped_product_ends_the_old_addition_and_makes_the_new_in_one_group() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)], products=[product("P1", 200)], additions=[old], owned=[ours(old)]
    )
    cancel, create = changes(s)
    assert facts(cancel.kind, cancel.after, cancel.cancelled_date) == (
        K.CANCEL,
        0,
        dt.date(2026, 9, 30),
    )
    assert (cancel.tenant_id, cancel.item, cancel.sets_quantity) == ("t1", 100, False)
    assert cancel.reason == "P1 of Tenant t1 is now billed elsewhere; this addition ends"
    assert (create.kind, create.item, create.effective_date) == (
        K.CREATE,
        200,
        dt.date(2026, 10, 1),
    )
    assert cancel.group == create.group is not None
    assert cancel.held is create.held is None


def test_an_addition_that_was_never_billed_is_ended_with_quantity_zero() -> None:
    old = addition(1, 5, effective_date=dt.date(2026, 10, 1))
    s = situation(
        [line("t1", "P1", 5)], products=[product("P1", 200)], additions=[old], owned=[ours(old)]
    )
    cancel, _ = changes(s)
    assert (cancel.cancelled_date, cancel.sets_quantity) == (dt.date(2026, 10, 1), True)


def test_a_moved_tenant_is_billed_on_the_old_agreement_until_the_new_one_begins() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[agreement(10), agreement(11, bill_start_date=dt.date(2026, 10, 15))],
        additions=[old],
        owned=[ours(old)],
    )
    cancel, create = changes(s)
    assert create.effective_date == dt.date(2026, 10, 15)
    assert cancel.cancelled_date == dt.date(2026, 10, 14)


def test_a_move_to_two_new_places_ends_the_old_one_before_the_earlier_begins() -> None:
    old = addition(1, 8)
    s = situation(
        [line("t1", "P1", 5), line("t1", "P2", 3)],
        tenants=[tenant(agreements_by_product={"P2": 11})],
        products=[product("P1", 200), product("P2", 100)],
        agreements=[agreement(10), agreement(11, bill_start_date=dt.date(2026, 10, 15))],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
    )
    (cancel,) = changes(s, K.CANCEL)
    assert cancel.cancelled_date == dt.date(2026, 9, 30)


def test_a_part_that_moves_makes_the_rest_smaller_in_the_same_group() -> None:
    old, there = addition(1, 10), addition(2, 1, item=200)
    s = situation(
        [line("t1", "P1", 6), line("t1", "P2", 5)],
        products=[product("P1", 100), product("P2", 200)],
        additions=[old, there],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2")), ours(there, ("t1", "P2"))],
        rules=NO_RAILS,
    )
    less, more = changes(s)
    assert facts(less.before, less.after, more.before, more.after) == (10, 6, 1, 5)
    assert less.group == more.group is not None


def test_a_move_to_where_nothing_can_be_made_takes_nothing_away() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        products=[product("P1", 200)],
        items=[item(100), item(200, inactive=True)],
        additions=[old],
        owned=[ours(old)],
    )
    assert changes(s) == []
    (finding,) = findings(s, F.LEFT_ALONE)
    assert "moved to a place that cannot be billed now" in finding.message


def test_a_part_that_moves_to_where_nothing_can_be_made_holds_the_rest() -> None:
    old = addition(1, 10)
    s = situation(
        [line("t1", "P1", 6), line("t1", "P2", 4)],
        products=[product("P1", 100), product("P2", 200)],
        items=[item(100), item(200, inactive=True)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=NO_RAILS,
    )
    change = only_change(s)
    assert change.held == (
        "a part of its usage must stay: "
        "P2 of Tenant t1 is moved to a place that cannot be billed now"
    )


def test_what_lies_on_an_agreement_that_is_not_in_order_stays_when_its_tenant_moves() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5)],
        tenants=[tenant(agreement=11)],
        agreements=[agreement(10, status="Expired"), agreement(11)],
        additions=[old],
        owned=[ours(old)],
    )
    assert [c.kind for c in changes(s)] == [K.CREATE]
    (finding,) = findings(s, F.AGREEMENT_UNUSABLE)
    assert finding.message == "Addition 1 on agreement 10 stays at 5: the agreement is expired."
    gone = dataclasses.replace(s, agreements={11: agreement(11)})
    assert "it is gone" in findings(gone, F.AGREEMENT_UNUSABLE)[0].message


def test_seats_that_move_to_nothing_because_they_are_zero_end_the_old_addition() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 0)], products=[product("P1", 200)], additions=[old], owned=[ours(old)]
    )
    change = only_change(s)
    assert change.kind is K.CANCEL
    assert (change.held or "").startswith("a drop to zero from 5")


# --- switched off, unmapped ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "kind", "what"),
    [
        ({"tenants": [tenant(sync=False)]}, F.SYNC_OFF, "switched off"),
        ({"products": [product(sync=False)]}, F.SYNC_OFF, "switched off"),
        ({"products": []}, F.SYNC_OFF, "switched off"),
        ({"tenants": [tenant(agreement=None)]}, F.LEFT_ALONE, "no longer mapped"),
        ({"tenants": []}, F.LEFT_ALONE, "no longer mapped"),
        ({"items": []}, F.LEFT_ALONE, "not to be written for now"),
    ],
)
def test_what_is_off_or_unmapped_stays_and_that_is_shown(
    more: dict[str, Any], kind: FindingKind, what: str
) -> None:
    old = addition(1, 5)
    s = situation([line("t1", "P1", 9)], additions=[old], owned=[ours(old)], rules=NO_RAILS, **more)
    assert changes(s) == []
    (finding,) = findings(s, kind)
    assert finding.subject == "addition 1"
    assert "Addition 1 on agreement 10 stays at 5: P1 of" in finding.message
    assert what in finding.message


def test_a_product_without_a_mapping_and_usage_leaves_its_addition() -> None:
    old = addition(1, 5)
    s = situation(
        products=[product("P1", None)],
        additions=[old],
        owned=[ours(old)],
        rules=dataclasses.replace(NO_RAILS, usage_ended=UsageEnded.CANCEL),
    )
    assert changes(s) == []
    assert "no longer mapped" in findings(s, F.LEFT_ALONE)[0].message


def test_two_reasons_to_stay_are_both_said() -> None:
    old = addition(1, 5)
    s = situation(
        products=[product("P1", None), product("P2", 200, sync=False)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
    )
    (finding,) = findings(s, F.LEFT_ALONE)
    assert "P1 of Tenant t1, P2 of Tenant t1 is no longer mapped or switched off" in finding.message


def test_a_part_that_is_off_holds_the_change_of_the_rest() -> None:
    old = addition(1, 10)
    s = situation(
        [line("t1", "P1", 6), line("t1", "P2", 5)],
        products=[product("P1", 100), product("P2", 100, sync=False)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"), quantity=9)],
        rules=NO_RAILS,
    )
    assert only_change(s).held == (
        "edited in ConnectWise: we wrote 9, it now says 10, usage asks for 6; "
        "a part of its usage must stay: P2 of Tenant t1 is switched off"
    )


# --- usage ended --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "kind", "held"),
    [
        (UsageEnded.HOLD, K.UPDATE, True),
        (UsageEnded.ZERO, K.UPDATE, False),
        (UsageEnded.CANCEL, K.CANCEL, False),
    ],
)
def test_usage_that_ended_is_asked_about_or_zero_or_cancelled(
    rule: UsageEnded, kind: ChangeKind, held: bool
) -> None:
    old = addition(1, 5)
    s = situation(
        additions=[old],
        owned=[ours(old)],
        rules=dataclasses.replace(NO_RAILS, usage_ended=rule),
    )
    change = only_change(s)
    assert facts(change.kind, change.after, bool(change.held)) == (kind, 0, held)
    assert change.reason == "Sophos' report for 2026-10 has no usage of P1 of Tenant t1"
    if kind is K.CANCEL:
        assert change.cancelled_date == dt.date(2026, 9, 30)
    if held:
        assert "Bill 0 from now on?" in (change.held or "")


def test_usage_that_ended_and_is_billed_zero_is_done() -> None:
    old = addition(1, 0)
    assert changes(situation(additions=[old], owned=[ours(old)])) == []


def test_an_addition_that_stands_for_nothing_known_ends_like_others() -> None:
    old = dataclasses.replace(ours(addition(1, 5)), sources=frozenset())
    s = situation(additions=[addition(1, 5)], owned=[old], rules=NO_RAILS)
    assert only_change(s).tenant_id is None


@pytest.mark.parametrize(("rule", "held"), [(UsageEnded.HOLD, True), (UsageEnded.ZERO, False)])
def test_a_part_whose_usage_ended_is_asked_about(rule: UsageEnded, held: bool) -> None:
    old = addition(1, 10)
    s = situation(
        [line("t1", "P1", 6)],
        products=[product("P1", 100), product("P2", 100)],
        additions=[old],
        owned=[ours(old, ("t1", "P1"), ("t1", "P2"))],
        rules=dataclasses.replace(NO_RAILS, usage_ended=rule),
    )
    change = only_change(s)
    assert bool(change.held) is held
    if held:
        assert change.held == ("usage ended: P2 of Tenant t1 is no longer in Sophos' report")


def test_an_owned_addition_that_is_gone_and_not_asked_for_is_nothing() -> None:
    assert changes(situation(owned=[ours(addition(1, 5))])) == []


# --- agreements, items --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"status": "Inactive"}, "the agreement is inactive"),
        ({"cancelled": True}, "the agreement is active"),
        ({"cancelled": True, "status": None}, "the agreement is cancelled"),
        (
            {"end_date": dt.date(2026, 10, 25), "no_ending_date": False},
            "the agreement ended on 2026-10-25",
        ),
        ({"company_id": 2}, "the agreement belongs to another company"),
    ],
)
def test_an_agreement_that_is_not_in_order_is_told_and_the_others_go_on(
    state: dict[str, object], why: str
) -> None:
    s = situation(
        [line("t1", "P1", 5), line("t2", "P1", 1)],
        tenants=[tenant("t1", 10, company_id=1), tenant("t2", 11, company_id=1)],
        agreements=[agreement(10, **state), agreement(11)],
    )
    assert [c.agreement_id for c in changes(s)] == [11]
    (finding,) = findings(s, F.AGREEMENT_UNUSABLE)
    assert finding.subject == "t1"
    assert f"{why} (agreement 10)" in finding.message


def test_an_agreement_that_does_not_exist_is_told() -> None:
    s = situation([line("t1", "P1", 5)], tenants=[tenant(agreement=99)])
    (finding,) = findings(s, F.AGREEMENT_UNUSABLE)
    assert "the agreement does not exist in ConnectWise" in finding.message


@pytest.mark.parametrize(
    "state",
    [
        {"status": None},
        {"end_date": TODAY, "no_ending_date": False},
        {"end_date": dt.date(2020, 1, 1), "no_ending_date": True},
        {"no_ending_date": False},
    ],
)
def test_an_agreement_in_order_is_written_to(state: dict[str, object]) -> None:
    s = situation([line("t1", "P1", 5)], agreements=[agreement(10, **state)])
    assert only_change(s).kind is K.CREATE


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([], "its ConnectWise product no longer exists"),
        ([item(100, product_class="Bundle")], "I100 is a bundle"),
        ([item(100, inactive=True)], "I100 is inactive in ConnectWise"),
    ],
)
def test_an_item_that_cannot_be_used_is_told_and_makes_nothing(
    items: list[object], why: str
) -> None:
    s = situation([line("t1", "P1", 5)], items=items)  # type: ignore[arg-type]
    assert changes(s) == []
    (finding,) = findings(s, F.CATALOG_ITEM_UNUSABLE)
    assert why in finding.message


def test_an_inactive_item_still_keeps_the_additions_it_has_right() -> None:
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 6)],
        items=[item(100, inactive=True)],
        additions=[old],
        owned=[ours(old)],
    )
    assert only_change(s).kind is K.UPDATE


# --- effective dates ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "wish", "day", "remark"),
    [
        ({}, EffectiveDate.FIRST_OF_MONTH, dt.date(2026, 10, 1), None),
        ({}, EffectiveDate.TODAY, TODAY, None),
        (
            {"bill_start_date": dt.date(2026, 10, 10)},
            EffectiveDate.FIRST_OF_MONTH,
            dt.date(2026, 10, 10),
            "the agreement is billed from then on",
        ),
        ({"bill_start_date": dt.date(2026, 10, 1)}, EffectiveDate.FIRST_OF_MONTH,
         dt.date(2026, 10, 1), None),
        (
            {"next_invoice_date": dt.date(2026, 11, 1)},
            EffectiveDate.FIRST_OF_MONTH,
            dt.date(2026, 11, 1),
            "the period before is invoiced already and the agreement does not prorate",
        ),
        (
            {"next_invoice_date": dt.date(2026, 11, 1), "prorate": True},
            EffectiveDate.FIRST_OF_MONTH,
            dt.date(2026, 10, 1),
            None,
        ),
        ({"next_invoice_date": dt.date(2026, 10, 1)}, EffectiveDate.FIRST_OF_MONTH,
         dt.date(2026, 10, 1), None),
    ],
)  # fmt: skip
def test_the_first_billed_day(
    state: dict[str, object], wish: EffectiveDate, day: dt.date, remark: str | None
) -> None:
    s = situation(
        [line("t1", "P1", 5)],
        agreements=[agreement(10, **state)],
        rules=Rules(effective_date=wish),
    )
    change = only_change(s)
    assert change.effective_date == day
    end = f" ({remark})" if remark else ""
    assert change.reason == f"Sophos: P1 5 (1 line); billed from {day}{end}"


def test_a_run_for_the_month_before_begins_in_that_month() -> None:
    s = situation([line("t1", "P1", 5)], month=Month(2026, 9))
    assert only_change(s).effective_date == dt.date(2026, 9, 1)


# --- prices -------------------------------------------------------------------------------------


def test_money_is_the_difference_times_the_additions_price_or_the_items() -> None:
    own, plain = addition(1, 5, unit_price=Decimal("1.50")), addition(1, 5)
    for row, money in ((own, Decimal("3.00")), (plain, Decimal(4))):
        s = situation([line("t1", "P1", 7)], additions=[row], owned=[ours(row)])
        assert only_change(s).money == money
    assert only_change(situation([line("t1", "P1", 7)], items=[item(price=None)])).money is None
    assert only_change(situation([line("t1", "P1", 7)])).money == 14


# --- guard rails --------------------------------------------------------------------------------


def change(before: float | None, after: float, **more: object) -> Change:
    return Change(
        kind=K.UPDATE if before is not None else K.CREATE,
        tenant_id="t1",
        agreement_id=10,
        item=more.pop("item", 100),  # type: ignore[arg-type]
        before=None if before is None else Decimal(str(before)),
        after=Decimal(str(after)),
        reason="because",
        **more,  # type: ignore[arg-type]
    )


def held(rules: Rules, *rows: Change, managed: int = 1000) -> list[str | None]:
    plan = guard(Plan(rows, ()), rules, managed=managed, tenants_now=["t1"], tenants_before=["t1"])
    return [c.held for c in plan.changes]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (100, 70, None),
        (100, 69, "a decrease of 31 from 100, which is more than 30 %"),
        (10, 6, None),
        (10, 5, "a decrease of 5 from 10, which is more than 30 %"),
        (10, 5.5, None),
        (1, 0, "a drop to zero from 1"),
        (0, 0, None),
        (None, 5, None),
        (5, 500, None),
    ],
)
def test_a_decrease_of_more_than_30_percent_and_at_least_5_or_to_zero_is_held(
    before: float | None, after: float, why: str | None
) -> None:
    assert held(Rules(), change(before, after)) == [why]


def test_each_guard_rail_can_be_switched_off() -> None:
    rows = [change(100, 1), change(1, 0), change(0, 99, unit_price=Decimal(9999))]
    assert held(NO_RAILS, *rows, managed=1) == [None, None, None]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_price_effect_over_the_limit_is_held(sign: int) -> None:
    rules = dataclasses.replace(NO_RAILS, price_effect_limit=Decimal(5000))
    over = change(1, 2, unit_price=Decimal("5000.01") * sign)
    (why,) = held(rules, over)
    assert why == f"a price effect of {5000.01 * sign:.2f}, over the limit of 5000.00"
    assert held(rules, change(1, 2, unit_price=Decimal(5000) * sign)) == [None]


def test_two_reasons_are_both_said() -> None:
    (why,) = held(Rules(), change(100, 60, unit_price=Decimal(1000), held="edited"))
    assert why == (
        "edited; a decrease of 40 from 100, which is more than 30 %; "
        "a price effect of -40000.00, over the limit of 5000.00"
    )


def test_more_than_20_percent_of_the_managed_additions_falling_at_once_are_held() -> None:
    rows = [change(100, 99, item=1), change(100, 99, item=2), change(1, 2, item=3)]
    assert held(Rules(), *rows, managed=10) == [None, None, None]
    why = "2 of 9 managed additions decrease at once, more than 20 %"
    assert held(Rules(), *rows, managed=9) == [why, why, None]
    assert held(Rules(), *rows, managed=0) == [None, None, None]


def test_a_move_is_weighed_as_one_and_held_as_one() -> None:
    away = change(100, 0, item=1, group="g", moved=Decimal(100))
    there = change(None, 100, item=2, group="g")
    other = change(1, 2, item=3)
    assert held(Rules(), away, other, there) == [None, None, None]
    assert held(Rules(), away, dataclasses.replace(there, held="edited")) == [
        "it belongs to a held change",
        "edited",
    ]
    less = dataclasses.replace(there, after=Decimal(10))
    fewer = dataclasses.replace(away, moved=Decimal(10))
    why = "a decrease of 90 from 100, which is more than 30 %"
    assert held(Rules(), fewer, less) == [why, "it belongs to a held change"]


@pytest.mark.parametrize(("missing", "is_held"), [(1, False), (2, True)])
def test_a_report_that_misses_more_than_10_percent_of_the_tenants_holds_everything(
    missing: int, is_held: bool
) -> None:
    before = [f"t{n}" for n in range(10)]
    plan = guard(
        Plan((change(1, 2),), ()),
        Rules(),
        managed=1,
        tenants_now=[*before[missing:], "new"],
        tenants_before=before,
    )
    assert bool(plan.changes[0].held) is is_held
    assert bool(plan.findings) is is_held
    if is_held:
        assert plan.changes[0].held == (
            "the report looks incomplete: 2 of the 10 customers of the last complete report "
            "are missing"
        )
        assert plan.findings[0].kind is F.REPORT_SHRUNK
        assert "The whole plan is held: the report looks incomplete" in plan.findings[0].message


@pytest.mark.parametrize(
    ("synced", "month", "is_held"),
    [
        (Month(2026, 10), Month(2026, 9), True),
        (Month(2026, 1), Month(2025, 12), True),
        (Month(2026, 10), Month(2026, 10), False),
        (Month(2026, 9), Month(2026, 10), False),
        (None, Month(2026, 9), False),
        (Month(2026, 10), None, False),
    ],
)
def test_an_older_month_than_the_one_written_already_is_held_as_a_whole(
    synced: Month | None, month: Month | None, is_held: bool
) -> None:
    rows = (change(1, 2, item=1), change(1, 2, item=2, held="edited"))
    plan = guard(
        Plan(rows, ()),
        NO_RAILS,
        managed=9,
        tenants_now=[],
        tenants_before=[],
        synced=synced,
        month=month,
    )
    why = f"usage of {synced} was written already"
    wanted = [why, f"edited; {why}"] if is_held else [None, "edited"]
    assert [c.held for c in plan.changes] == wanted


@pytest.mark.parametrize("restored", [False, True])
def test_the_plan_after_a_restore_is_held_as_a_whole(*, restored: bool) -> None:
    rows = (change(None, 2, item=1), change(1, 2, item=2, held="edited"))
    plan = guard(
        Plan(rows, ()), NO_RAILS, managed=9, tenants_now=[], tenants_before=[], restored=restored
    )
    why = "a backup was put back, and nobody has approved anything since"
    found = [c.held for c in plan.changes]
    assert found == ([why, f"edited; {why}"] if restored else [None, "edited"])


def test_the_first_report_and_a_switched_off_rail_miss_nobody() -> None:
    one = Plan((change(1, 2),), ())
    off = dataclasses.replace(Rules(), missing_tenants_percent=None)
    assert guard(one, Rules(), managed=1, tenants_now=[], tenants_before=[]) == one
    assert guard(one, off, managed=1, tenants_now=[], tenants_before=["t1"]) == one


def test_a_second_run_in_the_same_month_changes_only_what_changed() -> None:
    """Others allow one import per month only."""
    world = World(situation([line("t1", "P1", 5), line("t1", "P2", 5)]))
    world.apply(guarded(world.situation))
    assert changes(world.situation) == []
    usage = [line("t1", "P1", 5), line("t1", "P2", 6)]
    again = dataclasses.replace(world.situation, usage=usage)
    assert [facts(c.kind, c.item, c.after) for c in changes(again)] == [(K.UPDATE, 200, 6)]


def test_a_renamed_product_stays_the_same_product() -> None:
    """Others lost products whose names the vendor had changed."""
    old = addition(1, 5)
    s = situation(
        [line("t1", "P1", 5, name="Quite another name")], additions=[old], owned=[ours(old)]
    )
    assert changes(s) == []
