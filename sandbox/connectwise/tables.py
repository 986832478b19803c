"""The records that ConnectWise keeps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any

from sandbox.connectwise import fields
from sandbox.connectwise.fields import Field

Record = dict[str, Any]


def stamp(moment: datetime) -> str:
    """An instant as ConnectWise writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Table:
    """Records of one kind by id, in the order of their ids."""

    name: str
    fields: dict[str, Field]
    right: str
    counter: Iterator[int]
    rows: dict[int, Record] = field(default_factory=dict)
    info: dict[int, dict[str, str]] = field(default_factory=dict)
    created: dict[int, float] = field(default_factory=dict)

    def add(self, record: Record, who: str, at: str) -> Record:
        """Store a new record under the next id; with the id as its first key."""
        number = next(self.counter)
        stored = {"id": number, **record}
        self.rows[number] = stored
        self.info[number] = {"lastUpdated": at, "updatedBy": who, "dateEntered": at}
        return stored

    def mark_new(self, number: int) -> None:
        """Remember that a client has just made this record."""
        self.created[number] = time.monotonic()

    def replace(self, number: int, record: Record, who: str, at: str) -> None:
        """Store a changed record."""
        self.rows[number] = record
        self.info[number] = {**self.info[number], "lastUpdated": at, "updatedBy": who}

    def remove(self, number: int) -> None:
        """Take a record out."""
        del self.rows[number]
        del self.info[number]

    def newer_than(self, seconds: float) -> set[int]:
        """The ids that clients made in the last so many seconds."""
        border = time.monotonic() - seconds
        return {number for number, at in self.created.items() if at > border}


@dataclass
class ConnectWiseWorld:
    """Everything one ConnectWise company has, and the keys of our API member."""

    company_id: str
    public_key: str
    private_key: str
    client_id: str
    now: Callable[[], datetime]
    companies: Table = field(init=False)
    agreements: Table = field(init=False)
    catalog: Table = field(init=False)
    categories: Table = field(init=False)
    subcategories: Table = field(init=False)
    types: Table = field(init=False)
    units: Table = field(init=False)
    additions: dict[int, Table] = field(default_factory=dict)
    identifiers: dict[str, int] = field(default_factory=dict)
    _addition_ids: Iterator[int] = field(default_factory=lambda: count(50_001))

    def __post_init__(self) -> None:
        tables = "system/tables"
        self.companies = Table("Company", fields.COMPANY, "company/companies", count(19_300))
        self.agreements = Table("Agreement", fields.AGREEMENT, "finance/agreements", count(201))
        self.catalog = Table("CatalogItem", fields.CATALOG, "procurement/catalog", count(1_001))
        self.categories = Table("Category", fields.CATEGORY, tables, count(1))
        self.subcategories = Table("SubCategory", fields.SUBCATEGORY, tables, count(31))
        self.types = Table("ProductType", fields.PRODUCT_TYPE, tables, count(1))
        self.units = Table("UnitOfMeasure", fields.UNIT, tables, count(1))

    def additions_of(self, agreement: int) -> Table:
        """The additions of one agreement."""
        if agreement not in self.additions:
            self.additions[agreement] = Table(
                "Addition", fields.ADDITION, "finance/agreements", self._addition_ids
            )
        return self.additions[agreement]

    def stamp(self) -> str:
        """This instant as ConnectWise writes it."""
        return stamp(self.now())
