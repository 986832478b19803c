"""The audit: an event for every write, and nothing in the code that changes or deletes one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

import models
from models import ChangeState
from sandbox import Fault, Sandbox
from services.context import SyncContext
from services.runs import sync_runs
from services.sync.model import ChangeKind
from services.sync.words import number

ROOT = Path(__file__).resolve().parents[2]


def events(work: SyncContext, action: str) -> list[models.AuditEvent]:
    with work.session() as session:
        return list(
            session.scalars(
                sa.select(models.AuditEvent)
                .where(models.AuditEvent.action.startswith(action))
                .order_by(models.AuditEvent.id)
            )
        )


def changes(work: SyncContext, run_id: int) -> list[models.Change]:
    with work.session() as session:
        return list(session.scalars(sa.select(models.Change).where(models.Change.run_id == run_id)))


def test_every_write_of_a_run_leaves_one_event(work: SyncContext, sandbox: Sandbox) -> None:
    """Who, when, before, after, why, and in which run."""
    sandbox.log.clear()
    run_id = sync_runs.run(work).run_id
    applied = {
        f"addition {c.addition_id} on agreement {c.agreement_id}": c
        for c in changes(work, run_id)
        if c.state is ChangeState.APPLIED
    }
    told = events(work, "sync.")
    written = [e for e in sandbox.log.entries() if e.method in ("POST", "PATCH")]
    written = [e for e in written if e.vendor == "connectwise"]
    assert len(told) == len(applied) == len(written) > 0
    for event in told:
        change = applied.pop(event.subject)
        assert event.action == f"sync.{change.kind.value}"
        assert (event.actor, event.at, event.run_id) == ("anna", work.now(), run_id)
        before = None if change.before is None else {"quantity": number(change.before)}
        assert event.before == before
        assert event.after == {"quantity": number(change.after), "why": change.reason}
        assert event.after["why"]


def test_an_approval_leaves_an_event_with_what_held_it(work: SyncContext) -> None:
    run_id = sync_runs.run(work).run_id
    held = [c.id for c in changes(work, run_id) if c.state is ChangeState.HELD]
    assert held
    sync_runs.approve(work, run_id, held)
    told = events(work, "change.approve")
    assert [event.subject for event in told] == [f"change {number}" for number in held]
    for event in told:
        assert (event.actor, event.run_id) == ("anna", run_id)
        assert event.after is not None
        assert event.after["held"]
        assert event.after["why"]


def test_what_was_not_written_leaves_none(work: SyncContext, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("error_500", "connectwise", method="POST", times=None))
    run_id = sync_runs.run(work).run_id
    assert ChangeState.APPLIED not in {c.state for c in changes(work, run_id)}
    assert events(work, "sync.") == []


def test_a_preview_leaves_none(work: SyncContext) -> None:
    sync_runs.preview(work)
    assert events(work, "sync.") == []


def test_an_undo_leaves_events_of_its_own(work: SyncContext) -> None:
    first = sync_runs.run(work, approve_all=True).run_id
    undone = sync_runs.undo(work, first).run_id
    sync_runs.approve(work, undone, None)
    told = [event for event in events(work, "sync.") if event.run_id == undone]
    done = [c for c in changes(work, undone) if c.state is ChangeState.APPLIED]
    assert len(told) == len(done) > 0
    assert {c.kind for c in done} <= {ChangeKind.CANCEL, ChangeKind.UPDATE}


# --- append-only --------------------------------------------------------------------------------

TABLE = re.compile(r"audit_events", re.IGNORECASE)


def tampering(source: str) -> Iterator[int]:
    """Lines that could change or delete an event: update(), delete(), or SQL that names it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            inside = "".join(ast.unparse(argument) for argument in node.args)
            on = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
            if name in ("update", "delete") and "AuditEvent" in inside + on:
                yield node.lineno
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.upper()
            if TABLE.search(words) and ("DELETE" in words or "UPDATE" in words):
                yield node.lineno
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and ast.unparse(target.value) in NAMES:
                    yield node.lineno


NAMES = {"event", "audit_event"}


@pytest.mark.parametrize("folder", ["services", "cli", "blueprints", "models"])
def test_nothing_changes_or_deletes_an_event(folder: str) -> None:
    for file in sorted((ROOT / folder).rglob("*.py")):
        found = list(tampering(file.read_text(encoding="utf-8")))
        assert not found, f"{file.relative_to(ROOT)}: {found}"


@pytest.mark.parametrize(
    "source",
    [
        "session.execute(sa.delete(models.AuditEvent))",
        "session.execute(sa.update(AuditEvent).values(actor='x'))",
        "session.query(models.AuditEvent).delete()",
        "session.delete(session.get(models.AuditEvent, 1))",
        "connection.execute('DELETE FROM audit_events')",
        "event.actor = 'somebody else'",
    ],
)
def test_the_check_is_awake(source: str) -> None:
    assert list(tampering(source)) == [1]


def test_events_are_made_in_one_place_only() -> None:
    """So that every one has who and when, and stands in the transaction of what it tells."""
    makers = [
        str(file.relative_to(ROOT))
        for folder in ("services", "cli", "blueprints")
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"\bAuditEvent\(", file.read_text(encoding="utf-8"))
    ]
    assert makers == ["services/audit.py"]
