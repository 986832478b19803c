"""The forms of the users page."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import HiddenField, PasswordField, RadioField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import EqualTo, InputRequired, Length, ValidationError

from models import Role
from services.people.passwords import LONGEST, weakness

_NEW = {"autocomplete": "new-password"}
ROLES = [
    SelectChoice(Role.VIEWER.value, "Viewer: sees everything but secrets, changes nothing"),
    SelectChoice(Role.OPERATOR.value, "Operator: maps, runs and approves"),
    SelectChoice(Role.ADMIN.value, "Administrator: also changes settings and users"),
]


def _good(form: _UserForm, field: PasswordField) -> None:
    reason = weakness(field.data or "", form.owner)
    if reason is not None:
        raise ValidationError(reason)


def _password(label: str = "Password") -> PasswordField:
    return PasswordField(label, [_good], render_kw=_NEW)


def _present() -> PasswordField:
    too_long = Length(max=LONGEST, message=f"A password has at most {LONGEST} characters.")
    return PasswordField(
        "Your present password",
        [InputRequired("Enter your present password."), too_long],
        render_kw={"autocomplete": "current-password"},
    )


def _again() -> PasswordField:
    return PasswordField(
        "The same password again",
        [EqualTo("password", "The two passwords are not the same.")],
        render_kw=_NEW,
    )


class _UserForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    refused = ""
    """Why it cannot be done, when that is no single field's fault."""
    owner = ""
    """Whose password it is, so that it is not the name."""


def _still(form: _UserForm, field: HiddenField) -> None:
    if field.data and field.data != field.object_data:
        form.refused = f"This form was for {field.data}, who is gone. Nothing was changed."
        raise ValidationError(form.refused)


class _SomebodyForm(_UserForm):
    whom = HiddenField(validators=[_still])
    """The name: a database may give the number of a user who is gone to the next one."""


class NewUserForm(_UserForm):
    """A new account."""

    @property
    def owner(self) -> str:  # type: ignore[override]
        return self.name.data or ""

    name = StringField(
        "Name",
        [InputRequired("Enter a name."), Length(max=150)],
        render_kw={"autocomplete": "off"},
    )
    role = RadioField("Role", choices=ROLES, default=Role.OPERATOR.value)
    password = _password()
    again = _again()


class RoleForm(_SomebodyForm):
    """Another role."""

    role = RadioField("Role", choices=ROLES)


class PasswordForm(_SomebodyForm):
    """A new password for somebody."""

    password = _password()
    again = _again()


class OwnPasswordForm(_UserForm):
    """A new password for oneself."""

    current = _present()
    password = _password("The new password")
    again = PasswordField(
        "The new password again",
        [EqualTo("password", "The two passwords are not the same.")],
        render_kw=_NEW,
    )


class DeleteForm(_SomebodyForm):
    """A confirmation; the button is the answer."""


class OwnerForm(_UserForm):
    """The owner's password, before something that a found browser must not do."""

    current = _present()
