"""What holds in every situation, whatever Sophos, ConnectWise and people did before.

Each law is tried on situations of any history; those that speak of several runs also apply
plans to a model of ConnectWise (`world.py`) and let people and Sophos change things in between.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from services.sync.desired import desired_additions, place_lines
from services.sync.fingerprint import fingerprint
from services.sync.guard import guard
from services.sync.model import (
    Addition,
    Change,
    ChangeKind,
    OwnedAddition,
    Plan,
    Situation,
    Source,
)
from services.sync.plan import IncompleteSituationError, compute_plan
from services.sync.rules import EffectiveDate, Rules
from tests.core.counter import example
from tests.core.factories import NO_RAILS, guarded, plan_of
from tests.core.strategies import PRODUCTS, TENANTS, USAGE, later, reshuffled, situations, tidy
from tests.core.world import World, everything, in_order, nothing, takes

MANY = settings(max_examples=2 * settings().max_examples)
ZERO = Decimal(0)
WRITES = (ChangeKind.CREATE, ChangeKind.ADOPT, ChangeKind.UPDATE, ChangeKind.CANCEL)


def additions_of(s: Situation) -> dict[int, Addition]:
    return {a.id: a for rows in s.additions.values() for a in rows}


def active(s: Situation) -> dict[int, OwnedAddition]:
    return {o.addition_id: o for o in s.owned if not o.ended_by_us}


def groups(changes: Iterable[Change]) -> list[list[Change]]:
    found: defaultdict[object, list[Change]] = defaultdict(list)
    for n, change in enumerate(changes):
        found[change.group or n].append(change)
    return list(found.values())


def without_rails(s: Situation) -> Situation:
    rules = s.rules
    return dataclasses.replace(
        s,
        rules=dataclasses.replace(
            NO_RAILS,
            usage_ended=rules.usage_ended,
            missing_mapping=rules.missing_mapping,
            effective_date=rules.effective_date,
        ),
    )


# --- runs one after the other -------------------------------------------------------------------


@settings(MANY)
@given(situations(), st.data())
def test_a_second_run_after_a_good_one_changes_nothing(s: Situation, data: st.DataObject) -> None:
    for _ in range(3):
        example()
        world = World(s)
        world.apply(guarded(s))
        assert guarded(world.situation).changes == ()
        s = data.draw(later(world.situation))


@given(situations(), USAGE)
def test_a_second_month_settles_too(s: Situation, usage: tuple[object, ...]) -> None:
    example()
    world = World(s)
    world.apply(guarded(s))
    world.situation = dataclasses.replace(
        world.situation,
        month=type(s.month)(2026, 11),
        today=dt.date(2026, 11, 26),
        usage=usage,  # type: ignore[arg-type]
    )
    world.apply(guarded(world.situation))
    assert guarded(world.situation).changes == ()


@given(situations())
def test_what_is_not_held_settles_and_what_is_held_stays_as_it_was(s: Situation) -> None:
    example()
    plan = guarded(s)
    world = World(s)
    world.apply(plan, nothing)
    again = guarded(world.situation)
    assert [c for c in again.changes if not c.held] == []


@settings(MANY)
@given(situations(), st.integers(0, 5))
def test_after_a_crash_the_next_run_ends_where_this_one_would_have(s: Situation, n: int) -> None:
    example()
    straight, crashed = World(s), World(s)
    straight.apply(guarded(s))
    plan = guarded(s)
    crashed.apply(dataclasses.replace(plan, confirmed=()), stop_after=n)
    crashed.apply(guarded(crashed.situation))
    assert crashed.standing() == straight.standing()


# --- seats are billed once ----------------------------------------------------------------------


@given(situations())
def test_desired_seats_are_the_seats_of_the_usage_that_takes_part(s: Situation) -> None:
    example()
    state = desired_additions(s)
    placed, unassigned = place_lines(s.usage, s.firewalls, s.serial_assignments)
    assert Counter([*(x for _, x in placed), *unassigned]) == Counter(s.usage)
    expected: defaultdict[Source, Decimal] = defaultdict(Decimal)
    for tenant_id, row in placed:
        tenant, product = s.tenants.get(tenant_id), s.products.get(row.product_key)
        if (
            tenant
            and tenant.sync
            and product
            and product.sync
            and tenant.agreement_for(row.product_key) is not None
        ):
            expected[Source(tenant_id, row.product_key)] += row.quantity
    records = [r for d in state.desired.values() for r in d.records]
    billed = {Source(r.tenant_id, r.product_key): r.quantity for r in records}
    assert len(billed) == len(records)
    assert not billed.keys() & state.blocked
    assert billed == {k: v for k, v in expected.items() if k not in state.blocked}
    assert state.blocked <= expected.keys()
    for desired in state.desired.values():
        assert desired.quantity == sum(r.quantity for r in desired.records) >= 0


@given(situations())
def test_when_all_is_applied_our_additions_hold_just_the_desired_seats(s: Situation) -> None:
    example()
    world = World(s)
    world.apply(guarded(s))
    state, rows = desired_additions(world.situation), additions_of(world.situation)
    mine: defaultdict[tuple[int, object], list[Decimal]] = defaultdict(list)
    for owned in active(world.situation).values():
        row = rows.get(owned.addition_id)
        if row and row.is_open(s.today):
            mine[row.agreement_id, row.catalog_item_id].append(row.quantity)
    for target, desired in state.desired.items():
        standing = [
            a
            for a in rows.values()
            if (a.agreement_id, a.catalog_item_id) == target and a.is_open(s.today)
        ]
        item = world.situation.items.get(target.item) if isinstance(target.item, int) else None
        untouched = len(standing) > 1 or (not standing and item is not None and item.inactive)
        if not untouched:
            assert sum(mine[target]) == desired.quantity


@settings(MANY, phases=[Phase.generate])
@given(tidy(), st.data())
def test_nothing_unheld_bills_usage_twice(s: Situation, data: st.DataObject) -> None:
    """Two approved runs, a reshuffle after each, and then a run that nobody looks at."""
    world = World(s)
    for _ in range(2):
        world.apply(guarded(world.situation))
        world.situation = data.draw(reshuffled(world.situation))
        example()
        before, unwatched = world.billed_twice(), World(without_rails(world.situation))
        unwatched.ledger = {k: dict(v) for k, v in world.ledger.items()}
        unwatched.apply(guarded(unwatched.situation), nothing)
        assert unwatched.billed_twice() <= before


@given(situations())
def test_a_group_is_held_as_a_whole_or_not_at_all(s: Situation) -> None:
    example()
    for group in groups(guarded(s).changes):
        assert len({c.held is None for c in group}) == 1


@given(situations())
def test_what_takes_seats_of_moved_usage_is_in_one_group_with_what_gives_them(
    s: Situation,
) -> None:
    example()
    plan = plan_of(s)
    giver = {
        source: c for c in plan.changes if c.kind in WRITES and not takes(c) for source in c.sources
    }
    owned = active(s)
    for change in plan.changes:
        if change.addition_id in owned and takes(change):
            for source in owned[change.addition_id].sources - change.sources:
                if source in giver:
                    assert change.group is not None
                    assert change.group == giver[source].group


# --- what is left alone -------------------------------------------------------------------------


@given(situations(), st.sampled_from(["tenant off", "product off", "unmapped", "gone"]), st.data())
def test_switching_off_or_unmapping_takes_nothing_away(
    s: Situation, how: str, data: st.DataObject
) -> None:
    example()
    world = World(without_rails(s))
    world.apply(guarded(world.situation))
    s = world.situation
    tenant_id, key = data.draw(st.sampled_from(TENANTS)), data.draw(st.sampled_from(PRODUCTS))
    tenants, products = dict(s.tenants), dict(s.products)
    if how == "product off":
        assume(key in products)
        products[key] = dataclasses.replace(products[key], sync=False)
    else:
        assume(tenant_id in tenants)
        if how == "gone":
            del tenants[tenant_id]
        elif how == "unmapped":
            tenants[tenant_id] = dataclasses.replace(
                tenants[tenant_id], agreement_id=None, agreements_by_product={}
            )
        else:
            tenants[tenant_id] = dataclasses.replace(tenants[tenant_id], sync=False)
    s = dataclasses.replace(s, tenants=tenants, products=products, usage=data.draw(USAGE))
    owned = active(s)
    for change in guarded(s).changes:
        if change.held is None and takes(change):
            assert change.addition_id is not None
            for source in owned[change.addition_id].sources:
                assert source.tenant_id != tenant_id or how == "product off"
                assert source.product_key != key or how != "product off"


@given(situations())
def test_only_additions_of_ours_are_updated_or_cancelled(s: Situation) -> None:
    example()
    mine = active(s)
    for change in guarded(s).changes:
        if change.kind in (ChangeKind.UPDATE, ChangeKind.CANCEL):
            assert change.addition_id in mine
        if change.kind is ChangeKind.ADOPT:
            assert change.addition_id not in mine
            assert change.held


@given(situations())
def test_what_we_ended_is_never_touched_again(s: Situation) -> None:
    example()
    ended = {o.addition_id for o in s.owned if o.ended_by_us}
    assert not ended & {c.addition_id for c in guarded(s).changes}


@given(situations())
def test_what_a_person_edited_is_held(s: Situation) -> None:
    example()
    rows, mine = additions_of(s), active(s)
    for change in guarded(s).changes:
        if (
            change.addition_id in mine
            and rows[change.addition_id].quantity != mine[change.addition_id].quantity
        ):
            assert change.held


@given(situations())
def test_what_a_person_removed_is_not_made_again_unheld(s: Situation) -> None:
    example()
    rows = additions_of(s)
    gone = {
        (o.agreement_id, o.catalog_item_id)
        for o in active(s).values()
        if o.addition_id not in rows or not rows[o.addition_id].is_open(s.today)
    }
    for change in guarded(s).changes:
        if change.kind is ChangeKind.CREATE and (change.agreement_id, change.item) in gone:
            assert change.held


@given(situations())
def test_one_change_at_most_for_a_place_and_for_an_addition(s: Situation) -> None:
    example()
    writes = [c for c in guarded(s).changes if c.kind in WRITES]
    assert max(Counter((c.agreement_id, c.item) for c in writes).values(), default=0) <= 1
    ids = [c.addition_id for c in writes if c.kind is not ChangeKind.CREATE]
    assert None not in ids
    assert len(ids) == len(set(ids))


@given(situations())
def test_nothing_is_written_on_an_agreement_that_is_not_in_order(s: Situation) -> None:
    example()
    for change in guarded(s).changes:
        if change.kind is ChangeKind.CREATE_PRODUCT:
            continue
        assert change.agreement_id is not None
        agreement = s.agreements[change.agreement_id]
        assert agreement.status == "Active"
        assert not agreement.cancelled
        assert agreement.no_ending_date or (agreement.end_date or dt.date.max) >= s.today
        for source in change.sources:
            tenant = s.tenants[source.tenant_id]
            assert tenant.agreement_for(source.product_key) == agreement.id
            assert tenant.company_id in (None, agreement.company_id)


@given(situations())
def test_additions_that_are_not_wanted_and_not_ours_may_as_well_not_be_there(
    s: Situation,
) -> None:
    example()
    mine = {o.addition_id for o in s.owned}
    state = desired_additions(s)
    rows = {
        key: [a for a in part if a.id in mine or (key, a.catalog_item_id) in state.desired]
        for key, part in s.additions.items()
    }
    fewer = dataclasses.replace(s, additions=rows)
    assert guarded(fewer) == guarded(s)


# --- numbers, days, words -----------------------------------------------------------------------


@given(situations(), st.data())
def test_nothing_negative_is_ever_written(s: Situation, data: st.DataObject) -> None:
    world = World(s)
    for _ in range(2):
        example()
        plan = guarded(world.situation)
        assert all(c.after is None or c.after >= 0 for c in plan.changes)
        world.apply(plan)
        world.situation = data.draw(later(world.situation))


@given(situations())
def test_the_shape_of_every_change(s: Situation) -> None:
    example()
    rows = additions_of(s)
    for change in guarded(s).changes:
        assert change.reason.strip()
        assert change.held is None or change.held.strip()
        if change.kind is ChangeKind.CREATE_PRODUCT:
            assert change.product_key
            assert (change.before, change.after, change.money) == (None, None, None)
            continue
        assert change.after is not None
        if change.unit_price is not None:
            assert change.money == (change.after - (change.before or 0)) * change.unit_price
        assert (change.effective_date is not None) == (change.kind is ChangeKind.CREATE)
        assert (change.cancelled_date is not None) == (change.kind is ChangeKind.CANCEL)
        if change.kind is ChangeKind.CREATE:
            assert change.addition_id is None
            assert change.before is None
            assert change.after > 0
        else:
            assert change.addition_id is not None
            row = rows[change.addition_id]
            assert change.before == row.quantity
            assert (change.agreement_id, change.item) == (row.agreement_id, row.catalog_item_id)
        if change.kind is ChangeKind.UPDATE:
            assert change.after != change.before


@given(situations())
def test_no_addition_begins_before_its_agreement_or_in_an_invoiced_period(s: Situation) -> None:
    example()
    wish = s.today if s.rules.effective_date is EffectiveDate.TODAY else s.month.first_day
    for change in guarded(s).changes:
        if change.kind is not ChangeKind.CREATE:
            continue
        assert change.agreement_id is not None
        assert change.effective_date is not None
        agreement = s.agreements[change.agreement_id]
        reasons = {wish, agreement.bill_start_date}
        if not agreement.prorate:
            reasons.add(agreement.next_invoice_date)
            assert change.effective_date >= (agreement.next_invoice_date or wish)
        assert change.effective_date >= (agreement.bill_start_date or wish)
        assert change.effective_date >= wish
        assert change.effective_date in reasons


@given(situations())
def test_an_ended_addition_ends_no_earlier_than_it_began(s: Situation) -> None:
    example()
    rows = additions_of(s)
    for change in guarded(s).changes:
        if change.kind is ChangeKind.CANCEL:
            assert change.addition_id is not None
            assert change.cancelled_date is not None
            begins = rows[change.addition_id].effective_date
            assert begins is None or change.cancelled_date >= begins
            assert change.sets_quantity == (begins == change.cancelled_date) or begins is None


# --- order, completeness, identity --------------------------------------------------------------


@settings(MANY)
@given(situations(), st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_is_nothing(s: Situation, dice: object) -> None:
    example()

    def mixed(rows: Iterable[object]) -> list[object]:
        out = list(rows)
        dice.shuffle(out)  # type: ignore[attr-defined]
        return out

    other = dataclasses.replace(
        s,
        usage=mixed(s.usage),  # type: ignore[arg-type]
        tenants=dict(mixed(s.tenants.items())),  # type: ignore[arg-type]
        products=dict(mixed(s.products.items())),  # type: ignore[arg-type]
        items=dict(mixed(s.items.items())),  # type: ignore[arg-type]
        agreements=dict(mixed(s.agreements.items())),  # type: ignore[arg-type]
        additions=dict(mixed((k, mixed(v)) for k, v in s.additions.items())),  # type: ignore[arg-type]
        owned=mixed(s.owned),  # type: ignore[arg-type]
        firewalls=mixed(s.firewalls),  # type: ignore[arg-type]
    )
    one, two = guarded(s, TENANTS[:2]), guarded(other, TENANTS[1::-1])
    assert one.changes == two.changes
    assert one.findings == two.findings
    assert one.confirmed == two.confirmed
    assert fingerprint(one.changes) == fingerprint(two.changes)


@given(situations())
def test_an_agreement_that_was_not_read_stops_the_plan(s: Situation) -> None:
    state = desired_additions(s)
    for key in {t.agreement_id for t in state.desired}:
        example()
        rest = {k: v for k, v in s.additions.items() if k != key}
        with pytest.raises(IncompleteSituationError, match=str(key)):
            compute_plan(dataclasses.replace(s, additions=rest), state)


@given(situations(), st.randoms(use_true_random=False))
def test_the_fingerprint_is_of_what_is_written_not_of_how_it_is_shown(
    s: Situation, dice: object
) -> None:
    example()
    plan, shown = plan_of(s), list(guarded(s).changes)
    dice.shuffle(shown)  # type: ignore[attr-defined]
    assert fingerprint(shown) == fingerprint(plan.changes)
    if shown:
        assert fingerprint(shown[1:]) != fingerprint(shown)


# --- the guard rails ----------------------------------------------------------------------------


@given(situations())
def test_every_unheld_change_obeys_the_guard_rails(s: Situation) -> None:
    example()
    rules, changes = s.rules, guarded(s).changes
    falling = 0
    for group in groups(changes):
        before = sum(c.before or 0 for c in group)
        after = sum(c.after or 0 for c in group)
        falling += after < before
        if group[0].held:
            continue
        if rules.hold_drop_to_zero:
            assert not (before > 0 and after == 0)
        if rules.decrease_percent is not None and after > 0:
            fall = before - after
            assert fall < rules.decrease_at_least or fall * 100 <= rules.decrease_percent * before
        if rules.price_effect_limit is not None:
            assert abs(sum((c.money or ZERO for c in group), ZERO)) <= rules.price_effect_limit
    managed = len(active(s))
    limit = rules.decreasing_share_percent
    if limit is not None and managed and falling * 100 > limit * managed:
        for group in groups(changes):
            falls = sum(c.after or 0 for c in group) < sum(c.before or 0 for c in group)
            assert not falls or all(c.held for c in group)


@given(situations(), st.sets(st.sampled_from([*TENANTS, "t8", "t9"]), min_size=1))
def test_a_shrunk_report_holds_everything(s: Situation, before: set[str]) -> None:
    example()
    state = desired_additions(s)
    lost = before - state.tenants_with_usage
    plan = guard(
        plan_of(s), Rules(), managed=9, tenants_now=state.tenants_with_usage, tenants_before=before
    )
    if len(lost) > Decimal("0.1") * len(before):
        assert all(c.held and "incomplete" in c.held for c in plan.changes)
        assert [f.kind.value for f in plan.findings].count("report_shrunk") == 1
    else:
        assert not any("incomplete" in (c.held or "") for c in plan.changes)


@given(situations())
def test_the_guard_only_adds_reasons_to_hold(s: Situation) -> None:
    example()
    plan, shown = plan_of(s), guarded(s)
    bare = Counter(dataclasses.replace(c, held=None) for c in shown.changes)
    assert bare == Counter(dataclasses.replace(c, held=None) for c in plan.changes)
    by_place = {(c.kind, c.agreement_id, c.item, c.product_key): c for c in shown.changes}
    for change in plan.changes:
        if change.held:
            key = (change.kind, change.agreement_id, change.item, change.product_key)
            assert (by_place[key].held or "").startswith(change.held)
    assert set(plan.findings) <= set(shown.findings)
    waiting = {c.group for c in shown.changes if c.held} - {None}
    assert shown.confirmed == tuple(
        o for o in plan.confirmed if plan.confirmed_groups.get(o.addition_id) not in waiting
    )


@given(situations())
def test_products_come_first_and_within_a_group_taking_comes_last(s: Situation) -> None:
    example()
    plan: Plan = guarded(s)
    kinds = [c.kind is ChangeKind.CREATE_PRODUCT for c in in_order(plan.changes)]
    assert kinds == sorted(kinds, reverse=True)
    made = {c.item for c in plan.changes if c.kind is ChangeKind.CREATE_PRODUCT}
    for change in plan.changes:
        if change.kind in WRITES and isinstance(change.item, str):
            assert change.item in made
    assert all(everything(c) for c in plan.changes)
