"""The ways in which people sign in here, as the environment has them; checked at the start."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import SecretStr

from config import PREFIX, Config, ConfigError, Network
from models import Role

_NEEDED = ("oidc_issuer", "oidc_client_id", "oidc_client_secret", "oidc_roles")


class HeaderRefusedError(Exception):
    """The sign-in header cannot be believed; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Provider:
    """The identity provider, and the role that each of its groups stands for."""

    issuer: str
    client_id: str
    client_secret: SecretStr
    name: str
    roles: Mapping[str, Role]
    groups_claim: str
    own_ca: str = ""

    @property
    def makes_administrators(self) -> bool:
        """Whether somebody can become an administrator by it, the first one included."""
        return Role.ADMIN in self.roles.values()


@dataclass(frozen=True, slots=True)
class SignInHeader:
    """The header in which a reverse proxy says who is there."""

    name: str
    proxies: tuple[Network, ...]

    def believed(self, values: str | None, *, peer: str) -> str | None:
        """The name in the header; None without one. Raises HeaderRefusedError.

        `values` is what the server made of all headers of this name: several are joined by a
        comma. `peer` is the address of whoever opened the connection, never one that was
        forwarded.
        """
        if values is None:
            return None
        if not self._is_proxy(peer):
            raise HeaderRefusedError(
                f"The request names a person in {self.name}, but it did not come from a proxy "
                f"that may. Nothing was changed. If {peer or 'the peer'} is your reverse proxy, "
                f"add it to {PREFIX}SIGN_IN_PROXIES."
            )
        if not values.strip():
            return None
        name = _text(values)
        if name is None or "," in name:
            raise HeaderRefusedError(
                f"The reverse proxy has to send {self.name} once, with one name. Nothing was "
                "changed. Let it remove what the browser sends, and set the header itself."
            )
        return name

    def _is_proxy(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:  # a socket file has no address
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.proxies)


@dataclass(frozen=True, slots=True)
class SignInWays:
    """Passwords, an identity provider, a header of a reverse proxy: what is switched on."""

    local: bool = True
    provider: Provider | None = None
    header: SignInHeader | None = None


def sign_in_ways(config: Config) -> SignInWays:
    """What the environment switches on. Raises ConfigError when that is half a thing or no way."""
    provider, header = _provider(config), _header(config)
    administrators = provider is not None and provider.makes_administrators
    if not config.local_login and not administrators and header is None:
        raise ConfigError(
            f"{PREFIX}LOCAL_LOGIN: without passwords an administrator needs another way in; name "
            f"a group for admin= in {PREFIX}OIDC_ROLES, with an identity provider, or leave it on"
        )
    return SignInWays(config.local_login, provider, header)


def _provider(config: Config) -> Provider | None:
    issuer, client_id = config.oidc_issuer, config.oidc_client_id
    secret, roles = config.oidc_client_secret, config.oidc_roles
    if not any((issuer, client_id, secret, roles)):
        return None
    if not issuer or not client_id or not secret or not roles:
        missing = next(name for name in _NEEDED if not getattr(config, name))
        raise ConfigError(
            f"{PREFIX}{missing.upper()}: it is needed too; an identity provider needs "
            "OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET and OIDC_ROLES"
        )
    _refuse_plain_http(issuer, config.allowed_vendor_hosts)
    if not config.trusted_hosts:
        raise ConfigError(
            f"{PREFIX}TRUSTED_HOSTS: it is needed too; name the host that people type, or the "
            "identity provider would be told to send them to whatever a request calls it"
        )
    return Provider(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        name=config.oidc_name,
        roles={granted: Role(role) for role, granted in roles},
        groups_claim=config.oidc_groups_claim,
        own_ca=config.own_ca or "",
    )


def _refuse_plain_http(issuer: str, allowed: tuple[str, ...]) -> None:
    """Plain http is for a simulation on this machine, and only when somebody asked for that."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme == "http" and origin not in {entry.rstrip("/") for entry in allowed}:
        raise ConfigError(
            f"{PREFIX}OIDC_ISSUER: it must begin with https://; for a simulation on this machine "
            f"add {origin} to {PREFIX}ALLOWED_VENDOR_HOSTS"
        )


def _header(config: Config) -> SignInHeader | None:
    if bool(config.sign_in_header) != bool(config.sign_in_proxies):
        missing = "SIGN_IN_PROXIES" if config.sign_in_header else "SIGN_IN_HEADER"
        raise ConfigError(
            f"{PREFIX}{missing}: it is needed too; the header that names a person counts only "
            "from the proxies named here"
        )
    if config.sign_in_header is None:
        return None
    return SignInHeader(config.sign_in_header, config.sign_in_proxies)


def _text(raw: str) -> str | None:
    """A header as text: servers hand on bytes as if each were a letter. None if it is none."""
    try:
        text = raw.encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        return None
    return text if text and text.isprintable() and len(text) <= 150 else None
