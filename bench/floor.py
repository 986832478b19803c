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


def floor_of(run: Mapping[str, Any], mapped: Collection[int], before: Mapping[str, Any]) -> Floor:
    """The floor of a stored run.

    `mapped` are the agreements of customers whose sync is on; `before` is what ConnectWise held.
    """
    catalog = {item["id"] for item in before["catalog"]}
    agreements = {agreement["id"] for agreement in before["agreements"]}
    written = [change for change in run["changes"] if _is_written(change, catalog)]
    makes_products = any(change["kind"] == "create_product" for change in written)
    lists = math.ceil(len(agreements) / PAGE) + math.ceil(len(catalog) / PAGE)
    return Floor(
        address=1,
        lists=lists + (_PICK_LISTS if makes_products else 0),
        agreements=len(agreements.intersection(mapped)),
        changes=len(written),
    )


def _is_written(change: Mapping[str, Any], catalog: Collection[int]) -> bool:
    """Taking over what is right already, an addition or a product, needs no call."""
    if change["state"] not in _WRITTEN:
        return False
    if change["kind"] == "create_product":
        return change["catalog_item_id"] not in catalog
    return change["kind"] != "adopt" or bool(change["before"] != change["after"])
