"""Every kind of fault, at every kind of call: a wrong write never, and the next run heals it.

Three runs each: one with the fault, one after it unless the first got over the fault by itself,
and one that must have nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from models import ChangeState, RunState
from sandbox import FAULT_KINDS, Fault, FaultKind
from tests.faults.harness import (
    LONGER_THAN_TIMEOUT,
    Installation,
    Prepared,
    check_requests,
)

Position = Literal["first", "lasting", "last"]
READ_TRIES = 4


@dataclass(frozen=True)
class Call:
    """One kind of request. `rows` says that it is a list, `paged` that it has several pages."""

    vendor: Literal["sophos", "connectwise"]
    method: str
    path: str
    least: int
    rows: bool = False
    paged: bool = False


CALLS = {
    "token": Call("sophos", "POST", r"/oauth2/token", 1),
    "whoami": Call("sophos", "GET", r"/whoami", 1),
    "usage": Call("sophos", "GET", r"/billing/usage/", 3, rows=True, paged=True),
    "tenants": Call("sophos", "GET", r"/partner/v1/tenants", 2, rows=True, paged=True),
    "firewalls": Call("sophos", "GET", r"/licenses/firewalls", 1, rows=True),
    "companyinfo": Call("connectwise", "GET", r"/login/companyinfo", 1),
    "agreements": Call("connectwise", "GET", r"/finance/agreements\?", 1, rows=True),
    "additions": Call("connectwise", "GET", r"/additions\?", 3, rows=True),
    "catalog": Call("connectwise", "GET", r"/procurement/catalog\?", 1, rows=True),
    "choices": Call(
        "connectwise", "GET", r"/procurement/(cat\w*ies|subcat\w*|types|unit\w*)/?\?", 2, rows=True
    ),
    "create": Call("connectwise", "POST", r"/additions$", 3),
    "change": Call("connectwise", "PATCH", r"/additions/\d+$", 3),
    "product": Call("connectwise", "POST", r"/procurement/catalog$", 1),
}
READS = [name for name, call in CALLS.items() if call.method == "GET" or name == "token"]
WRITES = ["create", "change", "product"]

OF_LISTS: tuple[FaultKind, ...] = ("empty_list", "short_list", "lagging_list")
OF_PAGES: tuple[FaultKind, ...] = ("repeated_page",)
REFUSALS: tuple[FaultKind, ...] = ("rate_limited", "unauthorized", "forbidden", "not_found")
"""A vendor that refuses has done nothing, so these come before the effect only."""
REPEATED: tuple[FaultKind, ...] = (
    "timeout", "disconnect", "reset_mid_body", "error_500_timeout", "error_502_html", "error_503",
    "rate_limited", "unauthorized",
)  # fmt: skip
"""After these a client tries again, so that they matter most when they last."""


def _fits(call: Call, kind: FaultKind) -> bool:
    if kind == "false_200":
        return call.method == "PATCH"
    if kind == "repeated_key":
        return "usage" in call.path
    if kind == "lagging_list":
        return call.rows and call.vendor == "connectwise"
    if kind in OF_LISTS:
        return call.rows
    return call.paged or kind not in OF_PAGES


def _positions(call: Call, kind: FaultKind) -> tuple[Position, ...]:
    if kind == "slow" or (call.least == 1 and kind not in REPEATED):
        return ("first",)
    return ("first", "lasting", "last") if call.least >= 3 else ("first", "lasting")


def _read_cases() -> Iterator[Any]:
    for name in READS:
        for kind in FAULT_KINDS:
            if _fits(CALLS[name], kind):
                for position in _positions(CALLS[name], kind):
                    yield pytest.param(name, kind, position, id=f"{name}-{kind}-{position}")


def _write_cases() -> Iterator[Any]:
    for name in WRITES:
        for kind in FAULT_KINDS:
            if not _fits(CALLS[name], kind):
                continue
            for when in ("before",) if kind in REFUSALS else ("before", "after"):
                for position in _positions(CALLS[name], kind):
                    where = f"{name}-{kind}-{when}-{position}"
                    yield pytest.param(name, kind, position, when, id=where)


@pytest.fixture(scope="session")
def counted(
    moments: dict[str, Prepared], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, int]:
    """How many calls of each kind a run without faults makes."""
    with moments["changed"].copy(tmp_path_factory.mktemp("counted")) as one:
        one.run()
        seen = {}
        for name, call in CALLS.items():
            watch = Fault("slow", call.vendor, method=call.method, path=call.path)
            targets = one.sandbox.log.entries(call.vendor, call.method)
            seen[name] = sum(_matches(watch, e.path, e.query) for e in targets)
            assert seen[name] >= call.least, (name, seen[name])
        return seen


def _matches(fault: Fault, path: str, query: dict[str, str]) -> bool:
    from sandbox.wire import Request

    text = "&".join(f"{name}={value}" for name, value in query.items())
    return fault.matches(fault.vendor, Request(fault.method or "", path, text, {}, b""))


def _where(position: Position, count: int) -> dict[str, int]:
    """The first call, one in the middle and all attempts to repeat it, or the last call."""
    if position == "first":
        return {"at": 1}
    return {"at": count} if position == "last" else {"at": (count + 1) // 2, "times": READ_TRIES}


def _three_runs(one: Installation) -> None:
    faulty = one.run()
    one.check_words(faulty)
    one.oracle.check_safe(one.state())

    one.sandbox.faults.clear()
    healed = faulty
    if faulty.state is not RunState.SUCCEEDED or faulty.held() or faulty.findings_to_fear():
        healed = one.finish_moves(one.run())
        one.check_words(healed)
        assert healed.state is RunState.SUCCEEDED, healed
    one.oracle.check_final(one.state())

    writes = one.sandbox.log.writes()
    check_requests(writes)
    one.check_named(writes)

    assert one.wrote(one.run) == []
    open_intents = {ChangeState.APPLYING, ChangeState.UNCLEAR}
    for run in range(faulty.id, healed.id + 2):
        assert not [c for c in one.told(run).changes if c.state in open_intents]


@pytest.mark.parametrize(("name", "kind", "position"), list(_read_cases()))
def test_reading(
    changed: Installation,
    counted: dict[str, int],
    name: str,
    kind: FaultKind,
    position: Position,
) -> None:
    call = CALLS[name]
    changed.fault(
        kind, call.vendor, method=call.method, path=call.path,
        seconds=LONGER_THAN_TIMEOUT if kind in {"timeout", "slow"} else None,
        **_where(position, counted[name]),
    )  # fmt: skip
    _three_runs(changed)


@pytest.mark.parametrize(("name", "kind", "position", "when"), list(_write_cases()))
def test_writing(
    changed: Installation,
    counted: dict[str, int],
    name: str,
    kind: FaultKind,
    position: Position,
    when: str,
) -> None:
    call = CALLS[name]
    changed.fault(
        kind, call.vendor, method=call.method, path=call.path, when=when,
        seconds=LONGER_THAN_TIMEOUT if kind in {"timeout", "slow"} else None,
        **_where(position, counted[name]),
    )  # fmt: skip
    _three_runs(changed)


def test_the_faults_are_the_ones_meant(tmp_path: Path) -> None:
    """A new kind of fault must be given a place here."""
    assert set(FAULT_KINDS) == {
        "timeout", "disconnect", "reset_mid_body", "error_500", "error_500_timeout",
        "error_502_html", "error_503", "rate_limited", "unauthorized", "forbidden", "not_found",
        "html_200", "bad_json", "wrong_shape", "redirect", "empty_list", "short_list",
        "repeated_key", "repeated_page", "lagging_list", "false_200", "slow",
    }  # fmt: skip
