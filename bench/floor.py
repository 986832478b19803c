"""The fewest ConnectWise calls that a run could do with, to hold ours against."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

PAGE = 1_000
_PICK_LISTS = 4
_WRITTEN = ("applied", "failed")


@dataclass(frozen=True, slots=True)
class Floor:
    """The address of the API, lists at full page size, one read an agreement, one call a change.

    ConnectWise lists additions below one agreement only.
    """

    address: int
    lists: int
    agreements: int
    changes: int

    @property
    def calls(self) -> int:
        return self.address + self.lists + self.agreements + self.changes

    def __str__(self) -> str:
        return (
            f"{self.address} address + {self.lists} lists + {self.agreements:,} agreements "
            f"+ {self.changes:,} changes = {self.calls:,}"
        )


def floor_of(run: Mapping[str, Any], mapped: Collection[int], state: Mapping[str, Any]) -> Floor:
    """The floor of a stored run. `mapped` are the agreements of customers whose sync is on."""
    changes = [change for change in run["changes"] if _is_written(change)]
    makes_products = any(change["kind"] == "create_product" for change in changes)
    catalog, agreements = len(state["catalog"]), state["agreements"]
    existing = {agreement["id"] for agreement in agreements}
    lists = math.ceil(len(existing) / PAGE) + math.ceil(catalog / PAGE)
    return Floor(
        address=1,
        lists=lists + (_PICK_LISTS if makes_products else 0),
        agreements=len(existing.intersection(mapped)),
        changes=len(changes),
    )


def _is_written(change: Mapping[str, Any]) -> bool:
    """Adopting an addition that is right already needs no call."""
    same = change["kind"] == "adopt" and change["before"] == change["after"]
    return change["state"] in _WRITTEN and not same
