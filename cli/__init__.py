"""The command line: everything the app does, without the web page."""

from __future__ import annotations

from flask import Flask

from cli import check, configuration, data, demo_sandbox, reconcile, sync, users


def register(app: Flask) -> None:
    """Add our commands to `flask --app app`."""
    for command in (
        check.check,
        configuration.config,
        sync.sync,
        reconcile.reconcile,
        users.users,
        data.backup,
        data.restore,
        data.keys,
        demo_sandbox.sandbox,
    ):
        app.cli.add_command(command)
