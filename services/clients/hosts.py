"""Which addresses our credentials may be sent to."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from services.clients.errors import HostNotAllowed

SOPHOS_CLOUD = frozenset({"id.sophos.com", "api.central.sophos.com"})
CONNECTWISE_SITES = frozenset(f"{r}.myconnectwise.net" for r in ("na", "eu", "au", "aus", "za"))
CONNECTWISE_CLOUD = CONNECTWISE_SITES | {f"api-{site}" for site in CONNECTWISE_SITES}

_SETTING = "TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_DEFAULT_PORTS = {"https": 443, "http": 80}
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+")


class Origin(NamedTuple):
    """Scheme, host and port: what decides who receives a request."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = self.port == _DEFAULT_PORTS[self.scheme]
        return f"{self.scheme}://{host}" if default else f"{self.scheme}://{host}:{self.port}"


def check_url(url: str, *, allowed: frozenset[str], cloud: frozenset[str]) -> str:
    """The normalised origin of `url` (no trailing slash), if credentials may be sent there.

    That is: https to a host of `cloud` (full match, default port), or exactly an origin that the
    operator listed in `allowed` (`host`, `host:port`: https; or a whole origin). Plain http is
    accepted for a loopback origin only, and only when it stands in `allowed` literally.
    Raises HostNotAllowed for everything else.
    """
    vendor = "Sophos" if cloud <= SOPHOS_CLOUD else "ConnectWise"
    try:
        origin = _origin(url)
    except ValueError as error:
        raise HostNotAllowed(
            f"The address of {vendor} cannot be used: {error}. Write it as https://host.",
            vendor=vendor,
        ) from None
    if not _is_allowed(origin, allowed, cloud):
        raise HostNotAllowed(
            f"{origin} is not a known address of {vendor}, so no credentials are sent there. "
            f"If it is right, add {_entry_for(origin)} to {_SETTING}.",
            vendor=vendor,
        )
    # The addresses that the name resolves to are judged where the connection is made
    # (addresses.py): whatever is looked up here may have changed by then.
    return str(origin)


def own_hosts(allowed: frozenset[str]) -> frozenset[str]:
    """The names of the hosts that the operator listed: these may stand in a private network."""
    return frozenset(origin.host for origin in _allowed_origins(allowed))


def _is_allowed(origin: Origin, allowed: frozenset[str], cloud: frozenset[str]) -> bool:
    if origin.scheme == "https" and origin.port == 443 and origin.host in cloud:
        return True
    if origin.scheme == "http" and origin.host not in _LOOPBACK:
        return False
    return origin in _allowed_origins(allowed)


def _allowed_origins(allowed: frozenset[str]) -> set[Origin]:
    origins = set()
    for entry in allowed:
        text = entry.strip()
        try:
            origins.add(_origin(text if "://" in text else f"https://{text}"))
        except ValueError:
            continue  # an entry that cannot be read allows nothing
    return origins


def _origin(url: str) -> Origin:
    """Read a URL that is nothing but an origin; raises ValueError saying what is wrong."""
    text = url.strip()
    if not text.isascii() or any(c.isspace() or not c.isprintable() or c == "\\" for c in text):
        raise ValueError("it has characters that do not belong into an address")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("it is not a complete address") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("it must begin with https://")
    if "@" in parts.netloc:
        raise ValueError("it must not contain a user name or password")
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError("it must not have a path or a query")
    host = (parts.hostname or "").lower()
    if not _HOST.fullmatch(host) or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("it has no valid host or port")
    return Origin(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def _entry_for(origin: Origin) -> str:
    if origin.scheme == "http":
        return f"{origin} (possible for a loopback address only; use https otherwise)"
    return str(origin).removeprefix("https://")
