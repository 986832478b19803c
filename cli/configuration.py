"""`config export` and `config import`."""

from __future__ import annotations

from pathlib import Path

import click
from flask.cli import AppGroup
from sqlalchemy.orm import Session

from cli.support import echo_json, engine, fail, json_option, sync_context, told_plainly
from services.formats.config_file import export_config, read_config
from services.formats.config_import import import_config
from services.settings import load_settings

config = AppGroup("config", help="Mappings and settings as one YAML file, without secrets.")


@config.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@json_option
@told_plainly
def export_(file: Path, *, as_json: bool) -> None:
    """Write product mappings, tenant mappings and settings to FILE."""
    with Session(engine()) as session:
        text = export_config(session)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.", as_json=as_json)
    if as_json:
        echo_json({"file": str(file)})
    else:
        click.echo(f"Exported to {file}.")


@config.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@json_option
@told_plainly
def import_(file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Take FILE over: all of it, or nothing when anything in it is wrong."""
    context = sync_context("import", quiet=as_json)
    with context.session() as session:
        stored = load_settings(session)  # not those in force: the environment's are not kept
    changes = import_config(context, read_config(file, stored), dry_run=dry_run)
    if as_json:
        echo_json({"dry_run": dry_run, "changes": changes})
        return
    for change in changes:
        click.echo(change)
    done = "would change; nothing was kept" if dry_run else "changed"
    click.echo(f"{len(changes)} {'entry' if len(changes) == 1 else 'entries'} {done}.")
