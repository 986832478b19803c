"""One installation: its configuration, keys and database, and what runs are put together from."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

import models
from config import Config
from services import audit
from services.connections import connectwise_client, sophos_client
from services.context import Progress, SyncContext, no_progress
from services.database import reading
from services.secrets import Vault
from services.settings import AppSettings, load_settings

SECRETS = ("sophos_client_secret", "connectwise_public_key", "connectwise_private_key")
PLAIN = (
    "sophos_client_id",
    "connectwise_site",
    "connectwise_company_id",
    "connectwise_client_id",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """What the command line, the web page and the schedule all start from."""

    config: Config
    engine: Engine
    vault: Vault

    @property
    def backups(self) -> Path:
        """The folder of the backups that are made without being asked for."""
        return self.config.data_dir / "backups"

    def session(self) -> Session:
        """A session for one short transaction."""
        return sessionmaker(self.engine, expire_on_commit=False)()

    def reading(self) -> Session:
        """A session that only reads; it neither waits for a writer nor makes one wait."""
        return sessionmaker(reading(self.engine))()

    def now(self) -> dt.datetime:
        """The present instant."""
        return dt.datetime.now(dt.UTC)

    def locked_settings(self) -> Mapping[str, Any]:
        """The settings that the environment fixes."""
        locked: dict[str, Any] = {}
        if self.config.timezone is not None:
            locked["timezone"] = self.config.timezone
        if self.config.read_only:
            locked["read_only"] = True
        return locked

    def settings(self) -> AppSettings:
        """The settings in force."""
        with self.reading() as session:
            return load_settings(session, self.locked_settings())

    def today(self) -> dt.date:
        """The calendar day in the billing time zone."""
        return self.settings().today(self.now())

    def locked_connection_values(self) -> frozenset[str]:
        """The names of connection values that the environment sets."""
        return frozenset(n for n in (*SECRETS, *PLAIN) if getattr(self.config, n) is not None)

    def effective_config(self) -> Config:
        """The configuration with the connection values that were stored in the app.

        Raises WrongKeyError when a stored secret cannot be read.
        """
        values: dict[str, Any] = {}
        with self.session() as session:
            for row in session.scalars(sa.select(models.ConnectionValue)):
                if row.name in self.locked_connection_values():
                    continue
                secret = self.vault.open(row.name, row.value) if row.secret else None
                values[row.name] = row.value if secret is None else SecretStr(secret)
        return self.config.model_copy(update=values)

    def context(self, *, actor: str, trigger: str, progress: Progress = no_progress) -> SyncContext:
        """Both vendors and the database.

        Raises NotConfiguredError, HostNotAllowed or WrongKeyError.
        """
        config = self.effective_config()
        return SyncContext(
            engine=self.engine,
            sophos=sophos_client(config),
            connectwise=connectwise_client(config),
            actor=actor,
            trigger=trigger,
            now=self.now,
            sleep=time.sleep,
            locked=self.locked_settings(),
            progress=progress,
        )


def store_connection_values(
    installation: Installation, values: Mapping[str, str], *, actor: str
) -> None:
    """Keep connection values; an empty secret keeps the one that is stored.

    Secrets are encrypted and never read out again except to reach the vendor. What the
    environment sets is left alone.
    """
    locked = installation.locked_connection_values()
    with installation.session() as session, session.begin():
        for name, value in values.items():
            secret = name in SECRETS
            if name in locked or (secret and not value):
                continue
            row = session.get(models.ConnectionValue, name)
            before = None if row is None or secret else row.value
            stored = installation.vault.seal(name, value) if secret else value
            if row is None:
                row = models.ConnectionValue(name=name, secret=secret)
                session.add(row)
            elif not secret and row.value == value:
                continue
            row.value, row.updated_at = stored, installation.now()
            audit.record(
                session,
                at=installation.now(),
                actor=actor,
                action="connection.change",
                subject=name,
                before=None if secret else {"value": before},
                after={"value": "(secret)" if secret else value},
            )
