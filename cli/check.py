"""`check`: are both vendors reachable, with every right that is needed?"""

from __future__ import annotations

import dataclasses

import click
from flask.cli import with_appcontext

from cli.support import echo_json, installation, json_option, told_plainly
from services.connections import check_connections


@click.command("check")
@json_option
@with_appcontext
@told_plainly
def check(*, as_json: bool) -> None:
    """Test both connections and each right that is needed. Nothing is written."""
    lines = []
    here = installation()
    for line in check_connections(here.effective_config(), today=here.today()):
        lines.append(line)
        if not as_json:
            mark = "ok  " if line.ok else "FAIL"
            click.echo(f"{mark}  {line.vendor:<12} {line.name:<20} {line.message}")
            if line.advice:
                click.echo(f"      {line.advice}")
    good = all(line.ok for line in lines)
    if as_json:
        echo_json({"ok": good, "checks": [dataclasses.asdict(line) for line in lines]})
    if not good:
        raise SystemExit(1)
