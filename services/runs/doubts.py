"""Places where an earlier write is not settled yet: nothing more is written there meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS
from services.sync.guard import weighed
from services.sync.model import Change, Plan

Place = tuple[int | None, object]
"""An agreement id, and a catalog item as a plan names it."""


def open_places(session: Session) -> dict[Place, int]:
    """The places of all open intents, each with the run that left it open."""
    found = session.execute(
        sa.select(
            models.Change.agreement_id, models.Change.catalog_item_id, models.Change.run_id
        ).where(models.Change.state.in_(OPEN_INTENTS), models.Change.agreement_id.is_not(None))
    )
    return {(agreement_id, item): run_id for agreement_id, item, run_id in found}


def place_of(row: models.Change) -> Place:
    """Where a stored change writes."""
    return row.agreement_id, row.catalog_item_id


def may_still_arrive(run_id: int) -> str:
    """Why nothing is written at a place that this run left open."""
    return (
        f"what run {run_id} sent here is not settled, and may still arrive in ConnectWise; "
        "run again in some minutes, which looks first"
    )


def hold_in_doubt(plan: Plan, places: Mapping[Place, int]) -> Plan:
    """Hold what would be written at these places, with everything that shares a group with it."""
    groups = {
        change.group: places[place]
        for change in plan.changes
        if change.group and (place := (change.agreement_id, change.item)) in places
    }

    def held(change: Change) -> Change:
        run_id = places.get((change.agreement_id, change.item)) or groups.get(change.group or "")
        if run_id is None:
            return change
        why = may_still_arrive(run_id)
        return dataclasses.replace(change, held=f"{change.held}; {why}" if change.held else why)

    return weighed(plan, [held(change) for change in plan.changes])
