"""`backup`, `restore` and `keys`."""

from __future__ import annotations

import functools
from pathlib import Path

import click
from flask.cli import AppGroup, with_appcontext

from cli.support import actor, echo_json, engine, fail, installation, json_option, now, told_plainly
from services.upkeep import backup as backups
from services.upkeep import keys as stored_keys
from services.upkeep.backup_files import KEPT, Kind, place, prune


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@with_appcontext
@told_plainly
def backup(file: Path, *, as_json: bool) -> None:
    """Write everything in the database to FILE, consistent even while others write."""
    rows = backups.backup(engine(), file, now=now())
    _tell(f"Backed up {rows} rows to {file}.", rows, as_json=as_json)


@click.command("restore")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--unsaved", is_flag=True, help="Do not save what is in the database now to a file first."
)
@json_option
@with_appcontext
@told_plainly
def restore(file: Path, *, unsaved: bool, as_json: bool) -> None:
    """Replace everything in the database by the backup FILE."""
    # Not upgraded first: a database that cannot be used may be just what is to be replaced.
    here = installation(upgraded=False)
    safety = functools.partial(place, here.backups, Kind.RESTORE, now=now())
    done = backups.restore(
        here.engine, file, now=now(), actor=actor(), safety=None if unsaved else safety
    )
    prune(here.backups, Kind.RESTORE, keep=KEPT, now=now())
    _tell(f"Restored {done.rows} rows from {file}.", done.rows, as_json=as_json)
    for note in _notes(done, stored_keys.lost_names(here)):
        click.echo(note, err=as_json)


def _notes(done: backups.Restored, lost: list[str]) -> list[str]:
    notes = []
    if done.damaged:
        notes.append(f"The damaged database was kept as {done.damaged}.")
    if done.safety:
        notes.append(f"What was there before was saved as {done.safety}.")
    if lost:
        notes.append(
            f"{len(lost)} stored secrets cannot be read with the encryption key of this "
            "installation: set TALLYBRIDGE_ENCRYPTION_KEY to that of then, or use `keys forget`."
        )
    return notes


def _tell(message: str, rows: int, *, as_json: bool) -> None:
    if as_json:
        echo_json({"rows": rows})
    else:
        click.echo(message)


# --- keys ---------------------------------------------------------------------------------------

keys = AppGroup("keys", help="The keys that stored secrets are encrypted with.")


@keys.command("new")
@told_plainly
def new() -> None:
    """Print a new key, for TALLYBRIDGE_ENCRYPTION_KEY; nothing is stored."""
    click.echo(stored_keys.new_key())


@keys.command("rotate")
@json_option
@told_plainly
def rotate(*, as_json: bool) -> None:
    """Encrypt every stored secret with the newest key: all of them, or none."""
    done = stored_keys.rotate(installation(), actor=actor())
    if as_json:
        echo_json({"rotated": done.changed, "already": done.already})
        return
    click.echo(
        f"{done.changed} stored secrets were encrypted with the newest key, {done.already} were "
        "already. Older keys are no longer needed here; older backups still need them."
    )


@keys.command("forget")
@click.option("--yes", is_flag=True, help="Really remove them.")
@json_option
@told_plainly
def forget(*, yes: bool, as_json: bool) -> None:
    """Remove the stored secrets that no key can read, so that they can be entered anew."""
    here = installation()
    lost = stored_keys.lost_names(here)
    if lost and not yes:
        fail(
            f"This would remove for good: {', '.join(lost)}. Nothing was changed; add --yes to "
            "do it.",
            as_json=as_json,
        )
    removed = stored_keys.forget(here, actor=actor()) if lost else []
    if as_json:
        echo_json({"removed": removed})
    else:
        click.echo(f"Removed: {', '.join(removed)}." if removed else "Every secret can be read.")
