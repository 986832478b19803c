"""The way through an identity provider and back, step by step, for tests that spoil one of them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from tests import identity_provider
from tests.identity_provider import CLIENT_SECRET, FakeProvider
from tests.web.client import Client, page_of
from tests.web.conftest import Make
from tests.web.world import NOW, installation_of

START, ANSWER = "/sign-in/provider", "/sign-in/provider/answer"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with identity_provider.start(lambda: NOW) as running:
        yield running


@pytest.fixture
def app(make: Make, provider: FakeProvider) -> Iterator[Flask]:
    """An app that knows the provider. Nothing secret may be in its log afterwards."""
    made = make(full=False, vendors=False, **provider.env())
    provider.now = installation_of(made).now
    yield made
    log = installation_of(made).config.data_dir / "tallybridge.log"
    logged = log.read_text(encoding="utf-8") if log.exists() else ""
    assert not [secret for secret in [CLIENT_SECRET, *provider.made] if secret in logged]


def browser(app: Flask) -> Client:
    """Another browser."""
    client = app.test_client()
    assert isinstance(client, Client)
    return client


def begin(client: Client, after: str = "") -> str:
    """The address at the provider that the browser is sent to."""
    answer = client.get(START, query_string={"next": after} if after else {})
    assert answer.status_code == 302, answer.text
    return answer.location


def at_provider(address: str) -> str:
    """What the browser is to ask us, after the person signed in there: path and query."""
    answer = requests.get(address, allow_redirects=False, timeout=10)
    assert answer.status_code == 302, answer.text
    back = urlsplit(answer.headers["Location"])
    return f"{back.path}?{back.query}"


def walk(client: Client, after: str = "") -> TestResponse:
    """The whole way; the answer to the browser that comes back."""
    return client.get(at_provider(begin(client, after)))


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def signed_in(client: Client) -> bool:
    return client.get("/settings").status_code == 200


def refused(client: Client, answer: TestResponse, status: int) -> str:
    """Nobody was signed in, and the page says so; returns its text."""
    text = page_of(answer).text
    assert answer.status_code == status, f"{answer.status}: {text}"
    assert "not signed in" in text
    assert not signed_in(client)
    return text
