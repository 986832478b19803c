"""What a person types to connect a vendor: checked before it is kept, secrets never shown again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

import models
from services.clients.errors import HostNotAllowed
from services.clients.hosts import CONNECTWISE_CLOUD, check_url
from services.installation import SECRETS, Installation, store_connection_values

SOPHOS = ("sophos_client_id", "sophos_client_secret")
CONNECTWISE = (
    "connectwise_site",
    "connectwise_company_id",
    "connectwise_client_id",
    "connectwise_public_key",
    "connectwise_private_key",
)
PLACE = ("connectwise_site", "connectwise_company_id")
"""Together they say whose records our stored ids belong to."""


class ConnectionValueError(ValueError):
    """A value cannot be used; `name` is its name and the message says why."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One value as a page may show it: a secret only says whether it is there."""

    name: str
    secret: bool
    locked: bool
    value: str
    present: bool
    updated_at: dt.datetime | None

    @property
    def variable(self) -> str:
        """The environment variable that can set it."""
        return f"TALLYBRIDGE_{self.name.upper()}"


def connection_states(
    installation: Installation, names: Iterable[str]
) -> dict[str, ConnectionState]:
    """How each value stands: from the environment, stored here, or missing."""
    with installation.reading() as session:
        rows = {row.name: row for row in session.scalars(sa.select(models.ConnectionValue))}
    locked = installation.locked_connection_values()
    return {name: _state(installation, name, rows.get(name), locked) for name in names}


def _state(
    installation: Installation,
    name: str,
    row: models.ConnectionValue | None,
    locked: frozenset[str],
) -> ConnectionState:
    secret = name in SECRETS
    stored = row.value if row else ""
    known = str(getattr(installation.config, name)) if name in locked and not secret else stored
    return ConnectionState(
        name=name,
        secret=secret,
        locked=name in locked,
        value="" if secret else known,
        present=name in locked or bool(stored),
        updated_at=row.updated_at if row and name not in locked else None,
    )


def keep_connection_values(
    installation: Installation,
    values: Mapping[str, str],
    *,
    confirmed: bool,
    actor: str,
) -> None:
    """Keep what was typed. Raises ConnectionValueError; nothing was changed then.

    A site is only kept when credentials may be sent there. Another site or company while
    customers are mapped has to be confirmed: the stored ids are records of the present one.
    """
    cleaned = {name: value.strip() for name, value in values.items()}
    if cleaned.get("connectwise_site"):
        cleaned["connectwise_site"] = _usable_site(installation, cleaned["connectwise_site"])
    if not confirmed:
        _refuse_unnoticed_move(installation, cleaned)
    store_connection_values(installation, cleaned, actor=actor)


def _usable_site(installation: Installation, typed: str) -> str:
    allowed = frozenset(installation.config.allowed_vendor_hosts)
    address = typed if "://" in typed else f"https://{typed}"
    try:
        return check_url(address, allowed=allowed, cloud=CONNECTWISE_CLOUD)
    except HostNotAllowed as error:
        raise ConnectionValueError("connectwise_site", f"{error} Nothing was changed.") from None


def _refuse_unnoticed_move(installation: Installation, values: Mapping[str, str]) -> None:
    before = connection_states(installation, PLACE)
    for name in PLACE:
        if name not in values or before[name].locked or not before[name].value:
            continue
        if _bare(values[name]) == _bare(before[name].value):
            continue
        count = _mapped_customers(installation)
        if count:
            raise ConnectionValueError(
                "confirm",
                f"Nothing was changed. {count} customers are mapped to agreements of "
                f"{before['connectwise_company_id'].value} at {before['connectwise_site'].value}; "
                "in another ConnectWise company the same numbers are other records. Confirm below "
                "that this is the same company, and save again.",
            )


def _bare(address: str) -> str:
    return address.strip().casefold().removeprefix("https://").rstrip("/")


def _mapped_customers(installation: Installation) -> int:
    with installation.reading() as session:
        mapped = models.TenantMapping.agreement_id.is_not(None)
        query = sa.select(sa.func.count()).select_from(models.TenantMapping).where(mapped)
        return session.scalar(query) or 0
