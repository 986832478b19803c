"""The two moments from which the tests of faults begin, made once for each test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import (
    Installation,
    Prepared,
    adopt_all,
    change_the_world,
    fresh,
    keep,
)


@pytest.fixture(scope="session")
def moments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    first, second, third = (tmp_path_factory.mktemp(name) for name in ("new", "owned", "changed"))
    with fresh(first) as one:
        new = keep(one, first)
        adopt_all(one)
        owned = keep(one, second)
        change_the_world(one)
        return {"new": new, "owned": owned, "changed": keep(one, third)}


@pytest.fixture
def changed(moments: dict[str, Prepared], tmp_path: Path) -> Iterator[Installation]:
    """A good run behind us, and much to do for the next one."""
    with moments["changed"].copy(tmp_path) as one:
        yield one


@pytest.fixture
def owned(moments: dict[str, Prepared], tmp_path: Path) -> Iterator[Installation]:
    """A good run behind us, and nothing to do."""
    with moments["owned"].copy(tmp_path) as one:
        yield one


@pytest.fixture
def new(moments: dict[str, Prepared], tmp_path: Path) -> Iterator[Installation]:
    """Mappings imported, nothing run yet."""
    with moments["new"].copy(tmp_path) as one:
        yield one
