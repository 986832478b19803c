"""What every command needs: the database ready, the vendors at hand, and errors in one line."""

from __future__ import annotations

import datetime as dt
import functools
import getpass
import json
import logging
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TypeVar

import click
from flask import current_app
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from cli.progress import progress_bar
from services import damage
from services.clients.errors import VendorError
from services.connections import NotConfiguredError
from services.context import SyncContext
from services.database import DatabaseUnusableError
from services.formats.lined_yaml import ConfigFileError
from services.installation import Installation
from services.people.accounts import AccountError
from services.runs.sync_runs import RunRefusedError
from services.secrets import WrongKeyError
from services.sync.model import Month
from services.upkeep.backup import BackupError
from services.upkeep.start import bring_up

P = ParamSpec("P")
R = TypeVar("R")

_EXPECTED = (
    NotConfiguredError,
    WrongKeyError,
    DatabaseUnusableError,
    RunRefusedError,
    AccountError,
    BackupError,
)


class MonthType(click.ParamType[Month]):
    """A month on the command line; anything else is bad usage."""

    name = "YYYY-MM"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Month:
        try:
            return value if isinstance(value, Month) else Month.parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)


def told_plainly(command: Callable[P, R]) -> Callable[P, R]:
    """Turn every failure into one clear line on standard error and exit code 1."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        as_json = bool(kwargs.get("as_json"))
        try:
            return command(*args, **kwargs)
        except _EXPECTED as error:
            fail(str(error), as_json=as_json)
        except VendorError as error:
            fail(_unchanged(error), as_json=as_json)
        except ConfigFileError as error:
            fail_with_problems(error, as_json=as_json)
        except SQLAlchemyError as error:
            logging.getLogger("tallybridge").debug("database", exc_info=error)
            fail(_database_failed(error), as_json=as_json)

    return wrapper


def _unchanged(error: VendorError) -> str:
    """Only what happens before or without a run comes here: the end of a run is told with it."""
    said = error.user_message
    if "Nothing was" not in said:
        said = f"{said} Nothing was changed."
    return f"{said} [{error.request_id}]" if error.request_id else said


def _database_failed(error: SQLAlchemyError) -> str:
    here: Installation = current_app.extensions["tallybridge"]
    return damage.unusable(here.engine, error)


def fail(message: str, *, as_json: bool) -> NoReturn:
    """Say what happened and end with exit code 1."""
    click.echo(f"Error: {message}", err=True)
    if as_json:
        echo_json({"error": message})
    raise SystemExit(1)


def fail_with_problems(error: ConfigFileError, *, as_json: bool) -> NoReturn:
    """Say everything that is wrong in a configuration file, with its lines."""
    for problem in error.problems:
        click.echo(f"line {problem.line}: {problem.message}", err=True)
    click.echo("Error: Nothing was changed; correct the file and import it again.", err=True)
    if as_json:
        problems = [{"line": p.line, "message": p.message} for p in error.problems]
        echo_json({"error": "Nothing was changed.", "problems": problems})
    raise SystemExit(1)


def echo_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))


def installation(*, upgraded: bool = True) -> Installation:
    """The installation that this command is for, its database at this version's schema."""
    found: Installation = current_app.extensions["tallybridge"]
    if upgraded:
        bring_up(found)
    return found


def engine() -> Engine:
    """The database, at this version's schema."""
    return installation().engine


def now() -> dt.datetime:
    """The present instant."""
    return dt.datetime.now(dt.UTC)


def actor() -> str:
    """Who is at the command line."""
    try:
        return f"command line ({getpass.getuser()})"
    except (KeyError, OSError):  # a container may run as a user id without a name
        return "command line"


def sync_context(trigger: str, *, quiet: bool = False) -> SyncContext:
    """Both vendors and the database, for one command."""
    return installation().context(
        actor=actor(), trigger=trigger, progress=progress_bar(quiet=quiet)
    )
