"""Tables as files: CSV and XLSX in which nothing that a vendor wrote becomes a formula."""

from __future__ import annotations

import csv
import datetime as dt
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, TypeVar

import sqlalchemy as sa
import xlsxwriter
from sqlalchemy.orm import Session

import models
from services.runs.run_changes import KINDS, STATES, Filters, codes_of, filtered, names_for
from services.runs.run_pages import money_of

T = TypeVar("T")
Cell = str | Decimal | int | dt.date | dt.datetime | None
Row = Sequence[Cell]

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
"""Tells Excel that a CSV file is UTF-8."""
_ROWS_AT_A_TIME = 500
_LONGEST_CELL = 32_000  # Excel's limit is 32,767
_FORMULA_STARTS = tuple("=+-@|%＝＋－＠")  # noqa: RUF001  (full-width ones work in Excel too)
_CONTROL_STARTS = ("\t", "\r", "\n")

CHANGE_COLUMNS = (
    "Change",
    "Customer",
    "Company",
    "Agreement",
    "Agreement id",
    "Addition id",
    "ConnectWise product",
    "Sophos products",
    "What",
    "Before",
    "After",
    "Difference",
    "Unit price",
    "Money per billing cycle",
    "Billed from",
    "Cancelled as of",
    "State",
    "Why",
    "Held because",
    "What ConnectWise said",
    "Approved by",
    "Settled at (UTC)",
)


def change_rows(session: Session, run: models.SyncRun, filters: Filters) -> Iterator[Row]:
    """The changes of a run as rows, some at a time."""
    for part in _parts(session, filtered(run.id, filters)):
        names = names_for(session, part)
        for row in part:
            difference = None if row.after is None else row.after - (row.before or Decimal(0))
            yield (
                row.id,
                names.tenant(row.tenant_id),
                names.company(row.tenant_id),
                names.agreement(row.agreement_id) if row.agreement_id else None,
                row.agreement_id,
                row.addition_id,
                names.product(row),
                ", ".join(codes_of(row)),
                KINDS[row.kind],
                row.before,
                row.after,
                difference,
                row.unit_price,
                money_of(row),
                row.effective_date,
                row.cancelled_date,
                STATES[row.state][1],
                row.reason,
                row.held,
                row.error,
                row.approved_by,
                row.settled_at,
            )


AUDIT_COLUMNS = ("Event", "When (UTC)", "Who", "What", "Subject", "Before", "After", "Run")


def audit_rows(session: Session, query: sa.Select[models.AuditEvent]) -> Iterator[Row]:
    """Audit events as rows, some at a time."""
    for event in itertools.chain.from_iterable(_parts(session, query)):
        yield (
            event.id,
            event.at,
            event.actor,
            event.action,
            event.subject,
            _values(event.before),
            _values(event.after),
            event.run_id,
        )


def _parts(session: Session, query: sa.Select[T]) -> Iterator[Sequence[T]]:
    """Some rows at a time; closed too when nobody takes the rest, or a server keeps it ready."""
    found = session.scalars(query.execution_options(yield_per=_ROWS_AT_A_TIME))
    with closing(found):
        yield from found.partitions()


def csv_lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """A CSV file piece by piece, for Excel and for programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    buffer.write(BOM)
    writer.writerow(columns)
    for n, row in enumerate(rows):
        writer.writerow([_csv_cell(cell) for cell in row])
        if n % _ROWS_AT_A_TIME == 0:
            yield _emptied(buffer)
    yield _emptied(buffer)


def write_xlsx(
    target: Path | BinaryIO, sheet_name: str, columns: Sequence[str], rows: Iterable[Row]
) -> None:
    """A workbook with one sheet; rows go to disk one by one, so it may be long."""
    book = xlsxwriter.Workbook(
        target,
        {
            "constant_memory": True,
            "strings_to_formulas": False,
            "strings_to_urls": False,
            "strings_to_numbers": False,
        },
    )
    with book:
        sheet = book.add_worksheet(sheet_name)
        head = book.add_format({"bold": True, "bottom": 1})
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(columns) - 1, 18)
        sheet.write_row(0, 0, columns, head)
        last = 0
        for last, row in enumerate(rows, 1):
            for column, cell in enumerate(row):
                if isinstance(cell, dt.datetime):
                    naive = cell.astimezone(dt.UTC).replace(tzinfo=None)
                    sheet.write_datetime(last, column, naive, instant)
                elif isinstance(cell, dt.date):
                    sheet.write_datetime(last, column, cell, day)
                elif isinstance(cell, int | Decimal):
                    sheet.write_number(last, column, cell)
                elif cell is not None:
                    sheet.write_string(last, column, cell[:_LONGEST_CELL])
        sheet.autofilter(0, 0, last, len(columns) - 1)


def _csv_cell(cell: Cell) -> str:
    """Numbers as numbers; text that a spreadsheet would calculate gets an apostrophe in front."""
    if cell is None:
        return ""
    if isinstance(cell, Decimal):
        return format(cell, "f")
    if isinstance(cell, dt.datetime):
        return cell.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
    if not isinstance(cell, str):
        return str(cell)
    dangerous = cell.startswith(_CONTROL_STARTS) or cell.lstrip().startswith(_FORMULA_STARTS)
    return f"'{cell}" if dangerous else cell


def _values(values: dict[str, object] | None) -> str | None:
    if values is None:
        return None
    return "; ".join(f"{name}: {value}" for name, value in values.items())


def _emptied(buffer: io.StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
