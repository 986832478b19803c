"""What the pages of the set-up read from a form."""

from __future__ import annotations

from flask import request
from wtforms import StringField
from wtforms.validators import InputRequired, Length

from blueprints.tenant_mappings_forms import number_or_none
from blueprints.users_forms import NewUserForm
from services.first_run.setup_mappings import WantedProduct


class AdministratorForm(NewUserForm):
    """The first account, and the code that shows who may make it."""

    role = None
    code = StringField(
        "Set-up code",
        [InputRequired("Enter the code."), Length(max=40)],
        render_kw={
            "autocomplete": "off",
            "autocapitalize": "characters",
            "spellcheck": "false",
            "placeholder": "XXXX-XXXX-XXXX",
        },
    )


def wanted_products() -> list[WantedProduct]:
    """The suggestions that were ticked: version, ConnectWise product and Sophos product."""
    return [_wanted(text) for text in request.form.getlist("accept")]


def _wanted(text: str) -> WantedProduct:
    version, item_id, key = (text.split("|", 2) + [""] * 3)[:3]
    return WantedProduct(key, number_or_none(version), number_or_none(item_id))


def wants_sync() -> bool:
    """Whether the button was pressed that switches the sync on as well."""
    return request.form.get("sync") == "on"
