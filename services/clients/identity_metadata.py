"""What an identity provider publishes about itself, and which of it is believed.

https://openid.net/specs/openid-connect-discovery-1_0.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlsplit

from services.clients.errors import UnexpectedResponse

ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
)  # fmt: skip
"""Signatures that only the provider can make. Never `none`; never HS*, whose key is shared."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a discovery document that signing in needs; every address was checked."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    end_session_endpoint: str | None
    algorithms: tuple[str, ...]
    scopes: frozenset[str]
    client_authentication: frozenset[str]
    names_itself: bool
    """Whether its answers carry `iss` (RFC 9207), so that one without it is not its own."""


def read_metadata(document: Mapping[str, Any], *, issuer: str, name: str) -> Metadata:
    """Check and take over a discovery document. Raises UnexpectedResponse."""
    if document.get("issuer") != issuer:
        _refuse(name, "it calls itself something else than TALLYBRIDGE_OIDC_ISSUER, to the letter")
    offered = _listed(document, "id_token_signing_alg_values_supported") or {"RS256"}
    algorithms = tuple(name for name in ALGORITHMS if name in offered)
    if not algorithms:
        _refuse(name, "it signs in no way that can be trusted")
    methods = _listed(document, "code_challenge_methods_supported")
    if methods and "S256" not in methods:
        _refuse(name, "it does not offer PKCE with S256")
    end = document.get("end_session_endpoint")
    return Metadata(
        authorization_endpoint=_address(document, "authorization_endpoint", issuer, name),
        token_endpoint=_address(document, "token_endpoint", issuer, name),
        jwks_uri=_address(document, "jwks_uri", issuer, name),
        end_session_endpoint=end if isinstance(end, str) and end else None,
        algorithms=algorithms,
        scopes=_listed(document, "scopes_supported"),
        client_authentication=_listed(document, "token_endpoint_auth_methods_supported"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )


def origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port of an address; None when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return None
    if "@" in parts.netloc or not parts.hostname or not url.isascii() or not url.isprintable():
        return None
    return parts.scheme, parts.hostname, port


def _address(document: Mapping[str, Any], key: str, issuer: str, name: str) -> str:
    """An https address; plain http only where the issuer itself stands, in a simulation."""
    value = document.get(key)
    found = origin(value) if isinstance(value, str) else None
    if found is None or not (found[0] == "https" or found == origin(issuer)):
        _refuse(name, f"its {key} is not an address that begins with https://")
    return str(value)


def _listed(document: Mapping[str, Any], key: str) -> frozenset[str]:
    value = document.get(key)
    return (
        frozenset(v for v in value if isinstance(v, str))
        if isinstance(value, list)
        else frozenset()
    )


def _refuse(name: str, what: str) -> NoReturn:
    raise UnexpectedResponse(
        f"{name} cannot be used: {what}. You were not signed in; an administrator has to check "
        "TALLYBRIDGE_OIDC_ISSUER.",
        vendor=name,
    )
