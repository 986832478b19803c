"""How many examples the laws are tried with; `HYPOTHESIS_PROFILE=deep` tries many more."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.core.counter import take

_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile(
    "ci",
    max_examples=80,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_QUIET,
)
settings.register_profile(
    "deep", max_examples=5000, deadline=None, database=None, suppress_health_check=_QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Note the number of examples with the test's report."""
    try:
        return (yield)
    finally:
        if examples := take():
            item.user_properties.append(("examples", examples))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many examples the laws were tried with."""
    reports = [r for rows in terminalreporter.stats.values() for r in rows]
    counts = [
        value
        for r in reports
        if getattr(r, "when", None) == "call"
        for name, value in r.user_properties
        if name == "examples"
    ]
    if counts:
        terminalreporter.write_line(f"laws: {len(counts)}, examples: {sum(counts)}")
