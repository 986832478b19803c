"""Reading what vendors send: JSON with exact numbers, and values that cannot surprise."""

from __future__ import annotations

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Annotated, NoReturn, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from services.clients.errors import UnexpectedResponse

_LARGEST = Decimal(10) ** 12
_LARGEST_ID = 2**31 - 1
"""Record ids are int32 by ConnectWise's specification, and so are our columns."""
_DATE = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII
)
_MONEY = re.compile(r"-?\d{1,12}(\.\d{1,12})?", re.ASCII)


def decode_json(body: bytes) -> object:
    """JSON with decimal numbers as Decimal; raises ValueError for anything that is not JSON."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_html(body: bytes, content_type: str) -> bool:
    """Whether an answer is a web page: of a proxy, of a login, of the wrong host."""
    return "html" in content_type.lower() or body.lstrip()[:1] == b"<"


def parse_day(text: object) -> dt.date | None:
    """The calendar day of `2026-01-31` or `2026-01-31T00:00:00Z`; None when it is not one."""
    match = _DATE.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        return dt.date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


def parse_money(value: object) -> Decimal | None:
    """An amount given as a number or as a decimal string; None when it is neither."""
    if isinstance(value, str):
        text = value.strip()
        return Decimal(text) if _MONEY.fullmatch(text) else None
    try:
        return parse_number(value)
    except ValueError:
        return None


def parse_number(value: object) -> Decimal:
    """A JSON number as Decimal. Raises ValueError for text, truth values and absurd sizes."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic reports ValueError only
    if not -_LARGEST < value < _LARGEST:
        raise ValueError("far too large")
    number = Decimal(value) if value else Decimal(0)
    # 1e-999999999 is a number too (and 0e999999999), and a trap for whoever writes it in full.
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -20:
        raise ValueError("has too many decimal places")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _id(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _LARGEST_ID:
        raise ValueError("not a record id")
    return value


def _text(value: object) -> str | None:
    """Text without surrounding blanks; numbers are written out; empty is None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not a text")  # noqa: TRY004 - pydantic reports ValueError only
    return str(value).strip() or None


RecordId = Annotated[int, BeforeValidator(_id)]
Number = Annotated[Decimal, BeforeValidator(parse_number)]
Money = Annotated[Decimal | None, BeforeValidator(parse_money)]
LenientDay = Annotated[dt.date | None, BeforeValidator(parse_day)]
Text = Annotated[str | None, BeforeValidator(_text)]


class Wire(BaseModel):
    """The shape of something a vendor sends: unknown fields are ignored, errors quote no values."""

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


W = TypeVar("W", bound=Wire)


def read_as(model: type[W], raw: object, *, vendor: str, what: str) -> W:
    """`raw` as `model`. `what` names it for the person; raises UnexpectedResponse."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        reason = f"{where}: {first['msg']}"
    raise UnexpectedResponse(
        f"{vendor} sent {what} in a shape that cannot be trusted ({reason}). "
        "Try again; report it if it stays.",
        vendor=vendor,
    )
