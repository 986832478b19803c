"""What undoing a run would do, as far as that can be told without asking ConnectWise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState
from services.runs.reversal import why_never
from services.runs.run_pages import Sum
from services.sync.model import ChangeKind


@dataclass(slots=True)
class Outlook:
    """`puts_back` and `cancels` count what may be undone, `never` why some changes cannot be."""

    puts_back: int = 0
    cancels: int = 0
    never: Counter[str] = field(default_factory=Counter)
    sum: Sum = field(default_factory=Sum)

    @property
    def possible(self) -> int:
        """How many changes may be undone."""
        return self.puts_back + self.cancels


def undo_outlook(session: Session, run_id: int) -> Outlook:
    """Judge every applied change of a run by what we know ourselves."""
    rows = session.scalars(
        sa.select(models.Change).where(
            models.Change.run_id == run_id, models.Change.state == ChangeState.APPLIED
        )
    ).all()
    moved = {row.group for row in rows if row.group}
    outlook = Outlook()
    for row in rows:
        problem = why_never(row, in_move=row.group in moved)
        if problem:
            outlook.never[problem] += 1
            continue
        outlook.sum.add(row.after, row.before or Decimal(0), row.unit_price)
        if row.kind is ChangeKind.CREATE:
            outlook.cancels += 1
        else:
            outlook.puts_back += 1
    return outlook
