"""Forms, and what they share."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from services.people.passwords import LONGEST


class SignInForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """Name and password."""

    name = StringField(
        "Name",
        [InputRequired("Enter your name."), Length(max=150)],
        render_kw={"autocomplete": "username"},
    )
    password = PasswordField(
        "Password",
        [
            InputRequired("Enter your password."),
            Length(max=LONGEST, message=f"A password has at most {LONGEST} characters."),
        ],
        render_kw={"autocomplete": "current-password"},
    )


class CodeForm(FlaskForm):  # type: ignore[misc]
    """The one-time code, or a recovery code."""

    code = StringField(
        "Code",
        [InputRequired("Enter a code."), Length(max=40)],
        render_kw={
            "autocomplete": "one-time-code",
            "spellcheck": "false",
            "autocapitalize": "none",
        },
    )
