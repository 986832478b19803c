"""`backup` and `restore`."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import with_appcontext

from cli.support import echo_json, engine, installation, json_option, now, told_plainly
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
    # Not upgraded first: a database that cannot be used may be just what is to be replaced.
    done = backups.restore(installation(upgraded=False).engine, file, now=now())
    kept = f" The damaged database was kept as {done.damaged}." if done.damaged else ""
    _tell(f"Restored {done.rows} rows from {file}.{kept}", done.rows, as_json=as_json)
    if as_json and kept:
        click.echo(kept.strip(), err=True)


def _tell(message: str, rows: int, *, as_json: bool) -> None:
    if as_json:
        echo_json({"rows": rows})
    else:
        click.echo(message)
