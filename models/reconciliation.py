"""Usage beside what ConnectWise bills, as it was when both were last read completely."""

from __future__ import annotations

import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Comparison(Base):
    """The newest comparison of a month; `read_at` is when the reading of ConnectWise began.

    `audited` is the last audit event before it was kept: what is written later, it has not seen.
    """

    __tablename__ = "comparisons"

    run_id: Mapped[int] = mapped_column(sa.ForeignKey("sync_runs.id"), primary_key=True)
    month: Mapped[str] = mapped_column(sa.String(7), unique=True)
    read_at: Mapped[dt.datetime]
    audited: Mapped[int]


class ComparedRow(Base):
    """One place where usage and additions meet, as a document: it is shown, never written by.

    `facts` is what every row of a list needs; `detail` explains it, down to Sophos' lines.
    """

    __tablename__ = "compared_rows"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("comparisons.run_id"), index=True)
    facts: Mapped[dict[str, Any]]
    detail: Mapped[dict[str, Any]]
