"""`sandbox`: both vendors, simulated, on loopback."""

from __future__ import annotations

import click


@click.command(
    "sandbox",
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sandbox(arguments: tuple[str, ...]) -> None:
    """Serve Sophos and ConnectWise, simulated, on loopback; `sandbox --help` shows the options."""
    from sandbox.__main__ import main

    raise SystemExit(main(arguments))
