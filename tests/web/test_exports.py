"""CSV and XLSX: numbers are numbers, and nothing that a vendor wrote is calculated."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from decimal import Decimal

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from services.runs.exports import BOM, CHANGE_COLUMNS, Row, csv_lines, write_xlsx
from tests.web.client import Client
from tests.web.world import installation_of

DANGEROUS = [
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\t=1",
    "\r=1",
    "\n=1",
    "  =1",
    "|x",
    "%0A",
    "\N{FULLWIDTH EQUALS SIGN}1",
]
HARMLESS = ["Acme", "'quoted'", "a=b", "", 'say "no"', "🦊, two"]


def _csv(client: Client, path: str) -> list[dict[str, str]]:
    response = client.get(path)
    assert response.status_code == 200
    assert response.mimetype == "text/csv"
    assert response.data.startswith(b"\xef\xbb\xbf")
    assert "attachment" in response.headers["Content-Disposition"]
    return list(csv.DictReader(io.StringIO(response.text.removeprefix(BOM))))


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_dangerous_cell_is_text(text: str) -> None:
    (row,) = list(csv.reader(io.StringIO("".join(csv_lines(["A"], [[text]])), newline="")))[1:]
    assert row == [f"'{text}"]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_harmless_cell_stays_as_it_is(text: str) -> None:
    lines = "".join(csv_lines(["A", "B"], [[text, Decimal("-2.50")]]))
    assert list(csv.reader(io.StringIO(lines)))[1] == [text, "-2.50"]


def test_a_workbook_has_no_formula_and_no_link() -> None:
    file = io.BytesIO()
    rows: list[Row] = [
        [text, Decimal("-2.5"), 7] for text in [*DANGEROUS, "http://x", "\x00\x1f", "x" * 40_000]
    ]
    write_xlsx(file, "Tallybridge", ["A", "B", "C"], rows)
    sheet = zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet
    assert sheet.count("<v>-2.5</v>") == len(rows)


def test_the_changes_of_a_run(app: Flask, viewer: Client) -> None:
    rows = _csv(viewer, "/runs/1/changes.csv")
    with installation_of(app).reading() as session:
        changes = {str(c.id): c for c in session.scalars(sa.select(models.Change))}
        assert {row["Change"] for row in rows} == set(changes)
    for row in rows:
        found = changes[row["Change"]]
        assert Decimal(row["After"]) == found.after
        assert row["State"] == found.state.value
        assert row["Why"] == found.reason
    assert "'+1+1" in {row["Customer"] for row in rows}
    held = _csv(viewer, "/runs/1/changes.csv?state=held")
    assert {row["State"] for row in held} == {"held"}


def test_the_changes_as_a_workbook(viewer: Client) -> None:
    response = viewer.get("/runs/1/changes.xlsx")
    book = zipfile.ZipFile(io.BytesIO(response.data))
    sheet = book.read("xl/worksheets/sheet1.xml").decode()
    assert len(re.findall("<row ", sheet)) == 1 + len(_csv(viewer, "/runs/1/changes.csv"))
    assert "<f>" not in sheet
    assert "run-1-changes.xlsx" in response.headers["Content-Disposition"]
    assert f"A1:{chr(64 + len(CHANGE_COLUMNS))}" in sheet


def test_the_audit_as_files(viewer: Client) -> None:
    rows = _csv(viewer, "/audit.csv?action=sync.create")
    assert {row["What"] for row in rows} == {"sync.create"}
    assert len(rows) == 93
    assert viewer.get("/audit.xlsx").data.startswith(b"PK")
    assert len(_csv(viewer, "/audit.csv?actor=nobody")) == 0
