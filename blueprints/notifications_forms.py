"""The forms of the notifications page."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, DateField, IntegerField, PasswordField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from blueprints.settings_forms import SettingsForm
from services.settings import AppSettings

_HOURS = "Enter a whole number of hours, from 1 to 1488, or nothing."


class NotificationsForm(SettingsForm):
    """What people are told."""

    run_failed = BooleanField("A run failed or was interrupted")
    held = BooleanField("Changes wait for a decision")
    unmapped = BooleanField("Usage of a product or a customer that is not mapped")
    no_good_run = BooleanField("No run has ended well for long, though runs are scheduled")
    credential = BooleanField("The Sophos credential is about to expire")
    backup = BooleanField("The daily backup cannot be made")
    lockouts = BooleanField("Somebody seems to guess passwords")
    no_good_run_hours = IntegerField(
        "Hours without a good run",
        [Optional(), NumberRange(1, 24 * 62, _HOURS)],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    sophos_credential_expires = DateField(
        "Sophos credential expires on", [Optional()], render_kw={"autocomplete": "off"}
    )

    KINDS = ("run_failed", "held", "unmapped", "no_good_run", "credential", "backup", "lockouts")
    NAMES = (*KINDS, "no_good_run_hours", "sophos_credential_expires")

    def values(self) -> dict[str, Any]:
        entered = self.entered(*self.NAMES)
        day = entered["sophos_credential_expires"]
        as_text = day.isoformat() if isinstance(day, dt.date) else None
        return {"notifications": {**entered, "sophos_credential_expires": as_text}}

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        return settings.notifications.model_dump()


class TargetForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """A new target. The address is a secret: it is never sent back to the browser."""

    refused = ""
    """Why it cannot be done, when that is no single field's fault."""

    name = StringField(
        "Name",
        [InputRequired("Enter a name."), Length(max=100)],
        render_kw={"autocomplete": "off"},
    )
    url = PasswordField(
        "Address",
        [InputRequired("Enter an address, like slack://..."), Length(max=2000)],
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )


class RemoveForm(FlaskForm):  # type: ignore[misc]
    """A confirmation; the button is the answer."""

    refused = ""
