"""Misbehaviour on demand."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import Literal, get_args

from sandbox.wire import Request

FaultKind = Literal[
    "timeout", "disconnect", "reset_mid_body", "error_500", "error_500_timeout",
    "error_502_html", "error_503", "rate_limited", "unauthorized", "forbidden", "not_found",
    "html_200", "bad_json", "wrong_shape", "redirect", "empty_list", "short_list",
    "repeated_key", "repeated_page", "lagging_list", "false_200", "slow",
]  # fmt: skip
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
Vendor = Literal["sophos", "connectwise"]
VENDORS: tuple[Vendor, ...] = get_args(Vendor)
DEFAULT_SECONDS: dict[FaultKind, float] = {
    "timeout": 120, "slow": 1, "rate_limited": 1, "lagging_list": 5,
}  # fmt: skip


def _check_pattern(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"path is no regular expression: {error}") from error


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and at which of the matching requests from now on.

    `before`: the request has no effect; `after`: it has, then the answer is spoiled.
    `path` is a regular expression searched in the path and in the path with its query.
    `times` None means for ever.
    """

    kind: FaultKind
    vendor: Vendor
    at: int = 1
    times: int | None = 1
    when: Literal["before", "after"] = "before"
    method: str | None = None
    path: str | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.vendor not in VENDORS or self.when not in ("before", "after"):
            raise ValueError("vendor is sophos or connectwise, when is before or after")
        if self.at < 1 or (self.times is not None and self.times < 1):
            raise ValueError("at and times are 1 or more")
        if self.path is not None:
            _check_pattern(self.path)

    @property
    def wait(self) -> float:
        """The seconds that this fault takes or speaks of."""
        return DEFAULT_SECONDS.get(self.kind, 0) if self.seconds is None else self.seconds

    def matches(self, vendor: str, request: Request) -> bool:
        """Whether a request is one of those that count."""
        return (
            vendor == self.vendor
            and self.method in (None, request.method)
            and (
                self.path is None
                or re.search(self.path, request.path) is not None
                or re.search(self.path, request.target) is not None
            )
        )


class Faults:
    """The faults that wait for their request; each counts its matching requests itself."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, list[int]]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Count matching requests from now on, and misbehave at the given one."""
        with self._lock:
            self._waiting.append((fault, [0]))

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._waiting.clear()

    def pending(self) -> list[Fault]:
        """The faults that have not happened (often enough) yet."""
        with self._lock:
            return [fault for fault, seen in self._waiting if not _over(fault, seen[0])]

    def due(self, vendor: str, request: Request) -> Fault | None:
        """The fault for this request, the first added first; counts the request."""
        with self._lock:
            found: Fault | None = None
            for fault, seen in self._waiting:
                if not fault.matches(vendor, request):
                    continue
                seen[0] += 1
                if found is None and seen[0] >= fault.at and not _over(fault, seen[0] - 1):
                    found = fault
            return found


def _over(fault: Fault, seen: int) -> bool:
    """Whether a fault that saw so many requests has no more to come."""
    return fault.times is not None and seen >= fault.at + fault.times - 1
