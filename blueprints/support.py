"""What every page needs: the installation, the database, and who is asking."""

from __future__ import annotations

from flask import current_app
from flask_login import current_user
from sqlalchemy.orm import Session

from models import User
from services.installation import Installation


def installation() -> Installation:
    """The installation that this app serves."""
    found: Installation = current_app.extensions["tallybridge"]
    return found


def reading() -> Session:
    """A session for showing a page."""
    return installation().reading()


def writing() -> Session:
    """A session for one change, to be begun by the caller."""
    return installation().session()


class SignedOutError(Exception):
    """Whoever asks was deleted since their session was looked at."""


def me(session: Session) -> User:
    """The account of who is signed in. Raises SignedOutError, which leads to the sign-in page."""
    found = session.get(User, user_id())
    if found is None:
        raise SignedOutError
    return found


def actor() -> str:
    """The name under which the audit records what this request does."""
    return str(current_user.name)


def user_id() -> int:
    """The id of the person who is signed in."""
    return int(current_user.id)
