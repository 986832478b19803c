"""What services work with: both vendors simulated, real clients, no waiting."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import Engine

from config import Config, load_config
from sandbox import Options, Sandbox
from services.connections import connectwise_client, sophos_client
from services.context import SyncContext
from services.formats.config_file import read_config
from services.formats.config_import import import_config


def options(**changes: Any) -> Options:
    """Six customers, on the day of the fixture `now`."""
    limits: dict[str, Any] = {"sophos_limits": (), "connectwise_rate_per_minute": 100_000}
    fixed = {"tenants": 6, "products": 8, "catalog": 60, "today": dt.date(2026, 11, 22)}
    return Options(**{**fixed, **limits, **changes})


def config_of(sandbox: Sandbox) -> Config:
    return load_config(sandbox.env())


def context_for(engine: Engine, sandbox: Sandbox, now: dt.datetime) -> SyncContext:
    """A context whose clock stands still and which never waits."""
    config = config_of(sandbox)
    return SyncContext(
        engine=engine,
        sophos=sophos_client(config),
        connectwise=connectwise_client(config),
        actor="anna",
        trigger="test",
        now=lambda: now,
        sleep=lambda _seconds: None,
        settle_seconds=(0,),
    )


def take_over(context: SyncContext, document: dict[str, Any], file: Path) -> list[str]:
    """Import a document as the command line does."""
    file.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return import_config(context, read_config(file, context.settings()), dry_run=False)
