"""The backups that Tallybridge makes by itself, in a folder of the data directory."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlalchemy.engine import Engine

from services.upkeep.backup import BackupError, backup


class Kind(StrEnum):
    """Why a backup was made; each kind is counted and removed on its own."""

    DAILY = "daily"
    UPGRADE = "before-upgrade"
    RESTORE = "before-restore"


KEPT = 5
"""How many backups of a kind are kept unless somebody says otherwise."""
_NAME = re.compile(r"tallybridge-(?P<kind>[a-z-]+)-schema(?P<schema>\w+)-(?P<at>\d{8}T\d{6}Z)\.zip")
_UPLOAD = re.compile(r"upload-[0-9a-f]{16}\.zip")
_UPLOAD_KEPT = dt.timedelta(hours=2)
_UNDECIDED = ("upload-*.zip", ".tallybridge-*.zip.*", ".upload-*.zip.*")
"""Uploads, and what a process that was killed had only begun to write."""
_INSTANT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Kept:
    """One backup in the folder."""

    file: Path
    kind: Kind
    schema: str
    at: dt.datetime
    size: int


def automatic(
    engine: Engine, folder: Path, kind: Kind, *, schema: str, now: dt.datetime, keep: int = KEPT
) -> Path:
    """Make a backup in the folder and remove the oldest of its kind. Raises BackupError."""
    target = place(folder, kind, schema, now=now)
    backup(engine, target, now=now)
    prune(folder, kind, keep=keep, now=now)
    return target


def place(folder: Path, kind: Kind, schema: str, *, now: dt.datetime) -> Path:
    """Where a backup of this kind is to be written; makes the folder. Raises BackupError."""
    ready(folder)
    return (
        folder / f"tallybridge-{kind.value}-schema{schema}-{now.astimezone(dt.UTC):{_INSTANT}}.zip"
    )


def ready(folder: Path) -> None:
    """Make the folder, for its owner's eyes only. Raises BackupError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(f"{folder} cannot be made: {error.strerror}.") from None


def kept(folder: Path) -> list[Kept]:
    """The backups in the folder, the newest first; none where there is no folder."""
    found = []
    for file in folder.glob("tallybridge-*.zip"):
        name = _NAME.fullmatch(file.name)
        if name is None or name["kind"] not in set(Kind) or not file.is_file():
            continue
        at = _instant(name["at"])
        if at is None:
            continue
        found.append(Kept(file, Kind(name["kind"]), name["schema"], at, file.stat().st_size))
    return sorted(found, key=lambda each: (each.at, each.file.name), reverse=True)


def _instant(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.strptime(text, _INSTANT).replace(tzinfo=dt.UTC)
    except ValueError:
        return None  # a name of somebody else's making


def prune(folder: Path, kind: Kind, *, keep: int, now: dt.datetime) -> list[Path]:
    """Remove all but the newest of a kind; returns those that were removed.

    Those that a wrong clock dated into the future go first: they must not crowd out new ones.
    """
    found = [each for each in kept(folder) if each.kind is kind]
    found.sort(key=lambda each: each.at <= now, reverse=True)
    old = [each.file for each in found][keep:]
    for file in old:
        file.unlink(missing_ok=True)
    return old


def named(folder: Path, name: str) -> Path | None:
    """The backup, or the uploaded file, of this name; None for every other file."""
    if not _NAME.fullmatch(name) and not _UPLOAD.fullmatch(name):
        return None
    file = folder / name
    return file if file.is_file() and not file.is_symlink() else None


def is_upload(file: Path) -> bool:
    """Whether it was sent by a browser, and stays only until it is decided about."""
    return _UPLOAD.fullmatch(file.name) is not None


def upload_place(folder: Path, *, now: dt.datetime) -> Path:
    """Where to put an uploaded file. Those that nobody decided about for hours are removed."""
    ready(folder)
    forget_uploads(folder, now=now)
    return folder / f"upload-{secrets.token_hex(8)}.zip"


def forget_uploads(folder: Path, *, now: dt.datetime) -> None:
    """Remove uploaded files that nobody decided about, and what was never written to its end."""
    for file in [each for pattern in _UNDECIDED for each in folder.glob(pattern)]:
        with suppress(FileNotFoundError):  # another process was faster
            if abs(now.timestamp() - file.stat().st_mtime) > _UPLOAD_KEPT.total_seconds():
                file.unlink()
