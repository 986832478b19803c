from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses

from tests.clients.doubles import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def net() -> Iterator[responses.RequestsMock]:
    """Every answer the network gives; a request without a prepared one fails to connect."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock
