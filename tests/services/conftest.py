"""A sandbox and a context for each test."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from sandbox import Sandbox, start
from services.context import SyncContext
from tests.services.workshop import context_for, options, take_over


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as opened:
        yield opened


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(options()) as running:
        yield running


@pytest.fixture
def work(engine: Engine, sandbox: Sandbox, now: dt.datetime, tmp_path: Path) -> SyncContext:
    """Everything of the sample is mapped."""
    made = context_for(engine, sandbox, now)
    take_over(made, yaml.safe_load(sandbox.sample_config()), tmp_path / "sample.yaml")
    return made
