"""The child that measures our own work for a change: python -m bench.journalled.

It applies a stored plan to a ConnectWise that answers at once.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa

import models
from bench.machine import cpu_seconds
from bench.situation import Size, situation
from models import RunState
from services.clients.connectwise import ConnectWiseClient
from services.clients.sophos import SophosClient
from services.context import SyncContext
from services.database import configure, upgrade
from services.journal import store_plan
from services.runs.apply import apply_run
from services.sync.desired import desired_additions
from services.sync.model import Addition
from services.sync.plan import compute_plan

SIZE = Size(tenants=100, actual=1_000, differing=1_000, ended=0, unused=0)


class _AtOnce:
    """ConnectWise without a network: every write succeeds."""

    def __init__(self) -> None:
        self._ids = itertools.count(1_000_000)

    def create_addition(
        self, agreement_id: int, *, catalog_item_id: int, quantity: Decimal, effective_date: dt.date
    ) -> Addition:
        return Addition(next(self._ids), agreement_id, catalog_item_id, quantity, effective_date)

    def update_addition(
        self,
        agreement_id: int,
        addition_id: int,
        *,
        quantity: Decimal | None = None,
        cancelled_date: dt.date | None = None,
    ) -> Addition:
        return Addition(
            addition_id, agreement_id, 0, quantity or Decimal(0), cancelled_date=cancelled_date
        )


def main() -> None:
    """Store a plan, apply it, and print what both took."""
    with tempfile.TemporaryDirectory(prefix="tallybridge-bench-") as folder:
        engine = sa.create_engine(f"sqlite:///{Path(folder, 'bench.db')}")
        configure(engine)
        upgrade(engine)
        print(json.dumps(_measured(_context(engine))))


def _measured(context: SyncContext) -> dict[str, Any]:
    transactions = _count_transactions(context.engine)
    start = cpu_seconds()
    run_id, changes = _store(context)
    stored, begun, clock = cpu_seconds(), transactions[0], time.monotonic()
    if error := apply_run(context, run_id, read_at=context.now()):
        raise error
    return {
        "changes": changes,
        "store_cpu": stored - start,
        "apply_cpu": cpu_seconds() - stored,
        "apply_wall": time.monotonic() - clock,
        "transactions": transactions[0] - begun,
    }


def _context(engine: sa.Engine) -> SyncContext:
    return SyncContext(
        engine=engine,
        sophos=cast(SophosClient, None),
        connectwise=cast(ConnectWiseClient, _AtOnce()),
        actor="benchmark",
        trigger="benchmark",
        now=lambda: dt.datetime.now(dt.UTC),
        sleep=time.sleep,
    )


def _store(context: SyncContext) -> tuple[int, int]:
    month = situation(SIZE)
    plan = compute_plan(month, desired_additions(month))
    with context.session() as session, session.begin():
        run = models.SyncRun(
            month=str(month.month),
            trigger="benchmark",
            actor="benchmark",
            state=RunState.RUNNING,
            started_at=context.now(),
        )
        session.add(run)
        session.flush()
        store_plan(session, run, plan, month)
        return run.id, len(plan.changes)


def _count_transactions(engine: sa.Engine) -> list[int]:
    counted = [0]

    @sa.event.listens_for(engine, "begin")
    def _on_begin(_connection: sa.Connection) -> None:
        counted[0] += 1

    return counted


if __name__ == "__main__":
    main()
