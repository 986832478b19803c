"""`sync plan`, `sync run`, `sync approve`, `sync undo`."""

from __future__ import annotations

import click
from flask.cli import AppGroup

from cli.output import print_run
from cli.support import MonthType, echo_json, json_option, sync_context, told_plainly
from services.context import SyncContext
from services.runs import sync_runs
from services.runs.documents import failed, load_run, run_document
from services.runs.sync_runs import RunResult
from services.sync.model import Month

sync = AppGroup("sync", help="Plan, apply, approve and undo.")

month_option = click.option(
    "--month", type=MonthType(), help="The billing month; default: the newest one reported."
)


@sync.command("plan")
@month_option
@json_option
@told_plainly
def plan(month: Month | None, *, as_json: bool) -> None:
    """Show what a run would change. Nothing is written to either vendor."""
    context = sync_context("preview", quiet=as_json)
    _tell(context, sync_runs.preview(context, month), as_json=as_json)


@sync.command("run")
@month_option
@click.option(
    "--approve",
    type=click.Choice(["all", "none"]),
    default="none",
    show_default=True,
    help="What to do with changes that are held for a person.",
)
@json_option
@told_plainly
def run(month: Month | None, approve: str, *, as_json: bool) -> None:
    """Plan a month and write what is not held to ConnectWise."""
    context = sync_context("command line", quiet=as_json)
    result = sync_runs.run(context, month, approve_all=approve == "all")
    _tell(context, result, as_json=as_json)


@sync.command("approve")
@click.argument("run_id", metavar="RUN", type=int)
@click.option("--change", "change_ids", metavar="ID", type=int, multiple=True)
@click.option("--all", "everything", is_flag=True, help="Approve every held change of the run.")
@json_option
@told_plainly
def approve(run_id: int, change_ids: tuple[int, ...], *, everything: bool, as_json: bool) -> None:
    """Apply held changes of a run, as they were reviewed."""
    if everything == bool(change_ids):
        raise click.UsageError("Name changes with --change ID, or take all with --all.")
    context = sync_context("approval", quiet=as_json)
    chosen = None if everything else frozenset(change_ids)
    _tell(context, sync_runs.approve(context, run_id, chosen), as_json=as_json)


@sync.command("undo")
@click.argument("run_id", metavar="RUN", type=int)
@json_option
@told_plainly
def undo(run_id: int, *, as_json: bool) -> None:
    """Put back what stood before a run, as far as that is possible."""
    context = sync_context("undo", quiet=as_json)
    _tell(context, sync_runs.undo(context, run_id), as_json=as_json)


def _tell(context: SyncContext, result: RunResult, *, as_json: bool) -> None:
    for note in result.notes:
        click.echo(note, err=True)
    with context.session() as session:
        stored = load_run(session, result.run_id)
        if as_json:
            echo_json(run_document(stored))
        else:
            print_run(session, stored)
        if stored.message:
            click.echo(stored.message, err=True)
        if failed(stored):
            raise SystemExit(1)
