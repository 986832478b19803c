"""`reconcile`: what Sophos reports beside what ConnectWise bills. Nothing is written to either."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click
from flask.cli import with_appcontext
from rich import box
from rich.console import Console
from rich.table import Table

from cli.output import plain
from cli.support import MonthType, echo_json, fail, json_option, sync_context, told_plainly
from services.formats.json_documents import reconciliation as document
from services.runs import reconciliation, sync_runs
from services.runs.documents import failed, load_run
from services.runs.reconciliation import Line
from services.runs.reconciliation_pages import COMPARING, VERDICTS, View, ordered, totals, why
from services.sync.model import Month
from services.sync.reconcile import Side
from services.sync.words import number, seats

_PIPE_WIDTH = 160


@click.command("reconcile")
@click.option("--month", type=MonthType(), help="The billing month; default: the newest reported.")
@json_option
@with_appcontext
@told_plainly
def reconcile(month: Month | None, *, as_json: bool) -> None:
    """Compare usage with what is billed, whether or not its sync is on."""
    context = sync_context(COMPARING, quiet=as_json)
    result = sync_runs.preview(context, month, whole=True)
    for note in result.notes:
        click.echo(note, err=True)
    with context.session() as session:
        run = load_run(session, result.run_id)
        comparison = None if failed(run) else reconciliation.newest(session, run.month)
        if comparison is None:
            fail(run.message or "Nothing was compared.", as_json=as_json)
        if as_json:
            echo_json(document(session, month=run.month, show="all", page=1, size=sys.maxsize))
        else:
            _print(comparison.month, reconciliation.lines(session, comparison))


def _print(month: str, lines: list[Line]) -> None:
    """The differences, the dearest first, then what they add up to."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    console.print(plain(f"{month}: Sophos beside ConnectWise"), style="bold")
    different = ordered(lines, View())
    if different:
        console.print(_table(different))
    found = totals(lines)
    console.print(plain(f"Not billed: {_side(found.not_billed)}"))
    console.print(plain(f"Overbilled: {_side(found.overbilled)}"))
    console.print(plain(f"{found.agree} of {found.agree + found.differ} lines agree."))


def _table(lines: Iterable[Line]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Customer", overflow="fold")
    table.add_column("Product", overflow="fold")
    for name in ("Sophos", "ConnectWise", "Money"):
        table.add_column(name, justify="right")
    table.add_column("Why", overflow="fold", ratio=2)
    for line in lines:
        money = "no price" if line.money is None else f"{line.money:+,.2f}"
        table.add_row(
            plain(line.customer or f"no customer, serial {line.serial}"),
            plain(line.item or line.codes),
            number(line.sophos),
            number(line.connectwise),
            money,
            plain(f"{VERDICTS[line.verdict][1]}. {why(line)}"),
        )
    return table


def _side(side: Side) -> str:
    if not side.rows:
        return "nothing"
    unknown = f"; the price of {seats(side.unpriced_seats)} is not known" if side.unpriced else ""
    noun = "line" if side.rows == 1 else "lines"
    return (
        f"{side.money:,.2f} per billing cycle, {seats(side.seats)} in {side.rows} {noun}{unknown}"
    )
