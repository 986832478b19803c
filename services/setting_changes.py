"""Changing settings on a page: checked, nobody's change overwritten unseen, recorded."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy.orm import Session

from services import audit
from services.settings import AppSettings, check_settings, load_settings, store_settings


class ChangedMeanwhileError(Exception):
    """Somebody else changed the same settings since the page was shown. Nothing was changed."""


def fingerprint(settings: AppSettings, names: Collection[str]) -> str:
    """What stands for the present values of these settings."""
    values = {n: v for n, v in settings.model_dump(mode="json").items() if n in names}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def change_settings(
    session: Session,
    values: Mapping[str, Any],
    *,
    seen: str,
    actor: str,
    now: dt.datetime,
) -> list[str]:
    """Put `values` over the stored settings; returns the names of those that changed.

    `seen` is the fingerprint of the values that the person had before their eyes. Raises
    SettingsError or ChangedMeanwhileError; nothing was changed then.
    """
    before = load_settings(session)
    if seen != fingerprint(before, values.keys()):
        raise ChangedMeanwhileError
    after = check_settings(values, before)
    store_settings(session, after)
    return _record(session, before, after, actor=actor, now=now)


def _record(
    session: Session, before: AppSettings, after: AppSettings, *, actor: str, now: dt.datetime
) -> list[str]:
    was, is_now = before.model_dump(mode="json"), after.model_dump(mode="json")
    changed = [name for name in is_now if was[name] != is_now[name]]
    if changed:
        audit.record(
            session,
            at=now,
            actor=actor,
            action="settings.change",
            subject=", ".join(changed),
            before={name: was[name] for name in changed},
            after={name: is_now[name] for name in changed},
        )
    return changed
