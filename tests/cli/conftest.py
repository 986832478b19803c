"""A sandbox and an installation for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Sandbox, start
from tests.cli.installation import Installation, small


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(small()) as running:
        yield running


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path) -> Installation:
    """An installation that knows both vendors and has nothing mapped yet."""
    return Installation.at(sandbox, tmp_path / "home")


@pytest.fixture(scope="module")
def module_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A configured installation for tests that prove that they change nothing."""
    with start(small()) as running:
        yield Installation.at(running, tmp_path_factory.mktemp("home")).configured()
