"""What all tables share: exact decimals, instants in UTC, named constraints."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, registry


class ExactDecimal(sa.types.TypeDecorator[Decimal]):
    """A decimal with six places, kept as an integer so that SQLite stays exact and can add.

    More places are refused: a quantity that was rounded in silence would be billed.
    """

    impl = sa.BigInteger
    cache_ok = True
    _SCALE = Decimal(1_000_000)

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:
        if value is None:
            return None
        whole = int((value * self._SCALE).to_integral_value())
        if Decimal(whole).scaleb(-6) != value:
            raise ValueError(f"{value} has more than six decimal places, so it cannot be kept")
        return whole

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(int(value)) / self._SCALE


class RoundedPrice(ExactDecimal):
    """A price to six places. Vendors send more; it is shown and compared, and never billed."""

    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:
        rounded = None if value is None else round(value, 6)
        return super().process_bind_param(rounded, dialect)


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An instant. Stored in UTC without a zone, always read back with one."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:  # the machine's own zone would be assumed
            raise ValueError("an instant without a time zone cannot be kept")
        return value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """The base of all tables: named constraints, so that migrations can change them."""

    registry = registry(
        metadata=sa.MetaData(
            naming_convention={
                "ix": "ix_%(column_0_label)s",
                "uq": "uq_%(table_name)s_%(column_0_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            Decimal: ExactDecimal(),
            dt.datetime: UtcDateTime(),
            dict[str, Any]: sa.JSON(),
            list[Any]: sa.JSON(),
        },
    )


db = SQLAlchemy(model_class=Base)


def enum_column(enum: type[StrEnum]) -> sa.Enum:
    """Enums by value, as plain text: a new member needs no migration."""
    return sa.Enum(
        enum,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [m.value for m in members],
    )
