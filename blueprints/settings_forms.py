"""The forms of the settings pages. Their field names are the names of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DecimalField,
    HiddenField,
    IntegerField,
    PasswordField,
    SelectField,
    StringField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional, Regexp
from wtforms.widgets import TextInput

from services.settings import AppSettings

_SECRET = {"autocomplete": "off", "spellcheck": "false"}
_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
_NUMBER = {"inputmode": "numeric", "autocomplete": "off"}


def _text(label: str, **attributes: str) -> StringField:
    return StringField(label, [Length(max=250)], render_kw={**_PLAIN, **attributes})


def _secret(label: str) -> PasswordField:
    return PasswordField(label, [Length(max=500)], render_kw=_SECRET)


class LimitField(DecimalField):  # type: ignore[misc]  # wtforms has no types
    """A limit that may be left empty; says one clear thing when it is no number."""

    widget = TextInput()  # a number input turns with the mouse wheel

    def __init__(self, label: str, most: int | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("render_kw", {"inputmode": "decimal", "autocomplete": "off"})
        super().__init__(label, [Optional()], places=None, **kwargs)
        self.most = most

    def process_formdata(self, valuelist: list[str]) -> None:
        entered = "".join(valuelist[:1]).strip()
        self.data = None
        if entered:
            self.data = self._number(entered)

    def _number(self, entered: str) -> Decimal:
        upper = "" if self.most is None else f" to {self.most}"
        try:
            number = Decimal(entered)
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or number < 0 or number > (self.most or number):
            raise ValueError(f"Enter a number from 0{upper}, like 12.5. Nothing was changed.")
        return number


class ConnectWiseForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """ConnectWise details."""

    connectwise_site = _text("Site")
    connectwise_company_id = _text("Company id")
    connectwise_client_id = _text("Client id")
    connectwise_public_key = _secret("Public key")
    connectwise_private_key = _secret("Private key")
    confirm = BooleanField("It is the same ConnectWise company; keep the mappings")


class SophosForm(FlaskForm):  # type: ignore[misc]
    """The Partner credential."""

    sophos_client_id = _text("Client id")
    sophos_client_secret = _secret("Client secret")


class SettingsForm(FlaskForm):  # type: ignore[misc]
    """A page of settings; `seen` says which values the person had before their eyes."""

    seen = HiddenField()
    changed_meanwhile = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.locked: list[tuple[str, str, str]] = []

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        raise NotImplementedError

    def values(self) -> dict[str, Any]:
        """What was entered, by the names of the settings; parts are maps."""
        raise NotImplementedError

    def field(self, name: str) -> Any:
        """The field of a setting like `guard_rails.price_effect`, or the first one."""
        last = name.rsplit(".", maxsplit=1)[-1]
        return self._fields.get(last) or next(iter(self._fields.values()))

    def entered(self, *names: str) -> dict[str, Any]:
        """The entries of those fields that this page has; locked ones were taken out."""
        return {name: self._fields[name].data for name in names if name in self._fields}


class SafetyForm(SettingsForm):
    """What may be written, and what waits for a person."""

    read_only = BooleanField("Read-only: make plans, write nothing to either vendor")
    usage_ended = SelectField(
        "Usage ended",
        choices=[
            SelectChoice("hold", "Hold and ask"),
            SelectChoice("zero", "Set the quantity to 0"),
            SelectChoice("cancel", "Cancel the addition"),
        ],
    )
    missing_mapping = SelectField(
        "Usage of a product with sync on, but without a ConnectWise product",
        choices=[
            SelectChoice("default_product", "Make a default product"),
            SelectChoice("hold", "Hold and ask"),
        ],
    )
    effective_date = SelectField(
        "New additions are billed from",
        choices=[
            SelectChoice("first_of_month", "The first day of the billing month"),
            SelectChoice("today", "Today"),
        ],
    )
    new_products_sync = BooleanField("New Sophos products start with sync on")
    decrease_percent = LimitField("Decrease above (%)", most=100)
    decrease_at_least = LimitField("and at least (seats)")
    drop_to_zero = BooleanField("Any drop to zero")
    price_effect = LimitField("Price effect above")
    decreasing_share_percent = LimitField("Decreasing additions above (%)", most=100)
    missing_customers_percent = LimitField("Missing customers above (%)", most=100)

    RAILS = (
        "decrease_percent",
        "decrease_at_least",
        "drop_to_zero",
        "price_effect",
        "decreasing_share_percent",
        "missing_customers_percent",
    )
    TOP = ("read_only", "usage_ended", "missing_mapping", "effective_date", "new_products_sync")

    def values(self) -> dict[str, Any]:
        rails = self.entered(*self.RAILS)
        rails["decrease_at_least"] = rails["decrease_at_least"] or 0
        return {**self.entered(*self.TOP), "guard_rails": rails}

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        return {**settings.model_dump(), **settings.guard_rails.model_dump()}


class ScheduleForm(SettingsForm):
    """When sync runs start by themselves."""

    when = SelectField(
        "Sync runs start",
        choices=[
            SelectChoice("invoice", "With the monthly Sophos invoice"),
            SelectChoice("monthly", "Once a month"),
            SelectChoice("daily", "Once a day"),
            SelectChoice("by_hand", "Only by hand, with Sync now"),
        ],
    )
    day = IntegerField(
        "Day of the month",
        [InputRequired("Enter a day from 1 to 28."), NumberRange(1, 28)],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    time = StringField(
        "Time of day",
        [Regexp(r"^([01]\d|2[0-3]):[0-5]\d$", message="Write the time like 06:30.")],
        render_kw={"type": "time", "autocomplete": "off"},
    )
    timezone = StringField(
        "Time zone", [InputRequired("Enter a time zone, like Europe/Berlin.")], render_kw=_PLAIN
    )

    def values(self) -> dict[str, Any]:
        return {**self.entered("timezone"), "schedule": self.entered("when", "day", "time")}

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        return {"timezone": settings.timezone, **settings.schedule.model_dump()}


class MonthsField(IntegerField):  # type: ignore[misc]  # wtforms has no types
    """A number of months; empty means for ever."""

    widget = TextInput()

    def __init__(self, label: str, least: int, **kwargs: Any) -> None:
        self.wrong = f"Enter a whole number from {least} to 240, or nothing. Nothing was changed."
        kwargs.setdefault("render_kw", _NUMBER)
        super().__init__(label, [Optional(), NumberRange(least, 240, message=self.wrong)], **kwargs)

    def process_formdata(self, valuelist: list[str]) -> None:
        entered = "".join(valuelist[:1]).strip()
        self.data = None
        if entered and not (entered.isascii() and entered.isdigit() and len(entered) < 5):
            raise ValueError(self.wrong)
        if entered:
            self.data = int(entered)


class RetentionForm(SettingsForm):
    """For how long details are kept, and how many automatic backups."""

    runs_months = MonthsField("Changes and findings of sync runs", least=3)
    usage_months = MonthsField("Lines of Sophos' usage reports", least=13)
    daily = BooleanField("Make a backup once a day")
    keep = IntegerField(
        "Daily backups kept",
        [InputRequired("Enter a number from 1 to 365."), NumberRange(1, 365)],
        render_kw=_NUMBER,
    )

    def values(self) -> dict[str, Any]:
        return {
            "retention": self.entered("runs_months", "usage_months"),
            "backups": self.entered("daily", "keep"),
        }

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        return {**settings.retention.model_dump(), **settings.backups.model_dump()}


def labelled(form: SettingsForm, stored: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The label and the stored value of each field that was filled in otherwise."""
    return [
        (field.label.text, in_words(field, stored[field.name]))
        for field in form
        if field.name in stored
        and in_words(field, field.data) != in_words(field, stored[field.name])
    ]


def in_words(field: Any, value: Any) -> str:
    """A field's value as a person reads it."""
    if isinstance(field, BooleanField):
        return "yes" if value else "no"
    if isinstance(field, SelectField):
        return str({c.value: c.label for c in field.choices}.get(value or "", value))
    return "not set" if value in (None, "") else f"{value}"


_CLASSES = ("Agreement", "Inventory", "NonInventory", "Service")


class DefaultProductForm(SettingsForm):
    """What a product gets that the sync makes."""

    identifier = StringField(
        "Identifier", [InputRequired("Enter a template with {code}.")], render_kw=_PLAIN
    )
    category = _text("Category", list="category-names")
    subcategory = _text("Sub-category", list="subcategory-names")
    type = _text("Type", list="type-names")
    product_class = SelectField(
        "Class",
        choices=[SelectChoice("", "As mapped products"), *map(SelectChoice, _CLASSES)],
    )
    unit = _text("Unit of measure", list="unit-names")
    taxable = SelectField(
        "Taxable",
        choices=[
            SelectChoice("", "ConnectWise decides"),
            SelectChoice("yes", "Yes"),
            SelectChoice("no", "No"),
        ],
    )

    NAMES = ("identifier", "category", "subcategory", "type", "product_class", "unit")

    def values(self) -> dict[str, Any]:
        entered = {n: (v or "").strip() or None for n, v in self.entered(*self.NAMES).items()}
        taxable = {"yes": True, "no": False}.get(self.taxable.data)
        return {"default_product": {**entered, "taxable": taxable}}

    @staticmethod
    def shown(settings: AppSettings) -> dict[str, Any]:
        """The fields' values for what is stored."""
        product = settings.default_product
        taxable = {True: "yes", False: "no", None: ""}[product.taxable]
        return {**product.model_dump(), "taxable": taxable}
