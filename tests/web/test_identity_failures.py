"""An identity provider that is down, is not what it says, or sends us somewhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask

from tests.identity_provider import Answer, FakeProvider
from tests.web.client import Client
from tests.web.identity_walk import (
    START,
    app,
    at_provider,
    begin,
    browser,
    provider,
    refused,
    walk,
)

__all__ = ["app", "provider"]
DISCOVERY, TOKEN, KEYS = "/.well-known/openid-configuration", "/token", "/jwks"

BROKEN = {
    "500": Answer(500),
    "502 with a page": Answer(502, b"<h1>Bad gateway</h1>", {"Content-Type": "text/html"}),
    "503": Answer(503),
    "404": Answer(404),
    "a redirect": Answer(302, b"", {"Location": "/elsewhere"}),
    "a redirect that keeps the form": Answer(307, b"", {"Location": "/elsewhere"}),
    "a page": Answer(200, b"<h1>Sign in</h1>", {"Content-Type": "text/html"}),
    "nothing": Answer(200, b""),
    "a list": Answer(200, b"[]"),
    "too much": Answer(200, b'"' + b"x" * 1_100_000 + b'"'),
    "no text": Answer(200, b"\xff\xfe"),
    "nested without end": Answer(200, b"[" * 100_000),
}


WORDS = {
    "a redirect": "a redirect, which is not followed",
    "a redirect that keeps the form": "a redirect, which is not followed",
    "too much": "more than a megabyte",
    "a page": "did not answer as an identity provider does",
    "503": "is out of order",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("path", [DISCOVERY, TOKEN, KEYS])
def test_a_broken_provider_is_told_in_words(
    anonymous: Client, provider: FakeProvider, path: str, broken: str
) -> None:
    back = None if path == DISCOVERY else at_provider(begin(anonymous))
    provider.answers[path] = BROKEN[broken]
    text = refused(anonymous, anonymous.get(back or START), 502)
    assert WORDS.get(broken, "Acme Login") in text
    assert "/elsewhere" not in {seen for seen, _ in provider.seen}


@pytest.mark.parametrize("path", [DISCOVERY, TOKEN, KEYS])
def test_a_provider_that_takes_too_long_is_told_in_words(
    anonymous: Client, provider: FakeProvider, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = None if path == DISCOVERY else at_provider(begin(anonymous))
    monkeypatch.setattr("services.clients.identity_requests.TIMEOUT", (0.2, 0.2))
    provider.answers[path] = Answer(wait=0.6)
    assert "in time" in refused(anonymous, anonymous.get(back or START), 504)


def test_a_provider_that_is_not_there(anonymous: Client, app: Flask) -> None:
    client = app.extensions["tallybridge_identity"].client
    client.issuer = "http://127.0.0.1:9"
    assert "could not be reached" in refused(anonymous, anonymous.get(START), 502)


def test_a_provider_that_failed_is_left_alone_for_some_seconds(
    app: Flask, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider.answers[DISCOVERY] = Answer(500)
    for _ in range(5):
        assert browser(app).get(START).status_code == 502
    assert len(provider.seen) == 1
    provider.answers.clear()
    monkeypatch.setattr("services.clients.identity.FAILURE_SECONDS", 0.0)
    assert browser(app).get(START).status_code == 302


def test_what_it_publishes_is_read_once(app: Flask, provider: FakeProvider) -> None:
    for _ in range(3):
        assert walk(browser(app)).status_code == 303
    paths = [path for path, _ in provider.seen]
    assert (paths.count(DISCOVERY), paths.count(KEYS), paths.count(TOKEN)) == (1, 1, 3)


WRONG_METADATA: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "no issuer": {"issuer": None},
    "no token endpoint": {"token_endpoint": None},
    "a token endpoint without TLS": {"token_endpoint": "http://evil.example/token"},
    "a token endpoint on another port": {"token_endpoint": "http://127.0.0.1:9/token"},
    "a token endpoint in a file": {"token_endpoint": "file:///etc/passwd"},
    "a token endpoint with a name": {"token_endpoint": "https://user@evil.example/token"},
    "keys without TLS": {"jwks_uri": "http://evil.example/jwks"},
    "no page to sign in": {"authorization_endpoint": None},
    "a page that is script": {"authorization_endpoint": "javascript:alert(1)"},
    "only shared keys": {"id_token_signing_alg_values_supported": ["HS256", "none"]},
    "no PKCE with S256": {"code_challenge_methods_supported": ["plain"]},
}


@pytest.mark.parametrize("wrong", WRONG_METADATA)
def test_a_provider_that_is_not_what_was_configured_is_refused(
    anonymous: Client, provider: FakeProvider, wrong: str
) -> None:
    provider.metadata = WRONG_METADATA[wrong]
    text = refused(anonymous, anonymous.get(START), 502)
    assert "TALLYBRIDGE_OIDC_ISSUER" in text
    assert [path for path, _ in provider.seen] == [DISCOVERY]


@pytest.mark.parametrize(
    "address", ["https://localhost:9/token", "https://10.0.0.9/token", "https://169.254.169.254/"]
)
def test_the_client_secret_goes_to_no_private_address_but_the_issuer_s(
    anonymous: Client, provider: FakeProvider, address: str
) -> None:
    provider.metadata = {"token_endpoint": address}
    assert "is not a public one" in refused(anonymous, walk(anonymous), 502)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("invalid_client", 502, "client id or client secret is wrong"),
        ("unauthorized_client", 502, "client id or client secret is wrong"),
        ("invalid_grant", 400, "does not accept this answer"),
        ("server_error", 400, "does not accept this answer"),
        ("<b>odd</b>", 400, "does not accept this answer"),
    ],
)
def test_a_refusal_of_the_provider_is_told_in_words(
    anonymous: Client, provider: FakeProvider, error: str, status: int, words: str
) -> None:
    provider.token_error = {"error": error, "error_description": "CANARY said so"}
    text = refused(anonymous, walk(anonymous), status)
    assert words in text
    assert "CANARY" not in text


def test_a_wrong_client_secret_is_told_in_words(anonymous: Client, provider: FakeProvider) -> None:
    provider.authentication = ["client_secret_post", "client_secret_basic"]
    assert "client secret is wrong" in refused(anonymous, walk(anonymous), 502)


@pytest.mark.parametrize("answer", [{}, {"access_token": "a"}, {"id_token": 7}, {"id_token": None}])
def test_an_answer_without_an_identity_is_refused(
    anonymous: Client, provider: FakeProvider, answer: dict[str, Any]
) -> None:
    provider.answers[TOKEN] = Answer(200, json.dumps(answer).encode())
    refused(anonymous, walk(anonymous), 502)
