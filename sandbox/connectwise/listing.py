"""Lists: filter, order, page, trim."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from sandbox.connectwise.conditions import Test, getter, kind_of, parse
from sandbox.connectwise.errors import bad_request
from sandbox.connectwise.tables import Record, Table
from sandbox.wire import Answer, Request, json_answer

DEFAULT_PAGE_SIZE = 25
MAX_PAGE_SIZE = 1000
# Texts that may speak of `_info`, which is kept beside the records.
NEEDS_INFO = re.compile("_info|lastUpdated|updatedBy")
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")


def list_answer(request: Request, table: Table, own_url: str) -> Answer:
    """One page of a table, as asked."""
    query = request.query()
    size = min(_number(query, "pageSize", DEFAULT_PAGE_SIZE), MAX_PAGE_SIZE)
    if request.header("pagination-type").lower() == "forward-only":
        return _forward_page(request, table, size, own_url)
    rows = _ordered(_matching(table, query), table, query.get("orderBy", ""))
    page = _number(query, "page", 1)
    last = max(1, -(-len(rows) // size))
    part = rows[(page - 1) * size : page * size]
    links = {"first": 1, "prev": page - 1, "next": page + 1, "last": last}
    if page <= 1:
        del links["prev"], links["first"]
    if page >= last:
        del links["next"], links["last"]
    base = own_url + request.path
    header = ", ".join(
        f'<{base}?{urlencode({**query, "pageSize": size, "page": number})}>; rel="{name}"'
        for name, number in links.items()
    )
    return json_answer(200, trimmed(part, table, query), {"Link": header} if header else None)


def count_answer(request: Request, table: Table) -> Answer:
    """The number of records that fit."""
    return json_answer(200, {"count": len(_matching(table, request.query()))})


def trimmed(rows: list[Record], table: Table, query: dict[str, str]) -> list[Record]:
    """The records with the fields asked for; `_info` only when it is among them."""
    names = [name.strip() for name in query.get("fields", "").split(",") if name.strip()]
    if not names:
        return rows
    return [_trim(row, table, names) for row in rows]


def _trim(row: Record, table: Table, names: list[str]) -> Record:
    found: Record = {}
    for name in names:
        first, _, rest = name.partition("/")
        value = table.info[row["id"]] if first == "_info" else row.get(first)
        if value is None:
            continue
        if not rest:
            found[first] = value
        elif isinstance(value, dict) and rest in value:
            found.setdefault(first, {})[rest] = value[rest]
    return found


def _forward_page(request: Request, table: Table, size: int, own_url: str) -> Answer:
    """The records after an id, in the order of their ids."""
    query = request.query()
    if query.get("orderBy"):
        raise bad_request("orderBy cannot be used with forward-only pagination")
    last_seen = _number(query, "pageId", 0, least=0)
    rows = _matching(table, query)
    start = bisect_right(rows, last_seen, key=lambda row: int(row["id"]))
    part = rows[start : start + size]
    headers = None
    if start + size < len(rows):
        following = {**query, "pageSize": size, "pageId": part[-1]["id"]}
        following.pop("page", None)
        headers = {"Link": f'<{own_url}{request.path}?{urlencode(following)}>; rel="next"'}
    return json_answer(200, trimmed(part, table, query), headers)


def _number(query: dict[str, str], name: str, default: int, least: int = 1) -> int:
    text = query.get(name) or str(default)
    if not WHOLE_NUMBER.fullmatch(text) or int(text) < least:
        raise bad_request(f"{name} must be a whole number of {least} or more")
    return int(text)


def _matching(table: Table, query: dict[str, str]) -> list[Record]:
    """All records that pass both kinds of conditions, in the order of their ids."""
    rows = list(table.rows.values())
    for name in ("conditions", "childConditions"):
        text = query.get(name, "").strip()
        if text:
            test = parse(text, table.fields, lists=name == "childConditions")
            rows = _passing(rows, table, test, needs_info=bool(NEEDS_INFO.search(text)))
    return rows


def _passing(rows: list[Record], table: Table, test: Test, *, needs_info: bool) -> list[Record]:
    if not needs_info:
        return [row for row in rows if test(row)]
    return [row for row in rows if test({**row, "_info": table.info[row["id"]]})]


def _ordered(rows: list[Record], table: Table, order: str) -> list[Record]:
    """The records in the order asked for; by id where nothing else decides."""
    for part in reversed([part.strip() for part in order.split(",") if part.strip()]):
        path, _, direction = part.partition(" ")
        direction = direction.strip().lower() or "asc"
        kind = kind_of(path, table.fields)
        if kind in (None, "reference", "list") or direction not in ("asc", "desc"):
            raise bad_request(f"orderBy is invalid: '{part}'")
        rows = sorted(rows, key=_sort_key(table, path), reverse=direction == "desc")
    return rows


def _sort_key(table: Table, path: str) -> Callable[[Record], tuple[bool, Any]]:
    """What a record is ordered by: absent values first, texts without regard to case."""
    read, needs_info = getter(path), NEEDS_INFO.search(path)

    def key(row: Record) -> tuple[bool, Any]:
        value = read({"_info": table.info[row["id"]]} if needs_info else row)
        return value is not None, value.casefold() if isinstance(value, str) else value or 0

    return key
