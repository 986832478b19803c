"""`users create`, and help for those who are locked out."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from flask.cli import AppGroup
from sqlalchemy.orm import Session

from cli.support import actor, echo_json, engine, json_option, now, told_plainly
from models import Role
from services.people import second_factor
from services.people.accounts import create_user
from services.people.users import named, set_password

users = AppGroup("users", help="People who may sign in.")


password_option = click.option(
    "--password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file whose first line is the password; without it you are asked, or, where there "
    "is no terminal, the first line of standard input is taken.",
)


@users.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True)
@password_option
@json_option
@told_plainly
def create(name: str, role: str, password_file: Path | None, *, as_json: bool) -> None:
    """Make the account NAME."""
    password = _password(password_file)
    with Session(engine()) as session, session.begin():
        create_user(
            session, name=name, password=password, role=Role(role), actor=actor(), now=now()
        )
    if as_json:
        echo_json({"user": name, "role": role})
    else:
        click.echo(f"Made the {role} {name}.")


@users.command("reset-password")
@click.argument("name")
@password_option
@json_option
@told_plainly
def reset_password(name: str, password_file: Path | None, *, as_json: bool) -> None:
    """Give NAME a new password; all sessions of NAME end. A second factor stays."""
    password = _password(password_file)
    with Session(engine()) as session, session.begin():
        user = named(session, name)
        set_password(session, user.id, password, actor=actor(), now=now())
        found, stays = user.name, user.totp_since is not None
    if as_json:
        echo_json({"user": found, "second_factor": stays})
    else:
        more = " The second factor stays on." if stays else ""
        click.echo(f"{found} has a new password; all sessions are ended.{more}")


@users.command("remove-second-factor")
@click.argument("name")
@json_option
@told_plainly
def remove_second_factor(name: str, *, as_json: bool) -> None:
    """Let NAME sign in with the password alone; all sessions of NAME end."""
    with Session(engine()) as session, session.begin():
        user = named(session, name)
        second_factor.remove(session, user, actor=actor(), now=now())
        found = user.name
    if as_json:
        echo_json({"user": found, "second_factor": False})
    else:
        click.echo(f"{found} signs in with the password alone now; all sessions are ended.")


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _password(file: Path | None) -> str:
    if file is None and _at_a_terminal():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    where = file or "Standard input"
    try:
        text = file.read_text(encoding="utf-8") if file else sys.stdin.readline()
        text.encode()  # what was no text may have come in under a false flag
    except (OSError, UnicodeError):
        raise click.UsageError(f"{where} cannot be read as text. Nothing was changed.") from None
    if file is None and not text:
        raise click.UsageError(
            "There is no password on standard input. Nothing was changed; give one as its first "
            "line, or name a file with --password-file."
        )
    return (text.splitlines() or [""])[0]
