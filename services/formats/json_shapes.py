"""The documents of the JSON API as types: what is taken, what is given, and their description.

The OpenAPI document is made from these, so it says what is checked. What is given out is built in
services/formats/json_documents.py; tests hold every answer against these shapes.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models import RunState
from services.formats.config_file import ProductEntry, TenantEntry
from services.sync.model import ChangeKind, FindingKind

RowId = Annotated[int, Field(ge=1, le=2**31 - 1)]
MonthText = Annotated[
    str,
    Field(
        pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$",
        description="A billing month, YYYY-MM.",
        examples=["2026-10"],
    ),
]
Instant = Annotated[dt.datetime, Field(description="An instant in UTC.")]


class _Taken(BaseModel):
    """What callers send. Unknown names are refused, and so is a text where a number belongs."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Given(BaseModel):
    """What callers get: exactly these names, all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- taken --------------------------------------------------------------------------------------


class PageQuery(_Taken):
    """Which part of a list."""

    page: Annotated[int, Field(ge=1, le=1_000_000, description="Counted from 1.")] = 1
    size: Annotated[int, Field(ge=1, le=200, description="How many a page.")] = 25


class PlansQuery(PageQuery):
    """Which plans, and which part of the list."""

    month: Annotated[MonthText | None, Field(description="Only those of this month.")] = None


class RunsQuery(PlansQuery):
    """Which runs, and which part of the list."""

    state: Annotated[RunState | None, Field(description="Only runs in this state.")] = None


class ImportQuery(_Taken):
    """Whether anything is kept."""

    dry_run: Annotated[
        bool, Field(description="`true` or `1`: only say what would change; nothing is kept.")
    ] = False


class StartRun(_Taken):
    """A plan, which writes to neither vendor, or a run, which writes what is not held."""

    kind: Literal["plan", "run"]
    month: Annotated[
        MonthText | None, Field(description="Default: the newest month that Sophos has reported.")
    ] = None


def _only_first(schema: dict[str, Any]) -> None:
    """Null stands for "not given" here and cannot be sent."""
    first = schema.pop("anyOf")[0]
    schema.pop("default", None)
    schema.update(first)


def _true(value: object) -> object:
    if value is not True:
        text = "write true, or leave it out"
        raise ValueError(text)
    return value


class Approval(_Taken):
    """Which held changes are released and applied, as they were reviewed: some, or all.

    Of a plan, `changes` may name planned ones too, and `all` means the whole plan.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["changes"]}, {"required": ["all"]}]}
    )

    changes: Annotated[list[RowId], Field(min_length=1, max_length=10_000)] | None = Field(
        None, json_schema_extra=_only_first
    )
    all: Annotated[Literal[True], BeforeValidator(_true)] | None = Field(
        None, json_schema_extra=_only_first
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Approval:
        if (self.changes is None) == (self.all is None) or len(self.model_fields_set) != 1:
            raise ValueError("write either changes, with their ids, or all: true")
        return self


class Mappings(_Taken):
    """Product and customer mappings, in the shape of the configuration file.

    What is not mentioned stays as it is, and so does every field that an entry leaves out; null
    clears it.
    """

    products: Annotated[list[ProductEntry], Field(max_length=10_000)] = []
    tenants: Annotated[list[TenantEntry], Field(max_length=10_000)] = []


# --- given --------------------------------------------------------------------------------------


class Problem(_Given):
    """What went wrong (RFC 9457): what happened, what was not changed, what to do."""

    type: Literal["about:blank"]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str


class Fault(_Given):
    """One thing that is wrong with what was sent, and where: a JSON pointer, or a parameter."""

    pointer: Annotated[str, Field(pattern=r"^#(/|$)")] | None
    parameter: str | None
    detail: str


class InvalidProblem(Problem):
    """A problem with everything that is wrong in what was sent."""

    errors: list[Fault]


class Calls(_Given):
    """How many requests a run made to each vendor."""

    sophos: int
    connectwise: int


class UsageLine(_Given):
    """One line of Sophos' report."""

    order: str | None
    serial: str | None
    name: str | None
    quantity: Annotated[str, Field(description="An exact decimal number.")]


class Usage(_Given):
    """The usage of one Sophos product at one customer, down to Sophos' lines."""

    tenant_id: str
    product_key: str
    quantity: Annotated[str, Field(description="An exact decimal number.")]
    lines: list[UsageLine]


class Change(_Given):
    """One planned change, and what came of it."""

    id: int
    kind: ChangeKind
    tenant_id: str | None
    agreement_id: int | None
    addition_id: int | None
    catalog_item_id: int | None
    product: str | None
    before: int | float | None
    after: int | float | None
    effective_date: dt.date | None
    cancelled_date: dt.date | None
    held: bool
    reason: str
    state: Literal["planned", "applied", "held", "skipped", "failed"]
    error: str | None
    explanation: list[Usage]


class Finding(_Given):
    """Something that a person must look at."""

    kind: FindingKind
    subject: str
    message: str
    advice: str


class Run(_Given):
    """A run or plan: the document that the command line prints with `--json`."""

    run: int
    month: MonthText | None
    state: RunState
    message: str | None
    changes: list[Change]
    findings: list[Finding]
    calls: Calls


class ChangeCounts(_Given):
    """How many changes of a run are in each state."""

    planned: int
    held: int
    applied: int
    skipped: int
    failed: int


class RunLine(_Given):
    """A run in a list."""

    run: int
    month: MonthText | None
    state: RunState
    message: str | None
    trigger: str
    actor: str
    undo_of: Annotated[int | None, Field(description="The run that this one takes back.")]
    started_at: Instant
    ended_at: Instant | None
    changes: ChangeCounts
    findings: int


class _List(_Given):
    page: int
    size: int
    pages: Annotated[int, Field(ge=1, description="How many pages there are.")]
    total: int


class RunList(_List):
    """Some of the runs, the newest first."""

    items: list[RunLine]


class OpenFinding(_Given):
    """One open thing, by the words of the page Findings."""

    kind: Annotated[
        str, Field(description="A kind of finding, or `held_change` or `failed_change`.")
    ]
    severe: bool
    subject: str
    message: str
    advice: str
    tenant_id: str | None
    product: str | None
    change_id: int | None
    run: int | None
    serial: str | None
    count: int
    settled: Annotated[
        str | None, Field(description="What was done about it; the next run takes it over.")
    ]


class OpenFindings(_Given):
    """Everything that a person must look at, and the run that it is of."""

    run: int | None
    open: int
    findings: list[OpenFinding]


class ProductMapping(_Given):
    """A Sophos product, and where it goes in ConnectWise."""

    code: str
    name: str
    group: str | None
    catalog_item: Annotated[str | None, Field(description="Its identifier in ConnectWise.")]
    catalog_item_id: int | None
    sync: bool
    last_month: MonthText


class ProductList(_List):
    """Some of the Sophos products, by code."""

    items: list[ProductMapping]


class TenantMapping(_Given):
    """A customer, and the company and agreement that it is billed on."""

    id: str
    name: str
    company: Annotated[str | None, Field(description="Its identifier in ConnectWise.")]
    company_id: int | None
    agreement: int | None
    agreement_name: str | None
    agreements: Annotated[
        dict[str, int], Field(description="Single Sophos products on another agreement, by code.")
    ]
    sync: bool


class TenantList(_List):
    """Some of the customers, by name."""

    items: list[TenantMapping]


class ImportResult(_Given):
    """What an import changed, or would change: a sentence for each."""

    dry_run: bool
    changes: list[str]


class Connection(_Given):
    """One vendor as known from the last runs; nobody is called to answer this."""

    vendor: Literal["Sophos", "ConnectWise"]
    configured: bool
    healthy: bool
    good_at: Instant | None
    problem: str | None


class Status(_Given):
    """Is it healthy, at a glance."""

    read_only: bool
    schedule: Annotated[str, Field(description="When runs start, in words.")]
    timezone: str
    connections: list[Connection]
    running: Annotated[int | None, Field(description="The run that is under way.")]
    last_run: RunLine | None
    open_findings: int
