"""What is not settled yet, and what people did in the middle of a run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

import models
from models import ChangeState, RunState
from services.clients.connectwise import NewCatalogItem
from services.runs import sync_runs
from tests.faults.harness import (
    CLEARED_PRODUCT,
    DEFAULT_ITEM,
    NOW,
    Installation,
    Told,
    open_at,
    set_usage,
    successor_item,
)
from tests.faults.test_stale import ITEM, PRODUCT

AT = 201


def _lose_a_create(one: Installation) -> None:
    set_usage(one, AT, PRODUCT, 4)
    one.fault("disconnect", "connectwise", method="POST", path=f"/{AT}/additions$")
    assert one.run().only(kind="create").state is ChangeState.UNCLEAR


def test_an_agreement_that_cannot_be_read_stops_nobody_else(owned: Installation) -> None:
    _lose_a_create(owned)
    other = open_at(owned.state())[203, ITEM][0]
    set_usage(owned, 203, PRODUCT, int(other["quantity"]) + 3)
    owned.fault("forbidden", "connectwise", method="GET", path=rf"/{AT}/additions\?")
    told = owned.run()
    assert told.state is RunState.SUCCEEDED, told
    assert "could not be settled" in " ".join(told.notes)
    assert told.only(agreement_id=203).state is ChangeState.APPLIED
    create = told.only(agreement_id=AT)
    assert create.state is ChangeState.HELD
    assert "not settled" in (create.held or "")
    assert (AT, ITEM) not in open_at(owned.state())
    assert owned.run().only(agreement_id=AT).state is ChangeState.APPLIED
    assert len(open_at(owned.state())[AT, ITEM]) == 1


def test_a_lost_create_is_not_recognised_after_a_day(owned: Installation) -> None:
    """It looks like ours in everything; but whoever added it by hand did not let us adopt it."""
    _lose_a_create(owned)
    lost = next(e for e in owned.sandbox.log.writes() if e.method == "POST")
    item = next(r for r in owned.state()["catalog"] if r["identifier"] == ITEM)
    product = {"id": item["id"], "identifier": ITEM}
    table = owned.sandbox.connectwise.additions_of(AT)
    by_hand = table.add({**lost.body, "product": product}, "jdoe", "2026-11-28T09:00:00Z")
    owned.now += dt.timedelta(days=2)
    told = owned.run()
    assert by_hand["id"] not in owned.owned()
    assert told.only(kind="adopt").state is ChangeState.HELD
    assert "by hand" in (owned.told(told.id - 1).only(kind="create").error or "")


def _in_the_middle(
    one: Installation, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]
) -> Told:
    """A run in which something happens after the plan was stored and before it is applied."""
    monkeypatch.setattr("services.runs.sync_runs.confirm", lambda *_args: action())
    return one.run()


def test_a_product_that_somebody_made_meanwhile_is_read_before_it_is_billed(
    changed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = next(p for p in changed.oracle.expected if p[1] == DEFAULT_ITEM)

    def by_hand() -> None:
        sibling = changed.state()["catalog"][0]
        with changed.using() as context:
            item = context.connectwise.create_catalog_item(
                NewCatalogItem(
                    identifier=DEFAULT_ITEM.upper(),
                    description="By hand",
                    customer_description="By hand",
                    subcategory_id=sibling["subcategory"]["id"],
                    type_id=sibling["type"]["id"],
                    product_class="Agreement",
                )
            )
            context.connectwise.create_addition(
                place[0],
                catalog_item_id=item.id,
                quantity=changed.oracle.expected[place],
                effective_date=dt.date(2026, 11, 1),
            )

    told = _in_the_middle(changed, monkeypatch, by_hand)
    assert told.only(kind="create_product").state is ChangeState.APPLIED
    standing = open_at(changed.state())
    assert len(standing[place[0], DEFAULT_ITEM.upper()]) == 1
    assert any("stands there now" in (c.error or "") for c in told.changes)


def test_a_mapping_made_during_the_run_has_the_last_word(
    changed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(
        r["id"] for r in changed.state()["catalog"] if r["identifier"] == successor_item(changed)
    )

    def by_hand() -> None:
        with sa.orm.Session(changed.engine) as session, session.begin():
            product = session.get_one(models.ProductMapping, CLEARED_PRODUCT)
            product.catalog_item_id = other

    told = _in_the_middle(changed, monkeypatch, by_hand)
    assert told.state is RunState.SUCCEEDED
    skipped = [c for c in told.changes if "during the run" in (c.error or "")]
    assert skipped
    assert {c.state for c in skipped} == {ChangeState.SKIPPED}
    assert not [place for place in open_at(changed.state()) if place[1] == DEFAULT_ITEM]


def test_what_a_run_had_not_begun_when_it_broke_off_is_over(
    changed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_hand() -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        _in_the_middle(changed, monkeypatch, by_hand)
    states = {c.state for c in changed.told(2).changes}
    assert ChangeState.SKIPPED in states
    assert ChangeState.PLANNED not in states


def test_an_approval_that_cannot_settle_the_past_tells_it(owned: Installation) -> None:
    _lose_a_create(owned)
    with sa.orm.Session(owned.engine) as session, session.begin():
        session.add(
            models.SyncRun(trigger="test", actor="someone", state=RunState.RUNNING, started_at=NOW)
        )
    owned.fault("error_503", "connectwise", method="GET", path=r"/additions\?", times=None)
    with pytest.raises(sync_runs.RunRefusedError, match="was interrupted") as refused:
        owned.approve(1)
    assert "Nothing was approved" in str(refused.value)


def test_an_addition_of_another_product_is_not_put_back(owned: Installation) -> None:
    row = open_at(owned.state())[203, ITEM][0]
    set_usage(owned, 203, PRODUCT, int(row["quantity"]) + 3)
    run = owned.run()
    other = next(r for r in owned.state()["catalog"] if r["identifier"] == "Sophos_MTR_Standard")
    product = {"id": other["id"], "identifier": other["identifier"]}
    owned.edit("addition", id=row["id"], product=product)
    told: list[Any] = []
    assert owned.wrote(lambda: told.append(owned.undo(run.id))) == []
    assert "another ConnectWise product" in told[0].findings[0][1]
