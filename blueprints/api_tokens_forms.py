"""The forms of the page API tokens."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import RadioField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from models import Role, TokenScope
from services.people.api_tokens import LIFETIMES, allowed_scopes

_SCOPES = {
    TokenScope.READ: "Read: plans, runs, findings and mappings",
    TokenScope.SYNC: "Read and sync: also start, approve and undo runs, and change mappings",
}


class NewTokenForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """A new token; what it may do depends on the role of its owner."""

    refused = ""
    """Why it cannot be done, when that is no single field's fault."""

    name = StringField(
        "Name",
        [InputRequired("Enter a name."), Length(max=100)],
        render_kw={"autocomplete": "off", "maxlength": 100},
    )
    scope = RadioField("What it may do", default=TokenScope.READ.value)
    days = RadioField(
        "How long it lives",
        choices=[SelectChoice(str(days), f"{days} days") for days in LIFETIMES],
        default="90",
    )

    def __init__(self, role: Role) -> None:
        super().__init__()
        scopes = allowed_scopes(role)
        self.scope.choices = [SelectChoice(scope.value, _SCOPES[scope]) for scope in scopes]


class RevokeForm(FlaskForm):  # type: ignore[misc]
    """A confirmation; the button is the answer."""

    refused = ""
