"""The scenario itself: without faults it does all that the faults are to hit."""

from __future__ import annotations

from collections import Counter

from models import RunState
from tests.faults.harness import Installation, check_requests


def test_the_changed_world_needs_every_kind_of_write(changed: Installation) -> None:
    told = changed.run()
    assert told.state is RunState.SUCCEEDED, told
    assert not told.held(), told.held()
    kinds = Counter(c.kind for c in told.changes)
    assert kinds["create_product"] == 1
    assert min(kinds["create"], kinds["update"], kinds["cancel"]) >= 3, kinds
    writes = changed.sandbox.log.writes()
    check_requests(writes)
    changed.check_named(writes)
    changed.oracle.check_final(changed.state())


def test_a_second_run_writes_nothing(changed: Installation) -> None:
    changed.run()
    assert changed.wrote(changed.run) == []


def test_nothing_to_do_writes_nothing(owned: Installation) -> None:
    assert owned.wrote(owned.run) == []


def test_several_workers_come_to_the_same(changed: Installation) -> None:
    changed.run(workers=4)
    changed.oracle.check_final(changed.state())
