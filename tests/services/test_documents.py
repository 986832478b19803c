"""A run as a document: the keys and words of product.md, and when a run counts as failed."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest

from models import Change, ChangeState, Finding, RunState, SyncRun
from services.runs.documents import failed, run_document, why
from services.sync.model import ChangeKind, FindingKind


def change(**values: Any) -> Change:
    base: dict[str, Any] = {
        "id": 7,
        "run_id": 1,
        "kind": ChangeKind.UPDATE,
        "state": ChangeState.APPLIED,
        "tenant_id": "t",
        "agreement_id": 1,
        "addition_id": 2,
        "catalog_item_id": 3,
        "before": Decimal("1.000000"),
        "after": Decimal("2.5"),
        "reason": "because",
        "explanation": [],
    }
    return Change(**{**base, **values})


def run(*changes: Change, state: RunState = RunState.SUCCEEDED) -> SyncRun:
    moment = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    return SyncRun(
        id=1,
        month="2026-10",
        trigger="t",
        actor="a",
        state=state,
        started_at=moment,
        sophos_calls=3,
        connectwise_calls=4,
        changes=list(changes),
        findings=[
            Finding(kind=FindingKind.NEW_PRODUCT, subject="s", message="m", advice="a", run_id=1)
        ],
    )


def test_the_document_is_json_with_numbers() -> None:
    held = change(state=ChangeState.HELD, held="a drop", before=None, after=Decimal("1E+2"))
    document = json.loads(json.dumps(run_document(run(change(), held))))
    assert document["calls"] == {"sophos": 3, "connectwise": 4}
    first, second = document["changes"]
    assert (first["before"], first["after"], first["held"]) == (1, 2.5, False)
    assert (second["before"], second["after"], second["held"]) == (None, 100, True)
    assert second["reason"] == why(held) == "because. Held: a drop"
    assert document["findings"] == [
        {"kind": "new_product", "subject": "s", "message": "m", "advice": "a"}
    ]


@pytest.mark.parametrize("state", list(ChangeState))
def test_states_are_those_of_the_contract(state: ChangeState) -> None:
    said = run_document(run(change(state=state)))["changes"][0]["state"]
    assert said in {"planned", "applied", "held", "skipped", "failed"}


@pytest.mark.parametrize("kind", list(ChangeKind))
def test_kinds_are_those_of_the_contract(kind: ChangeKind) -> None:
    said = run_document(run(change(kind=kind)))["changes"][0]["kind"]
    assert said in {"create", "update", "cancel", "adopt", "create_product"}


@pytest.mark.parametrize("state", list(RunState))
def test_which_runs_failed(state: RunState) -> None:
    good = {RunState.RUNNING, RunState.PLANNED, RunState.SUCCEEDED}
    assert failed(run(state=state)) is (state not in good)


@pytest.mark.parametrize("state", list(ChangeState))
def test_which_changes_fail_a_run(state: ChangeState) -> None:
    bad = {ChangeState.FAILED, ChangeState.UNCLEAR, ChangeState.APPLYING}
    assert failed(run(change(), change(id=8, state=state))) is (state in bad)
