"""The first administrator: made once, by whoever can read what the server says at its start."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import hmac
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from config import Config
from models import Role
from services.installation import Installation
from services.people import sign_in_events, throttle
from services.people.accounts import NAMES, AccountError, create_user
from services.people.sign_in_events import Way
from services.people.throttle import PER_ADDRESS, WINDOW, Limit, Of
from services.people.turns import take_turn

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Without the letters that look like others; twelve of these are 60 bits."""
GROUPS, GROUP = 3, 4
LIMITS = (Limit(10, WINDOW, Of.BOTH), Limit(200, WINDOW, Of.ACCOUNT), PER_ADDRESS)
"""Wrong codes from one address, and in all."""
FILE = "setup_code"
_GUESSED_AT = "set-up code"
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1", "U": "V", "-": "", " ": ""})

logger = logging.getLogger("tallybridge.setup")


class AlreadySetUpError(Exception):
    """There is an account already: the set-up code is worth nothing any more."""


def code_from(seed: bytes) -> str:
    """The code like `7K2M-Q0ZD-4XWN` that stands for eight random bytes."""
    number = int.from_bytes(seed)
    letters = [ALPHABET[(number >> 5 * at) % len(ALPHABET)] for at in range(GROUPS * GROUP)]
    text = "".join(letters)
    return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))


def nobody_yet(session: Session) -> bool:
    """Whether there is no account at all, so that nobody could sign in."""
    return session.scalar(sa.select(models.User.id).limit(1)) is None


# --- at the start of the server -----------------------------------------------------------------


def welcome(installation: Installation, code: str, address: str) -> str | None:
    """Make the first administrator from the environment, or let `code` be used for one.

    Logs the line that whoever started the server must see, and returns it: None when there is an
    account already, or when another worker has said it. An earlier start's code is worthless from
    now on. Where nobody signs in with a password there is none to be made.
    """
    if not installation.config.local_login:
        forget_code(installation.config)
        return None
    refused = _from_environment(installation)
    with installation.reading() as session:
        if not nobody_yet(session):
            forget_code(installation.config)
            return None
    if _stored(installation.config) == _digest(code):
        return None
    _store(installation.config, _digest(code))
    line = f"Set-up code: {code} (open {_page(installation.config, address)})"
    told = f"{refused} {line}" if refused else line
    logger.warning("%s", told)
    return told


def _from_environment(installation: Installation) -> str | None:
    """Make the administrator that the environment names; returns why it could not be made."""
    name, password = installation.config.admin_name, installation.config.admin_password
    if password is None:
        return None
    try:
        with installation.session() as session, session.begin():
            _claim(session)
            create_user(
                session,
                name=name,
                password=password.get_secret_value(),
                role=Role.ADMIN,
                actor="the environment",
                now=installation.now(),
            )
    except AlreadySetUpError:
        return None
    except AccountError as error:
        return f"TALLYBRIDGE_ADMIN_PASSWORD was not used: {error}"
    logger.warning("made the first administrator, %s, from the environment", name)
    return None


def _page(config: Config, address: str) -> str:
    """Where the page is, as far as the server can know."""
    if config.trusted_hosts:
        scheme = "https" if config.proxy_hops else "http"
        return f"{scheme}://{config.trusted_hosts[0].lstrip('.')}/set-up"
    if not address.startswith("http"):
        return "/set-up"
    return address.replace("//0.0.0.0", "//localhost").replace("//[::]", "//localhost") + "/set-up"


# --- the page -----------------------------------------------------------------------------------


def code_is_out(config: Config) -> bool:
    """Whether the server has said a code that can be entered."""
    return bool(_stored(config))


def check_code(
    open_session: Callable[[], Session],
    config: Config,
    *,
    code: str,
    address: str,
    now: dt.datetime,
) -> int | None:
    """The number of the attempt whose code was right; None for a wrong one.

    Counted before it is looked at, as passwords are. Raises ThrottledError.
    """
    with open_session() as session, session.begin():
        attempt = throttle.claim(session, _GUESSED_AT, address, LIMITS, now=now)
    if hmac.compare_digest(_stored(config) or "none", _digest(code)):
        return attempt.id
    sign_in_events.failed_alone(
        open_session, attempt, Way.SETUP_CODE, None, address=address, now=now
    )
    return None


def make_first_administrator(
    session: Session, attempt: int, *, name: str, password: str, now: dt.datetime
) -> models.User:
    """The administrator, for a code that was right.

    Of two at the same moment one makes the account, the other gets AlreadySetUpError. Raises
    AccountError too; the code stays good then.
    """
    _claim(session)
    throttle.succeeded(session, attempt)
    user = create_user(
        session, name=name, password=password, role=Role.ADMIN, actor="set-up", now=now
    )
    session.flush()
    return user


def forget_code(config: Config) -> None:
    """The code has done its work."""
    with contextlib.suppress(FileNotFoundError):
        (config.data_dir / FILE).unlink()


def _claim(session: Session) -> None:
    """Hold off everybody else who makes an account. Raises AlreadySetUpError."""
    take_turn(session, NAMES)
    if not nobody_yet(session):
        raise AlreadySetUpError


def _digest(code: str) -> str:
    """What is kept of a code, however it was typed."""
    return hashlib.sha256(code.upper().translate(_READ_AS).encode()).hexdigest()


def _stored(config: Config) -> str | None:
    try:
        return (config.data_dir / FILE).read_text(encoding="ascii").strip() or None
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _store(config: Config, digest: str) -> None:
    """The file is whole at every moment, and for us alone."""
    with tempfile.NamedTemporaryFile(
        "w", dir=config.data_dir, encoding="ascii", delete=False
    ) as whole:
        whole.write(digest)
    Path(whole.name).replace(config.data_dir / FILE)
