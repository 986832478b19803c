"""Large files that a browser sends: on the data volume at once, never whole in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, cast

from flask import Request


class SpoolingRequest(Request):
    """A request whose files are written to `spool`, where a view has asked for that."""

    spool: Path | None = None

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.spool is None:
            return super()._get_file_stream(
                total_content_length, content_type, filename, content_length
            )
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=self.spool))
