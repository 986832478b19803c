"""An identity provider for tests: a real HTTP server on loopback, strict, able to misbehave.

`start(clock)` runs one. `person` is who sits before the browser. What a test changes in
`metadata`, `claims`, `sign` or `answers` is what goes wrong; `refused` lists what the provider
found wrong with a request of ours, `seen` every request with its form.
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import hashlib
import html
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "tallybridge client"
CLIENT_SECRET = "s3cret:with/odd+signs%&"
KID = "key-1"


@functools.cache
def key(name: str = KID) -> RSAKey:
    """A key of this name, made once for each test process."""
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


def public(*keys: RSAKey) -> dict[str, Any]:
    return {"keys": [k.as_dict(private=False) for k in keys]}


def encoded(part: dict[str, Any] | bytes) -> str:
    """One part of a token."""
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(claims: dict[str, Any], *, by: RSAKey | None = None, kid: str | None = KID) -> str:
    """A good ID token."""
    header = {"alg": "RS256"} if kid is None else {"alg": "RS256", "kid": kid}
    return jwt.encode(header, claims, by or key(), algorithms=["RS256"])


def by_hand(header: dict[str, Any], payload: bytes, *, by: RSAKey | None = None) -> str:
    """A token that the library would not make; the signature is RS256 and good."""
    text = f"{encoded(header)}.{encoded(payload)}"
    private = (by or key()).private_key
    assert private is not None
    signature = private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{encoded(signature)}"


@dataclass
class Person:
    """Who sits before the browser, as the provider knows them."""

    sub: str = "0001"
    preferred_username: str = "Anna"
    groups: Any = ("admins",)
    more: dict[str, Any] = field(default_factory=dict)

    def claims(self) -> dict[str, Any]:
        groups = list(self.groups) if isinstance(self.groups, tuple) else self.groups
        own = {"sub": self.sub, "preferred_username": self.preferred_username, "groups": groups}
        return {name: value for name, value in (own | self.more).items() if value is not None}


@dataclass(frozen=True)
class Grant:
    nonce: str
    redirect_uri: str
    challenge: str
    person: Person


@dataclass
class Answer:
    """What a path answers instead of what it should."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


class FakeProvider:
    """The state of one provider; `env` is what makes the app use it."""

    def __init__(self, url: str, now: Callable[[], dt.datetime]) -> None:
        self.url = url
        self.now = now
        self.person = Person()
        self.people: list[Person] = []
        """When there are some, a page asks which of them you are."""
        self.redirect_uris = {"http://localhost/sign-in/provider/answer"}
        self.authentication = ["client_secret_basic"]
        self.metadata: dict[str, Any] = {}
        self.claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
        self.sign: Callable[[dict[str, Any]], str] = signed
        self.keys: Callable[[], dict[str, Any]] = lambda: public(key())
        self.answers: dict[str, Answer] = {}
        self.token_error: dict[str, str] | None = None
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.refused: list[str] = []
        self.codes: dict[str, Grant] = {}
        self.made: list[str] = []
        """Every code and token that was handed out."""

    def env(self, roles: str = "admin=admins,operator=billing,viewer=staff") -> dict[str, str]:
        return {
            "OIDC_ISSUER": self.url,
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "OIDC_NAME": "Acme Login",
            "OIDC_ROLES": roles,
            "ALLOWED_VENDOR_HOSTS": self.url,
            "TRUSTED_HOSTS": "localhost,127.0.0.1",
        }

    def discovery(self) -> dict[str, Any]:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/logout",
            "scopes_supported": ["openid", "profile", "groups"],
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
            "token_endpoint_auth_methods_supported": self.authentication,
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }
        return {name: value for name, value in document.items() if value is not None}

    def authorize(self, query: dict[str, str]) -> str | None:
        """The address to send the browser back to; None after refusing."""
        wrong = [
            name
            for name, good in {
                "client_id": query.get("client_id") == CLIENT_ID,
                "redirect_uri": query.get("redirect_uri") in self.redirect_uris,
                "response_type": query.get("response_type") == "code",
                "scope": "openid" in query.get("scope", "").split(),
                "state": len(query.get("state", "")) >= 32,
                "nonce": len(query.get("nonce", "")) >= 32,
                "code_challenge": len(query.get("code_challenge", "")) == 43,
                "code_challenge_method": query.get("code_challenge_method") == "S256",
            }.items()
            if not good
        ]
        if wrong:
            self.refused += wrong
            return None
        person = next((p for p in self.people if p.sub == query.get("as")), self.person)
        code = secrets.token_urlsafe(24)
        self.made.append(code)
        grant = Grant(query["nonce"], query["redirect_uri"], query["code_challenge"], person)
        self.codes[code] = grant
        answer = {"code": code, "state": query["state"]}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if self.token_error is not None:
            return 400, self.token_error
        if not self._knows_client(form, authorization):
            self.refused.append("client")
            return 401, {"error": "invalid_client", "error_description": "no such client"}
        grant = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if (
            form.get("grant_type") != "authorization_code"
            or grant is None
            or grant.redirect_uri != form.get("redirect_uri")
            or grant.challenge != encoded(digest)
        ):
            self.refused.append("grant")
            return 400, {"error": "invalid_grant", "error_description": f"no {form.get('code')}"}
        token = self.sign(self.claims(self.good_claims(grant)))
        access = secrets.token_urlsafe(24)
        self.made += [token, access]
        return 200, {"access_token": access, "token_type": "Bearer", "id_token": token}

    def good_claims(self, grant: Grant) -> dict[str, Any]:
        now = int(self.now().timestamp())
        return {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": grant.nonce,
            **grant.person.claims(),
        }

    def _knows_client(self, form: dict[str, str], authorization: str) -> bool:
        """By the one way that discovery names, and by no other."""
        posted = form.get("client_id"), form.get("client_secret")
        if self.authentication == ["client_secret_post"]:
            return posted == (CLIENT_ID, CLIENT_SECRET) and not authorization
        kind, _, basic = authorization.partition(" ")
        if kind != "Basic" or form.get("client_secret") is not None:
            return False
        name, _, secret = base64.b64decode(basic).decode().partition(":")
        return (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)


class _Handler(BaseHTTPRequestHandler):
    provider: FakeProvider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if self._misbehaves(parts.path, query):
            return
        if parts.path == "/.well-known/openid-configuration":
            self._json(200, self.provider.discovery())
        elif parts.path == "/jwks":
            self._json(200, self.provider.keys())
        elif parts.path == "/authorize":
            self._authorize(query)
        else:
            self._page(200 if parts.path == "/logout" else 404, "<h1>Signed out there</h1>")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        form = dict(parse_qsl(body))
        if self._misbehaves(self.path, form):
            return
        good = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        if self.path != "/token" or not good:
            self.provider.refused.append("request")
            self._json(400, {"error": "invalid_request"})
            return
        self._json(*self.provider.token(form, self.headers.get("Authorization", "")))

    def _misbehaves(self, path: str, form: dict[str, str]) -> bool:
        self.provider.seen.append((path, form))
        answer = self.provider.answers.get(path)
        if answer is None:
            return False
        time.sleep(answer.wait)
        self._send(answer.status, answer.body, answer.headers)
        return True

    def _authorize(self, query: dict[str, str]) -> None:
        if self.provider.people and "as" not in query:
            links = "".join(
                f'<p><a href="{html.escape(f"{self.path}&as={quote(p.sub)}")}">'
                f"Continue as {html.escape(p.preferred_username)}</a></p>"
                for p in self.provider.people
            )
            self._page(200, f"<h1>Acme Login</h1>{links}")
            return
        target = self.provider.authorize(query)
        if target is None:
            self._page(400, f"<h1>Refused: {html.escape(', '.join(self.provider.refused))}</h1>")
        else:
            self._send(302, b"", {"Location": target})

    def _page(self, status: int, body: str) -> None:
        text = f"<!doctype html><html lang=en><title>Acme</title>{body}"
        self._send(status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet: a test that fails shows `refused`."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Quiet, too: somebody who does not wait for an answer is no error of ours."""


@contextmanager
def start(now: Callable[[], dt.datetime]) -> Iterator[FakeProvider]:
    """A provider on loopback; `now` is its clock."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    provider = FakeProvider(f"http://127.0.0.1:{server.server_port}", now)
    handler.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
