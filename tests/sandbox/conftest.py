"""Started sandboxes and callers: one shared by tests that only read, a fresh one for the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import Sandbox, start
from tests.sandbox.callers import ConnectWise, Sophos, quick


@pytest.fixture(scope="module")
def shared() -> Iterator[Sandbox]:
    with start(quick()) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def sophos(shared: Sandbox) -> Iterator[Sophos]:
    caller = Sophos(shared)
    with caller.session:
        yield caller.sign_in()


@pytest.fixture(scope="module")
def connectwise(shared: Sandbox) -> Iterator[ConnectWise]:
    caller = ConnectWise(shared)
    with caller.session:
        yield caller


@pytest.fixture
def fresh() -> Iterator[Sandbox]:
    with start(quick()) as sandbox:
        yield sandbox


@pytest.fixture
def fresh_sophos(fresh: Sandbox) -> Iterator[Sophos]:
    caller = Sophos(fresh)
    with caller.session:
        yield caller.sign_in()


@pytest.fixture
def psa(fresh: Sandbox) -> Iterator[ConnectWise]:
    caller = ConnectWise(fresh)
    with caller.session:
        yield caller
