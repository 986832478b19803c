from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from pydantic import TypeAdapter, ValidationError

from services.clients.payload import RecordId, decode_json, parse_day, parse_money, parse_number


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{", b'{"a": NaN}', b"[Infinity]", b"\xff\xfe\xff", b"[" * 100_000],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason is good
        decode_json(body)


def test_numbers_are_exact() -> None:
    assert decode_json(b'[0.1, 3, "0.1"]') == [Decimal("0.1"), 3, "0.1"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-01-31", dt.date(2026, 1, 31)),
        ("2026-01-31T00:00:00Z", dt.date(2026, 1, 31)),
        (" 2026-01-31T05:06:07.123+02:00 ", dt.date(2026, 1, 31)),
        ("2021-04-31", None),
        ("31.01.2026", None),
        ("01/02/2026", None),
        ("20260131", None),
        ("2026-01-31T", None),
        ("", None),
        (None, None),
        (20260131, None),
    ],
)
def test_days(text: object, day: dt.date | None) -> None:
    assert parse_day(text) == day


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("12.50", Decimal("12.50")),
        (" -3 ", Decimal(-3)),
        (Decimal("1.5"), Decimal("1.5")),
        (7, Decimal(7)),
        ("1,234.50", None),
        ("12.50 EUR", None),
        ("NaN", None),
        ("1e9", None),
        ("", None),
        (None, None),
        (True, None),
        ({}, None),
    ],
)
def test_amounts(value: object, amount: Decimal | None) -> None:
    assert parse_money(value) == amount


@pytest.mark.parametrize(
    "value",
    [True, "5", None, [5], 10**12, -(10**12), Decimal("1e400"), Decimal("1e-400"), Decimal("NaN")],
)
def test_what_is_not_a_sensible_number_is_refused(value: object) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        parse_number(value)


def test_a_zero_with_a_huge_exponent_is_just_zero() -> None:
    assert str(parse_number(Decimal("0e999999"))) == "0"


def test_a_record_id_fits_into_every_database() -> None:
    ids: TypeAdapter[int] = TypeAdapter(RecordId)
    assert ids.validate_python(2**31 - 1) == 2**31 - 1
    for value in (2**31, 2**63, 0, -1, True, "7", 7.0):
        with pytest.raises(ValidationError):
            ids.validate_python(value)
