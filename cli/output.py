"""A run for human eyes: grouped by customer, before -> after, and why."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal

import sqlalchemy as sa
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy.orm import Session

import models
from models import ChangeState
from services.runs.documents import why
from services.sync.model import ChangeKind
from services.sync.words import number

_STYLES = {
    ChangeState.HELD: "yellow",
    ChangeState.FAILED: "red",
    ChangeState.UNCLEAR: "red",
    ChangeState.APPLYING: "red",
    ChangeState.SKIPPED: "dim",
    ChangeState.APPLIED: "green",
}
_PIPE_WIDTH = 160
_NAME_WIDTH = 60


def print_run(session: Session, run: models.SyncRun) -> None:
    """Print changes by customer, then findings with their advice, then a summary line."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    title = f"Run {run.id}, {run.month or 'no month'}: {run.state.value}"
    console.print(plain(title), style="bold")
    if run.changes:
        console.print(_changes(run.changes, _names(session), _items(session)))
    if run.findings:
        console.print(_findings(run.findings))
    console.print(_summary(run))


def plain(text: str) -> Text:
    """Vendor text without mark-up and without control characters, at its own width."""
    return Text("".join(" " if unicodedata.category(c).startswith("C") else c for c in text))


def _changes(
    changes: Iterable[models.Change], names: Mapping[str, str], items: Mapping[int, str]
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("Customer and product", overflow="fold")
    table.add_column("What")
    table.add_column("Before", justify="right")
    table.add_column("")
    table.add_column("After", justify="right")
    table.add_column("State")
    table.add_column("Id", justify="right", style="dim")
    table.add_column("Why", overflow="fold", ratio=1)
    shown = None
    for change in sorted(changes, key=lambda c: (_customer(c, names).casefold(), c.id)):
        customer = _customer(change, names)
        if customer != shown:
            table.add_row(Text.assemble((plain(customer[:_NAME_WIDTH]).plain, "bold")))
            shown = customer
        table.add_row(
            Text("  ") + plain(_item(change, items)),
            change.kind.value.replace("_", " "),
            *_numbers(change),
            Text(change.state.value, style=_STYLES.get(change.state, "")),
            str(change.id),
            plain(f"{why(change)}. {change.error}" if change.error else why(change)),
        )
    return table


def _numbers(change: models.Change) -> tuple[str, str, str]:
    if change.kind is ChangeKind.CREATE_PRODUCT:
        return "", "", ""
    return "-" if change.before is None else number(change.before), "->", number(change.after)


def _customer(change: models.Change, names: Mapping[str, str]) -> str:
    if change.tenant_id is None:
        return "(products)"
    return names.get(change.tenant_id, change.tenant_id)


def _item(change: models.Change, items: Mapping[int, str]) -> str:
    known = items.get(change.catalog_item_id or 0)
    return change.new_identifier or known or f"#{change.catalog_item_id}"


def _findings(findings: Iterable[models.Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="To look at", title_justify="left")
    table.add_column("Finding")
    table.add_column("What", overflow="fold", ratio=3)
    table.add_column("What to do", overflow="fold", ratio=2)
    for finding in findings:
        table.add_row(
            finding.kind.value.replace("_", " "), plain(finding.message), plain(finding.advice)
        )
    return table


def _summary(run: models.SyncRun) -> Text:
    states = Counter(change.state.value for change in run.changes)
    counts = ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "nothing to change"
    money = sum((_money(change) for change in run.changes), Decimal(0))
    return plain(
        f"{counts}; {len(run.findings)} to look at; {money:+.2f} per billing cycle where a price "
        f"is known; calls: Sophos {run.sophos_calls}, ConnectWise {run.connectwise_calls}"
    )


def _money(change: models.Change) -> Decimal:
    if change.unit_price is None or change.after is None:
        return Decimal(0)
    return (change.after - (change.before or Decimal(0))) * change.unit_price


def _names(session: Session) -> dict[str, str]:
    rows = sa.select(models.TenantMapping.tenant_id, models.TenantMapping.tenant_name)
    return dict(session.execute(rows).all())


def _items(session: Session) -> dict[int, str]:
    rows = sa.select(
        models.ProductMapping.catalog_item_id, models.ProductMapping.catalog_item_identifier
    )
    return {i: name for i, name in session.execute(rows) if i is not None and name}
