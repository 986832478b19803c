"""`backup` and `restore`."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import with_appcontext

from cli.support import echo_json, engine, json_option, now, told_plainly
from services import backup as backups


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
@json_option
@with_appcontext
@told_plainly
def restore(file: Path, *, as_json: bool) -> None:
    """Replace everything in the database by the backup FILE."""
    rows = backups.restore(engine(), file)
    _tell(f"Restored {rows} rows from {file}.", rows, as_json=as_json)


def _tell(message: str, rows: int, *, as_json: bool) -> None:
    if as_json:
        echo_json({"rows": rows})
    else:
        click.echo(message)
