"""Talking to an identity provider: OpenID Connect, the authorization code flow with PKCE.

https://openid.net/specs/openid-connect-core-1_0.html, sections 3.1 and 5, with the advice of
RFC 9700. Nothing that the provider sends is believed before its signature, issuer, audience,
nonce and times were checked. Authlib is imported when somebody first signs in, so that an
installation without an identity provider does not carry it.
"""

from __future__ import annotations

import datetime as dt
import hmac
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from services.clients.errors import (
    AuthenticationFailed,
    Rejected,
    UnexpectedResponse,
    VendorError,
    clean_text,
)
from services.clients.identity_metadata import Metadata, origin, read_metadata
from services.clients.identity_requests import Requests, TimedOut, TokenRefusedError

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

FLOW_LIFE = dt.timedelta(minutes=10)
"""How long a person may take at the provider."""
LEEWAY_SECONDS = 60
METADATA_SECONDS = 3600.0
FAILURE_SECONDS = 5.0
LOCK_SECONDS = 3.0
NEW_KEYS_SECONDS = 60.0
SMALLEST_RSA_KEY = 2048

_log = logging.getLogger("tallybridge.identity")


@dataclass(frozen=True, slots=True)
class Flow:
    """One attempt to sign in; only the browser that began it may end it, and only once."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    after: str
    """The path of ours to go on to."""
    begun_at: float
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the provider vouches for. `issuer` and `subject` together are who this is, for ever.

    All names and groups are foreign text.
    """

    issuer: str
    subject: str
    names: tuple[str, ...]
    """What the person may be called, the best first."""
    groups: frozenset[str]
    too_many_groups: bool
    """Entra ID left the groups out, because there are more than fit."""


def new_flow(*, redirect_uri: str, after: str, now: dt.datetime) -> Flow:
    """A fresh attempt, with secrets of its own."""
    state, nonce, verifier = (secrets.token_urlsafe(48) for _ in range(3))
    return Flow(state, nonce, verifier, redirect_uri, after, now.timestamp())


class IdentityProvider:
    """One provider. Keeps what it publishes about itself for an hour; knows nobody's tokens.

    Every method raises a VendorError with words for the person who signs in.
    """

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        client_secret: str,
        name: str,
        groups_claim: str,
        own_ca: str = "",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self.name = name
        self._client_id = client_id
        self._requests = Requests(
            name, client_id, client_secret,
            own_host=urlsplit(issuer).hostname or "", own_ca=own_ca, monotonic=monotonic,
        )  # fmt: skip
        self._groups_claim = groups_claim
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._using = threading.Lock()
        self._used: dict[str, float] = {}
        self._metadata: tuple[float, Metadata] | None = None
        self._failure: tuple[float, VendorError] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def authorization_url(self, flow: Flow) -> str:
        """Where to send the browser."""
        metadata = self._described()
        scope = "openid profile"
        if self._groups_claim == "groups" and "groups" in metadata.scopes:
            scope += " groups"
        with self._requests.client(code_challenge_method="S256") as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=flow.state,
                code_verifier=flow.verifier,
                nonce=flow.nonce,
                redirect_uri=flow.redirect_uri,
                scope=scope,
            )
        return str(url)

    def identity(self, answer: Mapping[str, str], flow: Flow, *, now: dt.datetime) -> Identity:
        """Who came back, from the query that the browser brought and what the provider says of it.

        The code in it is redeemed by this, once.
        """
        code = self._code(answer, flow, now)
        token = self._redeem(code, flow)
        raw, access_token = token.get("id_token"), token.get("access_token")
        if not isinstance(raw, str):
            raise self._untrusted("it sent no ID token")
        return self._read(self._claims(raw, access_token, flow, now))

    def sign_out_url(self, return_to: str) -> str | None:
        """Where a person ends the session at the provider too; None when it offers no such page.

        Only a page of the issuer's own origin is offered.
        """
        try:
            page = self._described().end_session_endpoint
        except VendorError:
            return None
        if page is None or origin(page) != origin(self.issuer):
            return None
        query = urlencode({"client_id": self._client_id, "post_logout_redirect_uri": return_to})
        return f"{page}{'&' if '?' in page else '?'}{query}"

    # --- the answer that the browser brings ---------------------------------------------------

    def _code(self, answer: Mapping[str, str], flow: Flow, now: dt.datetime) -> str:
        state = answer.get("state", "")
        if not hmac.compare_digest(state.encode(), flow.state.encode()):
            raise self._rejected("This answer belongs to another attempt to sign in.")
        if not 0 <= now.timestamp() - flow.begun_at <= FLOW_LIFE.total_seconds():
            raise self._rejected("Signing in took longer than ten minutes.")
        self._use_up(flow, now)
        said = answer.get("iss")
        if said != self.issuer and (said or self._described().names_itself):
            raise self._rejected("This answer comes from another identity provider.")
        if answer.get("error") or not answer.get("code"):
            raise self._declined(answer)
        return answer["code"]

    def _use_up(self, flow: Flow, now: dt.datetime) -> None:
        """The provider takes a code once; we take an answer once, whatever is in it."""
        oldest = now.timestamp() - FLOW_LIFE.total_seconds()
        with self._using:
            if flow.state in self._used:
                raise self._rejected("This answer was used already.")
            self._used = {state: at for state, at in self._used.items() if at >= oldest}
            self._used[flow.state] = flow.begun_at

    def _declined(self, answer: Mapping[str, str]) -> Rejected:
        error = clean_text(answer.get("error"), limit=60) or "no code"
        why = clean_text(answer.get("error_description"), secrets=[answer.get("code") or ""])
        _log.warning("%s sent somebody back without a code: %s %s", self.name, error, why)
        if error == "access_denied":
            return self._rejected("It was cancelled there, or you have no access there.")
        return self._rejected(f"{self.name} answered with an error; the log has more.")

    # --- what the provider says about the code ------------------------------------------------

    def _redeem(self, code: str, flow: Flow) -> Mapping[str, Any]:
        metadata = self._described()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "code_verifier": flow.verifier,
            "redirect_uri": flow.redirect_uri,
        }
        by_post = "client_secret_post" in metadata.client_authentication
        try:
            return self._requests.token(metadata.token_endpoint, form, by_post=by_post)
        except TokenRefusedError as error:
            hidden = (code, flow.verifier, flow.state, flow.nonce)
            raise self._not_redeemed(error, hidden) from None

    def _not_redeemed(self, error: TokenRefusedError, hidden: tuple[str, ...]) -> VendorError:
        said = clean_text(f"{error.code} {error.description}", secrets=hidden)
        _log.warning("%s redeemed no code: %s", self.name, said)
        if error.code in {"invalid_client", "unauthorized_client"}:
            return AuthenticationFailed(
                f"{self.name} does not accept Tallybridge: its client id or client secret is "
                "wrong, or has run out. You were not signed in; an administrator has to check "
                "them.",
                vendor=self.name,
            )
        return self._rejected(f"{self.name} does not accept this answer (any more).")

    def _claims(
        self, raw: str, access_token: object, flow: Flow, now: dt.datetime
    ) -> Mapping[str, Any]:
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            header, claims = self._verified(raw)
            found = CodeIDToken(
                claims,
                header,
                {
                    "iss": {"essential": True, "value": self.issuer},
                    "aud": {"essential": True, "value": self._client_id},
                    "sub": {"essential": True},
                    "nonce": {"essential": True, "value": flow.nonce},
                },
                {"client_id": self._client_id, "nonce": flow.nonce, "access_token": access_token},
            )
            found.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        except JoseError as error:
            raise self._untrusted(f"{error.error} {error.description or ''}") from None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise self._untrusted("its ID token cannot be read") from None
        return dict(found)

    def _verified(self, raw: str) -> tuple[dict[str, Any], dict[str, Any]]:
        from joserfc import jwt  # noqa: PLC0415
        from joserfc.errors import InvalidKeyIdError  # noqa: PLC0415
        from joserfc.jws import JWSRegistry  # noqa: PLC0415

        # Never an empty list: the library would allow its own choice, symmetric ones included.
        registry = JWSRegistry(
            algorithms=list(self._described().algorithms), strict_check_header=False
        )
        try:
            token = jwt.decode(raw, self._key_set(older_than=METADATA_SECONDS), registry=registry)
        except InvalidKeyIdError:  # the provider has a new key
            token = jwt.decode(raw, self._key_set(older_than=NEW_KEYS_SECONDS), registry=registry)
        return dict(token.header), dict(token.claims)

    def _read(self, claims: Mapping[str, Any]) -> Identity:
        groups = claims.get(self._groups_claim)
        listed = [groups] if isinstance(groups, str) else groups
        elsewhere = claims.get("_claim_names")
        moved = isinstance(elsewhere, dict) and self._groups_claim in elsewhere
        names = (claims.get("preferred_username"), claims.get("name"))
        return Identity(
            issuer=self.issuer,
            subject=claims["sub"],
            names=tuple(text for name in names if (text := clean_text(name, limit=1000))),
            groups=frozenset(g for g in listed if isinstance(g, str))
            if isinstance(listed, list)
            else frozenset(),
            too_many_groups=groups is None and (moved or claims.get("hasgroups") is True),
        )

    # --- what the provider publishes about itself ---------------------------------------------

    def _described(self) -> Metadata:
        """Its discovery document. After a failure it is left alone for some seconds."""
        with self._alone():
            now = self._monotonic()
            if self._metadata and now - self._metadata[0] < METADATA_SECONDS:
                return self._metadata[1]
            if self._failure and now - self._failure[0] < FAILURE_SECONDS:
                raise self._failure[1]
            try:
                document = self._requests.document(
                    f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
                )
                found = read_metadata(document, issuer=self.issuer, name=self.name)
            except VendorError as error:
                self._failure = self._monotonic(), error
                raise
            self._metadata = now, found
            return found

    def _key_set(self, *, older_than: float) -> KeySet:
        """Its public keys, read again when those known are older than so many seconds."""
        address = self._described().jwks_uri
        with self._alone():
            now = self._monotonic()
            if self._keys is None or now - self._keys[0] >= older_than:
                self._keys = now, self._public_keys(self._requests.document(address))
            return self._keys[1]

    def _public_keys(self, document: Mapping[str, Any]) -> KeySet:
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import ECKey, KeySet, RSAKey  # noqa: PLC0415

        listed = document.get("keys")
        keys: list[Any] = []
        for data in listed if isinstance(listed, list) else []:
            if not isinstance(data, dict) or data.get("use", "sig") != "sig":
                continue
            try:
                if data.get("kty") == "RSA" and len(str(data["n"])) * 6 >= SMALLEST_RSA_KEY:
                    keys.append(RSAKey.import_key(data))
                elif data.get("kty") == "EC":
                    keys.append(ECKey.import_key(data))
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # a key that we cannot use vouches for nothing
        return KeySet(keys)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One thread asks; the others do not all wait with it for a provider that hangs."""
        if not self._lock.acquire(timeout=LOCK_SECONDS):
            raise TimedOut(
                f"{self.name} takes long to answer. You were not signed in; try again.",
                vendor=self.name,
            )
        try:
            yield
        finally:
            self._lock.release()

    def _untrusted(self, why: str) -> UnexpectedResponse:
        _log.warning("%s sent an identity that is not believed: %s", self.name, clean_text(why))
        return UnexpectedResponse(
            f"What {self.name} says about you cannot be trusted, so you were not signed in. Try "
            "again; if it happens again, an administrator finds the reason in the log.",
            vendor=self.name,
        )

    def _rejected(self, why: str) -> Rejected:
        return Rejected(f"{why} You were not signed in; begin again.", vendor=self.name)
