"""Carry out a stored plan, one journalled call at a time.

Every call is stored as an intent before it goes out and settled after it. Changes on one
agreement go one after the other; several agreements are served side by side.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa

import models
from models import ChangeState
from services.clients.errors import (
    AuthenticationFailed,
    HostNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unavailable,
    VendorError,
)
from services.context import StoppedError, SyncContext
from services.journal import Journal, Outcome
from services.logs import carried
from services.products import catalog
from services.runs import doubts
from services.runs.doubts import Place
from services.runs.readback import read_back_change, read_back_create, stale
from services.settings import AppSettings, load_settings
from services.sync.model import Addition, ChangeKind

_HOPELESS = (AuthenticationFailed, PermissionDenied, RateLimited, HostNotAllowed)
"""After one of these every further call would fail the same way."""
_FAILURES_IN_A_ROW = 5
_ATTEMPTS = 2


@dataclass(slots=True)
class Brake:
    """Stops the run for all threads when going on makes no sense."""

    error: VendorError | None = None
    _unavailable: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, error: VendorError | None) -> None:
        """Count what came of a call; None is a success."""
        with self._lock:
            down = isinstance(error, Unavailable)
            self._unavailable = self._unavailable + 1 if down else 0
            if isinstance(error, _HOPELESS) or self._unavailable >= _FAILURES_IN_A_ROW:
                self.error = self.error or error


def apply_run(
    context: SyncContext,
    run_id: int,
    *,
    read_at: dt.datetime | None,
    only: Collection[int] | None = None,
) -> VendorError | None:
    """Apply planned changes of a run: these `only`, or all. Returns what ended it early, if any.

    `read_at` says when the plan read ConnectWise; None, that a person looked at the plan since.
    What is too old, and what was reviewed, is read again first: a change whose addition is not as
    it was is skipped as stale. Raises StoppedError when the context asked it to stop and changes
    were left out for that; what had begun by then is settled.
    """
    with context.session() as session:
        rows = list(
            session.scalars(
                sa.select(models.Change)
                .where(models.Change.run_id == run_id, models.Change.state == ChangeState.PLANNED)
                .order_by(models.Change.id)
            )
        )
        settings = load_settings(session, context.locked)
        open_places = doubts.open_places(session)
    rows = [r for r in rows if only is None or r.id in only]
    work = _Work(context, Journal(context), Brake(), settings, read_at, open_places, len(rows))
    products = [r for r in rows if r.kind is ChangeKind.CREATE_PRODUCT]
    rest = [r for r in rows if r.kind is not ChangeKind.CREATE_PRODUCT]
    work.make_products(products)
    if products or any(r.catalog_item_id is None for r in rest):
        rest = work.with_items(run_id, rest)
    rest = work.without_doubt(rest)
    taking = [r for r in rest if _takes_from_group(r)]
    work.by_agreement([r for r in rest if not _takes_from_group(r)])
    work.by_agreement(work.whose_group_succeeded(run_id, taking))
    if work.stopped_because is not None:
        raise StoppedError(work.stopped_because)
    return work.brake.error


def _takes_from_group(row: models.Change) -> bool:
    """Whether it takes away seats that another change of its group gives elsewhere."""
    if row.group is None or row.kind in (ChangeKind.CREATE, ChangeKind.ADOPT):
        return False
    return (row.after or Decimal(0)) < (row.before or Decimal(0))


@dataclass(slots=True)
class _Work:
    context: SyncContext
    journal: Journal
    brake: Brake
    settings: AppSettings
    read_at: dt.datetime | None
    open_places: Mapping[Place, int]
    total: int
    done: int = 0
    taken_over: set[int] = field(default_factory=set)
    """Catalog items that were there before we made them: no plan knows what stands of them."""
    stopped_because: str | None = None
    """Set once changes were left out, because the context asked to stop."""

    # --- products -------------------------------------------------------------------------------

    def make_products(self, rows: Sequence[models.Change]) -> None:
        for row in rows:
            if not self._stopped([row]):
                self._carry_out(row)

    def with_items(self, run_id: int, rows: Sequence[models.Change]) -> list[models.Change]:
        """The rows with the catalog items that were made for them; the others are skipped."""
        with self.context.session() as session:
            found = session.execute(
                sa.select(models.Change.id, models.Change.catalog_item_id).where(
                    models.Change.run_id == run_id, models.Change.state == ChangeState.PLANNED
                )
            )
            items = dict(found.all())
        self._report(sum(r.id not in items for r in rows))
        rows = [r for r in rows if r.id in items]
        for row in rows:
            row.catalog_item_id = items[row.id]
        without = [r for r in rows if r.catalog_item_id is None]
        self._skip(without, "Its ConnectWise product has not been made; not applied.")
        return [r for r in rows if r.catalog_item_id is not None]

    def without_doubt(self, rows: Sequence[models.Change]) -> list[models.Change]:
        """The rows at whose place nothing is open; a release of held changes may name others."""
        waiting = [r for r in rows if doubts.place_of(r) in self.open_places]
        for row in waiting:
            why = doubts.may_still_arrive(self.open_places[doubts.place_of(row)])
            self._skip([row], f"Not applied: {why}.")
        return [r for r in rows if r not in waiting]

    def whose_group_succeeded(
        self, run_id: int, rows: Sequence[models.Change]
    ) -> list[models.Change]:
        """Of the taking changes, those whose giving changes all succeeded."""
        if not rows:
            return []
        with self.context.session() as session:
            broken = set(
                session.scalars(
                    sa.select(models.Change.group).where(
                        models.Change.run_id == run_id,
                        models.Change.group.is_not(None),
                        models.Change.state != ChangeState.APPLIED,
                        models.Change.id.not_in([r.id for r in rows]),
                    )
                )
            )
        waiting = [r for r in rows if r.group in broken]
        self._skip(
            waiting,
            "Not applied, because the change that bills these seats elsewhere did not succeed.",
        )
        return [r for r in rows if r.group not in broken]

    # --- additions ------------------------------------------------------------------------------

    def by_agreement(self, rows: Iterable[models.Change]) -> None:
        batches: defaultdict[int | None, list[models.Change]] = defaultdict(list)
        for row in rows:
            batches[row.agreement_id].append(row)
        with ThreadPoolExecutor(self.context.workers, initializer=carried()) as pool:
            # Reading the results raises what a thread raised.
            list(pool.map(self._one_agreement, batches.values()))

    def _one_agreement(self, rows: list[models.Change]) -> None:
        if self._stopped(rows):
            return
        if self._is_old() or any(r.catalog_item_id in self.taken_over for r in rows):
            rows = self._still_fitting(rows)
        for n, row in enumerate(rows):
            if self._stopped(rows[n:]):
                return
            self._carry_out(row)

    def _is_old(self) -> bool:
        if self.read_at is None:
            return True
        return self.context.now() - self.read_at >= self.context.believed_for

    def _still_fitting(self, rows: list[models.Change]) -> list[models.Change]:
        """Read the agreement again; skip what has become stale."""
        try:
            why, additions = self._read_again(rows[0])
        except VendorError as error:
            self.brake.note(error)
            self._skip(rows, f"Not applied: {error}")
            return []
        today = self.settings.today(self.context.now())
        fitting = []
        for row in rows:
            problem = why or stale(row, additions, today)
            if problem:
                self._skip([row], f"Skipped as stale: {problem}. Nothing was written.")
            else:
                row.known_additions = [
                    a.id for a in additions if a.catalog_item_id == row.catalog_item_id
                ]
                fitting.append(row)
        return fitting

    def _read_again(self, row: models.Change) -> tuple[str | None, list[Addition]]:
        if row.agreement_id is None:
            return "it names no agreement", []
        agreements = self.context.connectwise.agreements(ids=[row.agreement_id])
        if not agreements:
            return "the agreement no longer exists", []
        why = agreements[0].why_not_writable(self.settings.today(self.context.now()))
        return why, [] if why else self.context.connectwise.additions(row.agreement_id)

    # --- one call -------------------------------------------------------------------------------

    def _carry_out(self, row: models.Change) -> None:
        self.journal.intend(row.id, row.known_additions)
        try:
            outcome = self._write(row)
        except VendorError as error:
            self.brake.note(error)
            outcome = Outcome(ChangeState.FAILED, str(error))
        else:
            self.brake.note(None if outcome.state is ChangeState.APPLIED else outcome.doubt)
        self.journal.settle(row.id, outcome)
        if outcome.doubt is not None and outcome.catalog_item_id is not None:
            self.taken_over.add(outcome.catalog_item_id)
        self._report(1)

    def _write(self, row: models.Change) -> Outcome:
        if row.kind is ChangeKind.CREATE_PRODUCT:
            return catalog.make_default_product(self.context, row, self.settings)
        if row.kind is ChangeKind.CREATE:
            return self._create(row)
        if row.kind is ChangeKind.ADOPT and row.before == row.after:
            return Outcome(ChangeState.APPLIED)
        return self._update(row)

    def _create(self, row: models.Change) -> Outcome:
        assert row.agreement_id and row.catalog_item_id  # noqa: S101, PT018  (plan and with_items)
        assert row.after is not None and row.effective_date  # noqa: S101, PT018
        try:
            addition = self.context.connectwise.create_addition(
                row.agreement_id,
                catalog_item_id=row.catalog_item_id,
                quantity=row.after,
                effective_date=row.effective_date,
            )
        except VendorError as error:
            if not error.unclear:
                raise
            return read_back_create(self.context, row, error)
        return Outcome(ChangeState.APPLIED, addition_id=addition.id)

    def _update(self, row: models.Change) -> Outcome:
        """Write absolute values; repeated once, and only when it certainly had no effect."""
        assert row.agreement_id and row.addition_id  # noqa: S101, PT018  (the plan names both)
        doubt: VendorError | None = None
        for _ in range(_ATTEMPTS):
            try:
                self.context.connectwise.update_addition(
                    row.agreement_id,
                    row.addition_id,
                    quantity=row.after if row.sets_quantity else None,
                    cancelled_date=row.cancelled_date,
                )
            except NotFound as error:
                return Outcome(ChangeState.FAILED, f"The addition is gone. {error}")
            except VendorError as error:
                if not error.unclear:
                    raise
                doubt = error
                outcome = read_back_change(self.context, row, error)
                if outcome is not None:
                    return outcome
            else:
                return Outcome(ChangeState.APPLIED)
        return Outcome(
            ChangeState.FAILED, f"ConnectWise did not take the change: {doubt}", doubt=doubt
        )

    # --- stopping and telling -------------------------------------------------------------------

    def _stopped(self, rows: Sequence[models.Change]) -> bool:
        if self.brake.error is not None:
            self._skip(rows, f"Not tried, because the run ended early: {self.brake.error}")
            return True
        why = self.stopped_because or self.context.why_stop()
        if why is None:
            return False
        self.stopped_because = why
        self._skip(rows, f"Not tried: {why} The next run plans it again.")
        return True

    def _skip(self, rows: Sequence[models.Change], why: str) -> None:
        self.journal.skip([r.id for r in rows], why)
        self._report(len(rows))

    def _report(self, done: int) -> None:
        self.done += done
        self.context.progress("Writing to ConnectWise", self.done, self.total)
