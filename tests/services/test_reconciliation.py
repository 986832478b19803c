"""Comparisons: what is read for them, what is kept, and what was written since."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
import sqlalchemy as sa

import models
from models import ChangeState
from sandbox import Sandbox
from services.context import SyncContext
from services.runs import reconciliation, reconciliation_pages, sync_runs
from services.runs.gather import gather, newest_report
from services.runs.reconciliation import Line
from services.runs.reconciliation_pages import FILTERS, View
from services.sync.model import ChangeKind, Month
from services.sync.reconcile import Obstacle, Verdict
from services.sync.words import number

Switch = Callable[[bool], None]


@pytest.fixture
def switch_all(work: SyncContext) -> Switch:
    """Switch every customer on or off."""

    def switch(on: bool) -> None:
        with work.session() as session, session.begin():
            session.execute(sa.update(models.TenantMapping).values(sync=on))

    return switch


def compared(work: SyncContext, month: str | None = None) -> list[Line]:
    with work.session() as session:
        found = reconciliation.newest(session, month)
        assert found is not None
        return reconciliation.lines(session, found)


def kept(work: SyncContext) -> dict[str, int]:
    """The runs of the comparisons that are kept, by month."""
    with work.session() as session:
        return {each.month: each.run_id for each in session.scalars(sa.select(models.Comparison))}


def agreements_read(sandbox: Sandbox) -> set[str]:
    return {e.path for e in sandbox.log if e.path.endswith("/additions") and e.method == "GET"}


def test_a_preview_reads_what_is_switched_off_too(
    work: SyncContext, sandbox: Sandbox, switch_all: Switch
) -> None:
    switch_all(False)
    sandbox.log.clear()
    sync_runs.preview(work, whole=True)
    read = agreements_read(sandbox)
    with work.session() as session:
        mapped = set(session.scalars(sa.select(models.TenantMapping.agreement_id))) - {None}
    assert len(read) >= len(mapped) > 0
    assert not sandbox.log.writes()
    found = compared(work)
    assert [line for line in found if line.connectwise]
    assert any(Obstacle.CUSTOMER_SYNC_OFF in line.obstacles for line in found)


def test_a_run_reads_no_more_than_it_needs(
    work: SyncContext, sandbox: Sandbox, switch_all: Switch
) -> None:
    switch_all(False)
    sandbox.log.clear()
    sync_runs.run(work)
    assert agreements_read(sandbox) == set()
    assert kept(work) == {}, "it left out agreements: it cannot say what is billed there"


def test_the_plan_is_the_same_whatever_is_compared(work: SyncContext) -> None:
    with work.session() as session, session.begin():
        off = session.scalars(sa.select(models.TenantMapping).where(models.TenantMapping.sync))
        next(iter(off)).sync = False
    first = sync_runs.preview(work, whole=True).run_id
    second = sync_runs.run(work).run_id
    with work.session() as session:
        prints = sa.select(models.SyncRun.fingerprint).where(models.SyncRun.id.in_([first, second]))
        assert len(set(session.scalars(prints))) == 1


def test_a_plan_is_made_from_the_same_whatever_else_was_read(
    work: SyncContext, switch_all: Switch
) -> None:
    switch_all(False)
    with work.session() as session, session.begin():
        session.scalars(
            sa.select(models.TenantMapping).where(models.TenantMapping.agreement_id.is_not(None))
        ).all()[0].sync = True
    month, lines = newest_report(work, None, work.settings())
    assert lines
    narrow, wide = gather(work, month, lines), gather(work, month, lines, whole=True)
    assert wide.situation == narrow.situation
    assert narrow.whole is None
    assert wide.whole is not None
    assert set(wide.whole.agreements) > set(wide.situation.agreements)
    assert set(wide.whole.additions) > set(wide.situation.additions)


def test_what_a_person_changed_before_is_what_was_read(
    work: SyncContext, sandbox: Sandbox, switch_all: Switch
) -> None:
    """What we wrote earlier is not counted in over what stands there now."""
    switch_all(True)
    sync_runs.run(work, approve_all=True)
    with work.session() as session:
        owned = session.scalars(sa.select(models.OwnedAddition)).all()[0]
    sandbox.edit({"action": "addition", "number": owned.addition_id, "quantity": 777})
    sync_runs.preview(work, whole=True)
    place = (owned.agreement_id, owned.catalog_item_id)
    (line,) = [each for each in compared(work) if each.place == place]
    assert line.connectwise == 777
    assert not line.written


def test_a_product_that_was_made_since_is_billed_until_that_is_undone(
    work: SyncContext, switch_all: Switch
) -> None:
    switch_all(True)
    sync_runs.preview(work, whole=True)
    used = {key for each in compared(work) if each.used and each.item for key in each.product_keys}
    with work.session() as session, session.begin():
        product = session.get_one(models.ProductMapping, min(used))
        product.catalog_item_id, product.sync = None, True
    run_id = sync_runs.preview(work, whole=True).run_id
    with work.session() as session:
        made = session.scalars(
            sa.select(models.Change.product_key).where(
                models.Change.run_id == run_id, models.Change.kind == ChangeKind.CREATE_PRODUCT
            )
        ).all()
    assert made
    sync_runs.approve(work, run_id, None)
    billed = {n: each for n, each in by_id(work).items() if each.item is None and each.written}
    assert {key for each in billed.values() for key in each.product_keys} <= set(made)
    assert billed
    assert all(each.verdict is Verdict.AGREES for each in billed.values())
    sync_runs.approve(work, sync_runs.undo(work, run_id).run_id, None)
    assert all(by_id(work)[n].verdict is Verdict.NOT_BILLED for n in billed)


def by_id(work: SyncContext) -> dict[int, Line]:
    return {each.id: each for each in compared(work)}


def test_no_usage_is_lost(work: SyncContext) -> None:
    sync_runs.preview(work, whole=True)
    with work.session() as session:
        usage = session.scalars(sa.select(models.UsageLine.quantity)).all()
    assert sum((line.sophos for line in compared(work)), Decimal(0)) == sum(usage)


def test_one_comparison_a_month(work: SyncContext) -> None:
    newest = sync_runs.preview(work, whole=True).run_id
    assert list(kept(work).values()) == [newest]
    older = sync_runs.preview(work, Month(2026, 9), whole=True).run_id
    again = sync_runs.preview(work, whole=True).run_id
    months = kept(work)
    assert set(months.values()) == {older, again}
    with work.session() as session:
        rows = set(session.scalars(sa.select(models.ComparedRow.run_id)))
        assert rows == {older, again}
        assert reconciliation.months(session) == sorted(months, reverse=True)


def test_months_long_past_are_forgotten(work: SyncContext) -> None:
    run_id = sync_runs.preview(work, whole=True).run_id
    with work.session() as session, session.begin():
        run = session.get_one(models.SyncRun, run_id)
        for n in range(1, 15):
            other = models.SyncRun(
                trigger="t", actor="a", state=run.state, started_at=run.started_at
            )
            session.add(other)
            session.flush()
            month = f"{2024 + n // 12}-{n % 12 + 1:02d}"
            session.add(
                models.Comparison(run_id=other.id, month=month, read_at=run.started_at, audited=0)
            )
    newest = sync_runs.preview(work, whole=True).run_id
    found = kept(work)
    assert len(found) == reconciliation.MONTHS_KEPT
    assert newest in found.values()
    assert "2024-02" not in found


def test_what_was_written_since_is_counted_in(work: SyncContext, switch_all: Switch) -> None:
    switch_all(True)
    run_id = sync_runs.preview(work, whole=True).run_id
    before = {line.id: line for line in compared(work)}
    with work.session() as session:
        planned = {
            (c.agreement_id, c.catalog_item_id): c.after
            for c in session.scalars(
                sa.select(models.Change).where(
                    models.Change.run_id == run_id, models.Change.catalog_item_id.is_not(None)
                )
            )
            if c.after is not None
        }
    assert planned
    sync_runs.approve(work, run_id, None)
    after = {line.id: line for line in compared(work)}
    written = [line for line in after.values() if line.written]
    assert {line.place for line in written} == {
        place for place in planned if before_of(before, place) != planned[place]
    }
    for line in written:
        assert line.connectwise == planned[line.place] == line.sophos
        assert line.verdict is Verdict.AGREES
    with work.session() as session:
        found = reconciliation.newest(session)
        assert found is not None
        assert found.run_id == run_id
        page = reconciliation_pages.show(session, found, View(), page=1)
    assert page.written == len(written)


def before_of(lines: dict[int, Line], place: reconciliation.Place) -> Decimal | None:
    return next((line.connectwise for line in lines.values() if line.place == place), None)


def test_read_anew_it_says_the_same_as_counted_in(work: SyncContext, switch_all: Switch) -> None:
    """What is added up from what was written is what ConnectWise then says."""
    switch_all(True)
    run_id = sync_runs.preview(work, whole=True).run_id
    sync_runs.approve(work, run_id, None)
    counted = {(line.place, line.sophos, line.connectwise) for line in compared(work) if line.item}
    sync_runs.preview(work, whole=True)
    anew = {(line.place, line.sophos, line.connectwise) for line in compared(work) if line.item}
    # What stands at no usage any more and bills nothing is no line of a new comparison.
    assert anew <= counted
    assert all(not sophos and not there for _, sophos, there in counted - anew)


def test_undoing_is_counted_in_as_well(work: SyncContext, switch_all: Switch) -> None:
    switch_all(True)
    run_id = sync_runs.preview(work, whole=True).run_id
    before = {line.id: line.connectwise for line in compared(work)}
    sync_runs.approve(work, run_id, None)
    undone = sync_runs.undo(work, run_id).run_id
    with work.session() as session:
        changes = session.scalars(
            sa.select(models.Change).where(models.Change.run_id == undone)
        ).all()
        done = [c for c in changes if c.state is ChangeState.APPLIED]
    assert done
    for line in compared(work):
        if line.place in {(c.agreement_id, c.catalog_item_id) for c in done}:
            assert line.connectwise == before[line.id]


# --- views ----------------------------------------------------------------------------------------


def line(n: int, sophos: int, connectwise: int, price: str | None, **more: object) -> Line:
    values: dict[str, object] = {
        "tenant_ids": (f"t{n}",),
        "tenant_names": (f"Customer {n}",),
        "product_keys": (f"P{n}",),
        "products": (f"Name {n}",),
        "agreement_id": n,
        "item_id": n,
        "item": f"I{n}",
        "agreement": "Managed",
        "company": f"C{n}",
        "obstacles": (),
        "used": True,
        "written": False,
        "serial": None,
        "hint": None,
        **more,
    }
    return Line(
        id=n,
        sophos=Decimal(sophos),
        connectwise=Decimal(connectwise),
        unit_price=None if price is None else Decimal(price),
        **values,  # type: ignore[arg-type]
    )


LINES = [
    line(1, 5, 5, "2"),
    line(2, 9, 5, "2.5"),
    line(3, 1, 5, "10"),
    line(4, 500, 0, None),
    line(5, 1, 0, "0.10", tenant_names=(), serial="S1", hint="Acme"),
]


@pytest.mark.parametrize(
    ("show", "found"),
    [
        ("differences", [3, 2, 5, 4]),
        ("not-billed", [2, 5, 4]),
        ("overbilled", [3]),
        ("all", [3, 2, 5, 4, 1]),
    ],
)
def test_filters_show_the_dearest_first(show: str, found: list[int]) -> None:
    assert [each.id for each in reconciliation_pages.ordered(LINES, View(show=show))] == found
    assert show in FILTERS


@pytest.mark.parametrize(
    ("sort", "flipped", "found"),
    [
        ("customer", False, [1, 2, 3, 4, 5]),
        ("customer", True, [5, 4, 3, 2, 1]),
        ("product", False, [1, 2, 3, 4, 5]),
        ("sophos", False, [4, 2, 1, 3, 5]),
        ("sophos", True, [3, 5, 1, 2, 4]),
        ("connectwise", False, [1, 2, 3, 4, 5]),
        ("difference", False, [4, 2, 3, 5, 1]),
        ("money", True, [1, 4, 5, 2, 3]),
        ("rubbish", False, [3, 2, 5, 4, 1]),
    ],
)
def test_sorts(sort: str, flipped: bool, found: list[int]) -> None:
    view = View(show="all", sort=sort, flipped=flipped)
    assert [each.id for each in reconciliation_pages.ordered(LINES, view)] == found


@pytest.mark.parametrize(
    ("text", "found"),
    [("customer 1", [1]), ("NAME 2", [2]), ("c3", [3]), ("s1", [5]), ("acme", [5]), ("zzz", [])],
)
def test_search(text: str, found: list[int]) -> None:
    assert [each.id for each in reconciliation_pages.fitting(LINES, text)] == found


def test_money_is_the_difference_at_its_price() -> None:
    assert [each.money for each in LINES] == [
        Decimal(0), Decimal(10), Decimal(-40), None, Decimal("0.10"),
    ]  # fmt: skip
    totals = reconciliation_pages.totals(LINES)
    assert (totals.not_billed.money, totals.not_billed.unpriced) == (Decimal("10.10"), 1)
    assert (totals.overbilled.money, totals.agree) == (Decimal(40), 1)


def test_why_in_a_sentence() -> None:
    assert reconciliation_pages.why(LINES[0]) == ""
    assert reconciliation_pages.why(LINES[1]) == "The quantities differ."
    assert reconciliation_pages.why(LINES[3]) == "There is no addition."
    foreign = line(6, 0, 3, "1", used=False, obstacles=(Obstacle.NOT_OURS,))
    assert reconciliation_pages.why(foreign) == (
        "Nothing in Sophos' report asks for it; the addition was not made by us. "
        "We never change it: end it in ConnectWise if nobody needs it."
    )


def test_every_obstacle_and_verdict_has_words() -> None:
    assert set(reconciliation_pages.REASONS) == set(Obstacle)
    assert set(reconciliation_pages.VERDICTS) == set(Verdict)
    assert number(Decimal("2.50")) == "2.5"
