"""The forms of the users page."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, RadioField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length

from models import Role
from services.accounts import MIN_PASSWORD

_TOO_SHORT = f"The password must have at least {MIN_PASSWORD} characters."
_NEW = {"autocomplete": "new-password"}
ROLES = [
    SelectChoice(Role.VIEWER.value, "Viewer: sees everything but secrets, changes nothing"),
    SelectChoice(Role.OPERATOR.value, "Operator: maps, runs and approves"),
    SelectChoice(Role.ADMIN.value, "Administrator: also changes settings and users"),
]


def _password() -> PasswordField:
    return PasswordField("Password", [Length(MIN_PASSWORD, 200, _TOO_SHORT)], render_kw=_NEW)


def _again() -> PasswordField:
    return PasswordField(
        "The same password again",
        [EqualTo("password", "The two passwords are not the same.")],
        render_kw=_NEW,
    )


class _UserForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    refused = ""
    """Why it cannot be done, when that is no single field's fault."""


class NewUserForm(_UserForm):
    """A new account."""

    name = StringField(
        "Name",
        [InputRequired("Enter a name."), Length(max=150)],
        render_kw={"autocomplete": "off"},
    )
    role = RadioField("Role", choices=ROLES, default=Role.OPERATOR.value)
    password = _password()
    again = _again()


class RoleForm(_UserForm):
    """Another role."""

    role = RadioField("Role", choices=ROLES)


class PasswordForm(_UserForm):
    """A new password for somebody."""

    password = _password()
    again = _again()


class OwnPasswordForm(_UserForm):
    """A new password for oneself."""

    current = PasswordField(
        "Your present password",
        [InputRequired("Enter your present password.")],
        render_kw={"autocomplete": "current-password"},
    )
    password = PasswordField(
        "The new password", [Length(MIN_PASSWORD, 200, _TOO_SHORT)], render_kw=_NEW
    )
    again = PasswordField(
        "The new password again",
        [EqualTo("password", "The two passwords are not the same.")],
        render_kw=_NEW,
    )


class DeleteForm(_UserForm):
    """A confirmation; the button is the answer."""
