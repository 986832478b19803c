"""Can the invoices go out? What the newest plan left undone, and the one next step.

It promises no more than the runs know: a month, as Sophos had reported it and as ConnectWise stood
when the run looked, for the customers and products whose sync is on.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS, ChangeState, RunState
from services.monitoring.findings import FAILED, HELD, OpenFindings
from services.monitoring.overview import last_run
from services.runs.reports import decided_otherwise
from services.sync.model import Month
from services.tenants.tenant_status import by_a_person


class Step(StrEnum):
    """What a person does next."""

    NOTHING = "nothing"
    PREVIEW = "preview"
    SYNC = "sync"
    OPEN_RUN = "open_run"
    APPLY = "apply"
    FAILED = "failed"
    HELD = "held"
    FINDINGS = "findings"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: a colour, a word, why, what to do, and the run that it stands on."""

    kind: str
    word: str
    why: str
    step: Step
    run: models.SyncRun | None = None
    count: int = 0
    """How many changes or findings the step is about."""
    dismissed: int = 0
    """Changes of the run that a person decided not to write."""
    customers_off: int = 0
    products_off: int = 0
    """What was used in the month, and is not covered because its sync is off."""

    @property
    def ready(self) -> bool:
        """Whether nothing that we know of is left to do."""
        return self.step is Step.NOTHING


_BROKEN = (RunState.FAILED, RunState.INTERRUPTED)
_NOT_YET = "not yet"


def verdict(session: Session, found: OpenFindings, today: dt.date) -> Verdict:
    """Judge the newest plan; `found` are its findings, `today` a day of the billing time zone."""
    last, run = last_run(session), found.run
    if last is not None and last.state is RunState.RUNNING:
        why = f"Run {last.id} is at work. Its outcome shows when it has ended."
        return Verdict("info", "one moment", why, Step.OPEN_RUN, last)
    if last is not None and last.state in _BROKEN:
        why = f"The newest run did not end well: {last.message or 'its page says why'}"
        return Verdict("bad", _NOT_YET, why, Step.OPEN_RUN, last)
    if run is None:
        why = "No run has compared Sophos with ConnectWise yet. A preview does, and writes nothing."
        return Verdict("quiet", "not known yet", why, Step.PREVIEW)
    return _left_undone(session, found, run, last or run) or _ready(session, run, today)


def _left_undone(
    session: Session, found: OpenFindings, run: models.SyncRun, last: models.SyncRun
) -> Verdict | None:
    """What stands in the way, the most pressing first; None when nothing does."""
    counts = _counts(session, run)
    open_ends = sum(counts.get(state, 0) for state in OPEN_INTENTS)
    failed, held = _open(found, FAILED), _open(found, HELD)
    severe = sum(g.open for g in found.groups if g.kind.severe and g.key != FAILED)
    if open_ends:
        why = "It is not known whether ConnectWise took everything. The next run reads it first."
        return Verdict("bad", _NOT_YET, why, Step.SYNC, run, open_ends)
    if failed:
        why = f"{_some(failed, 'change')} could not be written to ConnectWise."
        return Verdict("bad", _NOT_YET, why, Step.FAILED, run, failed)
    if planned := counts.get(ChangeState.PLANNED, 0):
        why = f"{_some(planned, 'change')} of run {run.id} {_are(planned)} planned and not written."
        return Verdict("warn", _NOT_YET, why, Step.APPLY, run, planned)
    if held:
        why = f"{_some(held, 'change')} {_are(held)} held until you decide." + _also(severe)
        # Those of a way back stand on a page of their own.
        step = Step.HELD if counts.get(ChangeState.HELD) == held else Step.FINDINGS
        return Verdict("warn", _NOT_YET, why, step, run, held)
    if severe:
        why = f"{_some(severe, 'finding')} left usage out of the invoices."
        return Verdict("warn", _NOT_YET, why, Step.FINDINGS, run, severe)
    if last.undo_of_id is not None and last.id > run.id:
        why = f"Run {last.id} took changes back after run {run.id}. Another run compares anew."
        return Verdict("warn", _NOT_YET, why, Step.SYNC, run)
    if skipped := counts.get(ChangeState.SKIPPED, 0) - _dismissed(session, run):
        why = f"{_some(skipped, 'change')} {_were(skipped)} skipped. The next run plans anew."
        return Verdict("warn", _NOT_YET, why, Step.SYNC, run, skipped)
    if decided_otherwise(session, run.started_at):
        why = f"Mappings or settings were changed since run {run.id}. The next run takes them over."
        return Verdict("warn", _NOT_YET, why, Step.SYNC, run)
    return None


def _ready(session: Session, run: models.SyncRun, today: dt.date) -> Verdict:
    """Nothing is left of this run; unless it is of a month long gone, the answer is yes."""
    if run.month is None or run.month < str(Month.of(today).previous):
        why = f"The newest plan is of {run.month}. No run has looked at a newer month."
        return Verdict("warn", _NOT_YET, why, Step.SYNC, run)
    why = (
        "Every addition that Tallybridge keeps right stood as Sophos had reported it. What Sophos "
        "corrects or people change in ConnectWise afterwards, the next run sees."
    )
    customers, products = _not_covered(session, run)
    return Verdict(
        "good",
        "nothing is left to do",
        why,
        Step.NOTHING,
        run,
        dismissed=_dismissed(session, run),
        customers_off=customers,
        products_off=products,
    )


def _counts(session: Session, run: models.SyncRun) -> dict[ChangeState, int]:
    change = models.Change
    rows = session.execute(
        sa.select(change.state, sa.func.count())
        .where(change.run_id == run.id)
        .group_by(change.state)
    )
    return {row[0]: row[1] for row in rows}


def _dismissed(session: Session, run: models.SyncRun) -> int:
    change = models.Change
    rows = sa.select(sa.func.count()).where(
        change.run_id == run.id, change.state == ChangeState.SKIPPED, by_a_person()
    )
    return session.scalar(rows) or 0


def _not_covered(session: Session, run: models.SyncRun) -> tuple[int, int]:
    """How many customers and products were used in the month while their sync is off."""
    line, tenant, product = models.UsageLine, models.TenantMapping, models.ProductMapping
    used = line.report_id == run.report_id
    customers = sa.select(sa.func.count()).where(
        tenant.sync.is_(False), tenant.tenant_id.in_(sa.select(line.tenant_id).where(used))
    )
    products = sa.select(sa.func.count()).where(
        product.sync.is_(False), product.product_key.in_(sa.select(line.product_key).where(used))
    )
    return session.scalar(customers) or 0, session.scalar(products) or 0


def _open(found: OpenFindings, key: str) -> int:
    return sum(group.open for group in found.groups if group.key == key)


def _some(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _also(severe: int) -> str:
    return f" And {_some(severe, 'finding')} left usage out." if severe else ""
