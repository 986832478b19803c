"""Months, numbers, names, identifiers, groups, checksums."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sync.dates import last_billed_day
from services.sync.desired import default_description, default_identifier
from services.sync.explain import explain_quantity, list_sources
from services.sync.fingerprint import fingerprint
from services.sync.groups import Groups, target_order
from services.sync.model import Change, ChangeKind, Month, Source, Target, UsageRecord
from services.sync.words import number, seats
from tests.core.counter import example
from tests.core.factories import addition, firewall

# --- months -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["2026-10", " 2026-10\n"])
def test_a_month_is_read(text: str) -> None:
    assert Month.parse(text) == Month(2026, 10)


@pytest.mark.parametrize(
    "text", ["", "2026-13", "2026-00", "2026-1", "26-10", "2026-10-01", "2026/10", "x2026-10"]
)
def test_what_is_not_a_month_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not a month: write it as YYYY-MM"):
        Month.parse(text)


def test_the_year_0_is_refused() -> None:
    with pytest.raises(ValueError, match="is not a month"):
        Month.parse("0000-10")


@given(st.dates(min_value=dt.date(1, 2, 1)))
def test_months_and_days_fit(day: dt.date) -> None:
    example()
    month = Month.of(day)
    assert month.first_day == day.replace(day=1)
    assert Month.parse(str(month)) == month
    assert month.previous < month
    assert Month.of(month.first_day - dt.timedelta(days=1)) == month.previous


def test_january_follows_december() -> None:
    assert Month(2026, 1).previous == Month(2025, 12)


# --- the last billed day ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begins", "last", "no_period"),
    [
        (None, dt.date(2026, 9, 30), False),
        (dt.date(2026, 9, 30), dt.date(2026, 9, 30), False),
        (dt.date(2026, 10, 1), dt.date(2026, 10, 1), True),
        (dt.date(2026, 12, 1), dt.date(2026, 12, 1), True),
    ],
)
def test_an_addition_ends_the_day_before_its_successor_but_not_before_it_began(
    begins: dt.date | None, last: dt.date, no_period: bool
) -> None:
    row = addition(1, effective_date=begins)
    assert last_billed_day(row, dt.date(2026, 10, 1)) == (last, no_period)


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        ("0", "0"),
        ("-0", "0"),
        ("0.00", "0"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("2.50", "2.5"),
        ("-3", "-3"),
    ],
)
def test_numbers_are_written_as_a_person_does(value: str | None, text: str) -> None:
    assert number(None if value is None else Decimal(value)) == text


def test_one_seat_several_seats() -> None:
    assert [seats(Decimal(n)) for n in ("0", "1", "1.0", "2.5")] == [
        "0 seats",
        "1 seat",
        "1 seat",
        "2.5 seats",
    ]


def test_a_long_sum_is_cut() -> None:
    records = [UsageRecord("t", f"P{n}", Decimal(n), ()) for n in range(6)]
    assert explain_quantity(records[:4], str) == "Sophos: P0 0 + P1 1 + P2 2 + P3 3 (0 lines)"
    assert explain_quantity(records, str) == (
        "Sophos: P0 0 + P1 1 + P2 2 + P3 3 + 2 more (0 lines)"
    )
    sources = [Source("t", f"P{n}") for n in range(5)]
    assert list_sources(sources, str.upper) == "P0 of T, P1 of T, P2 of T, P3 of T, 1 more"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Short", "Short"),
        ("  Two \n words ", "Two words"),
        ("x" * 60, "x" * 60),
        ("x" * 61, "x" * 60),
        ("x" * 60 + " y", "x" * 60),
        ("x" * 59 + " yy", "x" * 59),
        ("aaa " * 15 + "b", ("aaa " * 15).strip()),
        ("a " + "b" * 80, "a"),
        ("a" * 29 + " " + "b" * 30 + " c", "a" * 29 + " " + "b" * 30),
    ],
)
def test_descriptions_are_cut_at_a_word(name: str, text: str) -> None:
    assert default_description(name) == text


@given(st.text(alphabet="ab \t", min_size=1, max_size=150))
def test_descriptions_fit(name: str) -> None:
    example()
    text = default_description(name)
    assert len(text) <= 60
    assert " ".join(name.split()).startswith(text)
    assert text or not name.strip()


def test_default_identifiers_fit_every_server_and_do_not_collide() -> None:
    assert default_identifier("Sophos_{code}", "CIXA-MSP") == "Sophos_CIXA-MSP"
    assert default_identifier("{code}", "x" * 60) == "x" * 60
    one = default_identifier("{code}", "x" * 61)
    two = default_identifier("{code}", "x" * 60 + "y")
    assert one != two
    assert len(one) == len(two) == 60
    assert one[:51] == "x" * 51
    assert one[51] == "-"


@given(st.sets(st.text(alphabet="ab", min_size=50, max_size=70), min_size=2))
def test_default_identifiers_of_different_codes_differ(codes: set[str]) -> None:
    example()
    names = {default_identifier("Sophos_{code}", c) for c in codes}
    assert len(names) == len(codes)
    assert max(map(len, names)) <= 60


def test_a_firewall_belongs_to_nobody_when_sophos_names_two() -> None:
    assert firewall("S", "a").owner_id == "a"
    assert firewall("S", None, "b").owner_id == "b"
    assert firewall("S", "a", "a").owner_id == "a"
    assert firewall("S", "a", "b").owner_id is None
    assert firewall("S", None).owner_id is None


# --- groups -------------------------------------------------------------------------------------

TARGETS = [Target(a, i) for a in (1, 2) for i in (5, "a", 7)]


@given(
    st.lists(st.tuples(st.sampled_from(TARGETS), st.sampled_from(TARGETS)), max_size=6),
    st.randoms(use_true_random=False),
)
def test_groups_do_not_depend_on_the_order_of_joining(
    pairs: list[tuple[Target, Target]], dice: object
) -> None:
    example()
    one, two = Groups(), Groups()
    for pair in pairs:
        one.join(*pair)
    dice.shuffle(pairs)  # type: ignore[attr-defined]
    for pair in pairs:
        two.join(*pair[::-1])
    assert [one.root(t) for t in TARGETS] == [two.root(t) for t in TARGETS]
    for a, b in pairs:
        assert one.root(a) == one.root(b)
    for t in TARGETS:
        root = one.root(t)
        assert root is None or target_order(root) <= target_order(t)
        assert (root is None) == all(t not in pair for pair in pairs)


def test_targets_are_in_a_total_order() -> None:
    assert sorted(set(TARGETS), key=target_order) == [
        Target(1, "a"), Target(1, 5), Target(1, 7), Target(2, "a"), Target(2, 5), Target(2, 7)
    ]  # fmt: skip


# --- the checksum -------------------------------------------------------------------------------

BASE = Change(
    kind=ChangeKind.UPDATE,
    tenant_id="t1",
    agreement_id=10,
    item=100,
    before=Decimal(5),
    after=Decimal(7),
    reason="because",
    addition_id=1,
)


def test_the_fingerprint_changes_with_everything_that_is_written() -> None:
    others: list[dict[str, object]] = [
        {"kind": ChangeKind.ADOPT},
        {"agreement_id": 11},
        {"item": 101},
        {"addition_id": 2},
        {"before": Decimal(6)},
        {"before": None},
        {"after": Decimal(8)},
        {"effective_date": dt.date(2026, 10, 1)},
        {"cancelled_date": dt.date(2026, 10, 1)},
        {"sets_quantity": False},
    ]
    prints = {fingerprint([BASE])} | {
        fingerprint([dataclasses.replace(BASE, **o)])  # type: ignore[arg-type]
        for o in others
    }
    assert len(prints) == len(others) + 1


def test_the_fingerprint_is_of_the_meaning_not_of_the_words() -> None:
    for same in (
        {"after": Decimal("7.00")},
        {"reason": "other"},
        {"held": "why"},
        {"group": "g"},
    ):
        assert fingerprint([dataclasses.replace(BASE, **same)]) == fingerprint([BASE])


def test_the_fingerprint_does_not_depend_on_the_order() -> None:
    rows = [dataclasses.replace(BASE, addition_id=n) for n in (1, 2, 3)]
    assert len({fingerprint(p) for p in itertools.permutations(rows)}) == 1
    assert fingerprint([]) == fingerprint(())


def test_the_fingerprint_changes_with_the_product_that_is_mapped() -> None:
    made = dataclasses.replace(BASE, kind=ChangeKind.CREATE_PRODUCT, product_key="P1")
    other = dataclasses.replace(made, product_key="P2")
    assert fingerprint([made]) != fingerprint([other])
