"""What stands in a backup, told to a person before it replaces everything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.database import head
from services.secrets import Vault
from services.upkeep.archive import UNREADABLE, Archive, BackupError, Manifest


@dataclass(frozen=True, slots=True)
class Contents:
    """A backup in numbers. `secrets_lost` are those that no key of this installation can read."""

    made_at: dt.datetime | None
    schema: str
    older: bool
    rows: int
    runs: int
    newest_run_at: dt.datetime | None
    products: int
    products_mapped: int
    customers: int
    customers_mapped: int
    users: tuple[tuple[str, str], ...]
    secrets: int
    secrets_lost: int


def contents(file: Path, vault: Vault, *, called: str | None = None) -> Contents:
    """Read a backup whole and say what it holds. Raises BackupError when it cannot be restored."""
    with Archive.at(file, called) as archive:
        manifest = archive.manifest()
        try:
            return _told(archive, manifest, vault)
        except (*UNREADABLE, AttributeError):
            raise BackupError(
                f"{archive.called} has rows that do not fit. Nothing was changed."
            ) from None


def _told(archive: Archive, manifest: Manifest, vault: Vault) -> Contents:
    products = [
        r["catalog_item_id"] is not None for r in _rows(archive, manifest, "product_mappings")
    ]
    tenants = [r["agreement_id"] is not None for r in _rows(archive, manifest, "tenant_mappings")]
    newest = max((r["started_at"] for r in _rows(archive, manifest, "sync_runs")), default=None)
    sealed = list(_sealed(archive, manifest))
    return Contents(
        made_at=manifest.made_at,
        schema=manifest.revision,
        older=manifest.revision != head(),
        rows=sum(manifest.tables.values()),
        runs=manifest.tables.get("sync_runs", 0),
        newest_run_at=dt.datetime.fromisoformat(newest).replace(tzinfo=dt.UTC) if newest else None,
        products=len(products),
        products_mapped=sum(products),
        customers=len(tenants),
        customers_mapped=sum(tenants),
        users=tuple((r["name"], r["role"]) for r in _rows(archive, manifest, "users")),
        secrets=len(sealed),
        secrets_lost=sum(not vault.reads(each) for each in sealed),
    )


def _rows(archive: Archive, manifest: Manifest, table: str) -> Iterator[dict[str, Any]]:
    return archive.rows(table) if table in manifest.tables else iter(())


def _sealed(archive: Archive, manifest: Manifest) -> Iterator[str]:
    for row in _rows(archive, manifest, "connection_values"):
        if row["secret"]:
            yield row["value"]
    for row in _rows(archive, manifest, "users"):
        if row.get("totp_secret"):
            yield row["totp_secret"]
    for row in _rows(archive, manifest, "notification_targets"):
        yield row["sealed_url"]
