"""Callers that speak to the sandbox as real clients must: the right headers, nothing more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import requests

from sandbox import Options, Sandbox, start

ACCEPT = "application/vnd.connectwise.com+json; version=2026.4"
BASE = "/v2026_4/apis/3.0"
TOKEN_PATH = "/api/v2/oauth2/token"
NO_LIMITS: dict[str, Any] = {"sophos_limits": (), "connectwise_rate_per_minute": 100_000}


def quick(**changes: Any) -> Options:
    """Options for tests: a fixed day before the report of its month, and no rate limits."""
    return Options(**{"today": date(2026, 11, 22), **NO_LIMITS, **changes})


class Caller:
    """Sends requests to one vendor and keeps the connection open."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False

    def send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        arguments = {"timeout": 10, "allow_redirects": False, **arguments}
        return self.session.request(method, self.url + path, **arguments)

    def get(self, path: str, **params: Any) -> requests.Response:
        return self.send("GET", path, params=params)

    def post(self, path: str, body: Any) -> requests.Response:
        return self.send("POST", path, json=body)

    def patch(self, path: str, *operations: Any) -> requests.Response:
        return self.send("PATCH", path, json=list(operations))


class Sophos(Caller):
    """A partner's credentials, signed in."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox.sophos_url)
        self.sandbox = sandbox
        self.form = {
            "grant_type": "client_credentials",
            "client_id": sandbox.env()["TALLYBRIDGE_SOPHOS_CLIENT_ID"],
            "client_secret": sandbox.env()["TALLYBRIDGE_SOPHOS_CLIENT_SECRET"],
            "scope": "token",
        }

    def token(self, **changes: str) -> requests.Response:
        return self.send("POST", TOKEN_PATH, data={**self.form, **changes})

    def sign_in(self) -> Sophos:
        token = self.token().json()["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"
        self.session.headers["X-Partner-ID"] = self.get("/whoami/v1").json()["id"]
        return self

    def usage(self, month: str = "2026/10", **params: Any) -> requests.Response:
        return self.get(f"/partner/v1/billing/usage/{month}", **params)


class ConnectWise(Caller):
    """An API member below the API's base."""

    def __init__(self, sandbox: Sandbox, base: str = BASE) -> None:
        super().__init__(sandbox.connectwise_url + base)
        env = sandbox.env()
        prefix = "TALLYBRIDGE_CONNECTWISE"
        self.session.auth = (
            f"{env[f'{prefix}_COMPANY_ID']}+{env[f'{prefix}_PUBLIC_KEY']}",
            env[f"{prefix}_PRIVATE_KEY"],
        )
        self.session.headers["clientId"] = env[f"{prefix}_CLIENT_ID"]
        self.session.headers["Accept"] = ACCEPT


def replacing(path: str, value: Any) -> dict[str, Any]:
    """One operation of a PATCH."""
    return {"op": "replace", "path": path, "value": value}


def codes(response: requests.Response) -> set[tuple[str, str]]:
    """The (code, field) pairs of a refusal."""
    return {(error["code"], error["field"]) for error in response.json()["errors"]}


@contextmanager
def sophos_with(**changes: Any) -> Iterator[Sophos]:
    """A sandbox of its own, and a Sophos caller that has not signed in."""
    with start(quick(tenants=4, catalog=1, **changes)) as sandbox:
        caller = Sophos(sandbox)
        with caller.session:
            yield caller


@contextmanager
def connectwise_with(**changes: Any) -> Iterator[ConnectWise]:
    """A sandbox of its own, and a ConnectWise caller."""
    with start(quick(**{"tenants": 4, "catalog": 30, **changes})) as sandbox:
        caller = ConnectWise(sandbox)
        with caller.session:
            yield caller
