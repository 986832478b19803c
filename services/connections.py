"""The two vendors as this installation reaches them, and the check of every right needed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial

from config import Config
from services.clients.connectwise import ConnectWiseAccess, ConnectWiseClient
from services.clients.errors import (
    AuthenticationFailed,
    HostNotAllowed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Unavailable,
    VendorError,
    WrongCredentialKind,
)
from services.clients.http import DEFAULT_TIMEOUT
from services.clients.sophos import SophosAccess, SophosClient
from services.sync.model import Month


class NotConfiguredError(Exception):
    """A value that reaching a vendor needs is not set; the message names it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the connection check. `advice` is what to do when it is not `ok`."""

    vendor: str
    name: str
    ok: bool
    message: str
    advice: str = ""


def sophos_client(config: Config) -> SophosClient:
    """A client for Sophos Central Partner; raises NotConfiguredError or HostNotAllowed."""
    return SophosClient(
        SophosAccess(
            client_id=_needed(config.sophos_client_id, "SOPHOS_CLIENT_ID"),
            client_secret=_needed(_plain(config.sophos_client_secret), "SOPHOS_CLIENT_SECRET"),
            id_url=config.sophos_id_url,
            api_url=config.sophos_api_url,
            allowed_hosts=frozenset(config.allowed_vendor_hosts),
        )
    )


def connectwise_client(
    config: Config, timeout: tuple[float, float] = DEFAULT_TIMEOUT
) -> ConnectWiseClient:
    """A client for ConnectWise PSA; raises NotConfiguredError or HostNotAllowed."""
    public, private = config.connectwise_public_key, config.connectwise_private_key
    return ConnectWiseClient(
        ConnectWiseAccess(
            site=_needed(config.connectwise_site, "CONNECTWISE_SITE"),
            company_id=_needed(config.connectwise_company_id, "CONNECTWISE_COMPANY_ID"),
            public_key=_needed(_plain(public), "CONNECTWISE_PUBLIC_KEY"),
            private_key=_needed(_plain(private), "CONNECTWISE_PRIVATE_KEY"),
            client_id=_needed(config.connectwise_client_id, "CONNECTWISE_CLIENT_ID"),
            allowed_hosts=frozenset(config.allowed_vendor_hosts),
            own_ca=config.own_ca or "",
        ),
        timeout=timeout,
    )


def check_connections(
    config: Config, *, today: dt.date, vendors: Collection[str] = ("Sophos", "ConnectWise")
) -> Iterator[Check]:
    """Test connections and every right that can be tested without writing, line by line."""
    if "Sophos" in vendors:
        yield from _sophos_checks(config, today)
    if "ConnectWise" in vendors:
        yield from _connectwise_checks(config)


def _sophos_checks(config: Config, today: dt.date) -> Iterator[Check]:
    try:
        client = sophos_client(config)
    except (NotConfiguredError, VendorError) as error:
        yield Check("Sophos", "settings", ok=False, message=str(error), advice=_SETTINGS)
        return
    first = _try("Sophos", "partner credential", lambda: f"partner {client.partner_id()}")
    yield first
    if not first.ok:
        return
    yield _try("Sophos", "customers", lambda: f"{len(client.tenants())} customers")
    yield _try("Sophos", "billing usage", lambda: _usage(client, Month.of(today)))
    yield _try("Sophos", "firewall licences", lambda: f"{len(client.firewalls())} firewalls")


def _usage(client: SophosClient, month: Month) -> str:
    for candidate in (month, month.previous):
        lines = client.usage(candidate)
        if lines is not None:
            return f"{len(lines)} lines for {candidate}"
    return f"no report yet for {month} or {month.previous}"


_LISTS = {
    "catalog": "product catalog",
    "categories": "categories",
    "subcategories": "sub-categories",
    "types": "product types",
    "units": "units of measure",
    "companies": "companies",
    "agreements": "agreements",
}


def _connectwise_checks(config: Config) -> Iterator[Check]:
    try:
        client = connectwise_client(config)
    except (NotConfiguredError, VendorError) as error:
        yield Check("ConnectWise", "settings", ok=False, message=str(error), advice=_SETTINGS)
        return
    first = _try("ConnectWise", "site and company", lambda: f"reached {client.discover()}")
    yield first
    if not first.ok:
        return
    for what, name in _LISTS.items():
        yield _try("ConnectWise", name, partial(_probe, client, what))
    yield _try("ConnectWise", "additions", partial(_additions, client))


def _probe(client: ConnectWiseClient, what: str) -> str:
    client.probe(what)
    return "can be read"


def _additions(client: ConnectWiseClient) -> str:
    """Additions stand under an agreement only, so the first one serves."""
    agreement_id = client.probe("agreements")
    if agreement_id is None:
        return "there is no agreement to look into"
    client.additions(agreement_id)
    return "can be read; adding and editing cannot be tested without writing"


def _try(vendor: str, name: str, read: Callable[[], str]) -> Check:
    try:
        return Check(vendor, name, ok=True, message=read())
    except VendorError as error:
        return Check(vendor, name, ok=False, message=str(error), advice=_advice(vendor, error))


def _advice(vendor: str, error: VendorError) -> str:
    """What to do about an error: rights only help who lacks rights."""
    if isinstance(error, PermissionDenied):
        return _RIGHTS[vendor]
    for kind, advice in _ADVICE.items():
        if isinstance(error, kind):
            return advice
    return _SHAPE


_SETTINGS = (
    "Correct what is set for this vendor, in Settings or in TALLYBRIDGE_ variables, and test again."
)
_SHAPE = (
    "Look whether a proxy or another server answers instead of this vendor, and test again; if it "
    "stays, report it."
)
_ADVICE: dict[type[VendorError], str] = {
    # The first that fits counts.
    WrongCredentialKind: "Make the credential in Sophos Central Partner, not at a customer.",
    AuthenticationFailed: _SETTINGS,
    NotFound: _SETTINGS,
    HostNotAllowed: "Correct the address, or, if it is right, allow its host; then test again.",
    RateLimited: "Nothing has to be changed; test again later.",
    Unavailable: "Check the address and the network on the way there, and test again later.",
}
_RIGHTS = {
    "Sophos": "Use a Partner credential with a role that may read billing and customers.",
    "ConnectWise": "The API member needs Inquire All on companies, agreements and the product "
    "catalog, Add and Edit on agreements and the catalog, and Inquire on table setup.",
}


def _plain(secret: object) -> str | None:
    return secret.get_secret_value() if hasattr(secret, "get_secret_value") else None


def _needed(value: str | None, name: str) -> str:
    if not value:
        raise NotConfiguredError(
            f"TALLYBRIDGE_{name} is not set. Nothing was changed; set it and try again."
        )
    return value
