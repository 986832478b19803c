"""Tables to take away."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, cast

from flask import Response
from sqlalchemy.orm import Session

from blueprints.support import installation, reading
from services.runs.exports import Row, csv_lines, write_xlsx

Rows = Callable[[Session], Iterator[Row]]

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_PIECE = 64 * 1024


def csv_download(name: str, columns: Sequence[str], rows: Rows) -> Response:
    """Streamed: a long table is never whole in memory."""
    session = installation().reading()

    def lines() -> Iterator[str]:
        with session:
            yield from csv_lines(columns, rows(session))

    response = Response(lines(), mimetype="text/csv")
    response.headers.set("Content-Disposition", "attachment", filename=f"{name}.csv")
    return response


def xlsx_download(name: str, columns: Sequence[str], rows: Rows) -> Response:
    """Written to a file on disk first, because a workbook is packed at the end."""
    file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115  (closed when it is sent)
    with reading() as session:
        write_xlsx(file, "Tallybridge", columns, rows(session))
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    response = Response(pieces(file), mimetype=XLSX)
    response.content_length = size
    response.headers.set("Content-Disposition", "attachment", filename=f"{name}.xlsx")
    return response


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """A file some at a time; closed at its end."""
    with file:
        while piece := file.read(_PIECE):
            yield piece
