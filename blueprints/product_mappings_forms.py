"""The forms of ConnectWise products."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flask_wtf import FlaskForm
from wtforms import BooleanField, DecimalField, HiddenField, SelectField, StringField, TextAreaField
from wtforms.fields import SelectChoice
from wtforms.validators import (
    DataRequired,
    InputRequired,
    Length,
    NumberRange,
    Optional,
    ValidationError,
)

from services.clients.errors import Rejected
from services.products.catalog_products import CLASSES, Details, PickLists

TAXABLE = {None: "", True: "yes", False: "no"}
_FIELDS = {
    "identifier": "identifier",
    "description": "description",
    "customerdescription": "customer_description",
    "category": "subcategory_id",
    "subcategory": "subcategory_id",
    "type": "type_id",
    "productclass": "product_class",
    "unitofmeasure": "unit_id",
    "price": "price",
    "cost": "cost",
    "taxableflag": "taxable",
}


def _stripped(text: str | None) -> str:
    return (text or "").replace("\r\n", "\n").strip()


def _exact(_form: FlaskForm, field: DecimalField) -> None:
    """ConnectWise keeps amounts as floating numbers; four places are always exact there."""
    if isinstance(field.data, Decimal) and field.data.as_tuple().exponent < -4:  # type: ignore[operator]
        raise ValidationError("Use at most four decimal places.")


def _amount(label: str) -> DecimalField:
    limits = NumberRange(min=0, max=9_999_999, message="Enter an amount from 0 to 9,999,999.")
    return DecimalField(
        label,
        [Optional(), limits, _exact],
        places=None,
        render_kw={"inputmode": "decimal", "autocomplete": "off"},
    )


class SharedForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """What several new products may share."""

    token = HiddenField()
    subcategory_id = SelectField(
        "Category > sub-category", [InputRequired("Choose a sub-category.")], coerce=int
    )
    type_id = SelectField("Type", [InputRequired("Choose a type.")], coerce=int)
    product_class = SelectField("Class", choices=[SelectChoice(c, c) for c in CLASSES])
    unit_id = SelectField("Unit", coerce=int)
    price = _amount("Price")
    cost = _amount("Cost")
    taxable = SelectField(
        "Taxable",
        choices=[
            SelectChoice("", "As ConnectWise sets it"),
            SelectChoice("yes", "Yes"),
            SelectChoice("no", "No"),
        ],
    )

    def offer(self, lists: PickLists, chosen: Details) -> None:
        """Fill the lists; what was chosen stays a choice, whatever ConnectWise says of it now."""
        self.subcategory_id.choices = [
            SelectChoice(entry.id, f"{category} > {entry.name}")
            for category, entries in lists.subcategories.items()
            for entry in entries
        ]
        self.type_id.choices = [SelectChoice(entry.id, entry.name) for entry in lists.types]
        self.unit_id.choices = [SelectChoice(0, "As ConnectWise sets it")]
        self.unit_id.choices += [SelectChoice(entry.id, entry.name) for entry in lists.units]
        if chosen.product_class not in (None, *CLASSES):
            self.product_class.choices = [
                SelectChoice(c, c) for c in (*CLASSES, chosen.product_class)
            ]

    def refuse(self, error: Rejected) -> list[str]:
        """Put ConnectWise's reasons beside their fields; returns those that belong to none."""
        others = []
        for reason in error.fields:
            name = reason.field.replace(".", "/").split("/")[0].casefold()
            field = self._fields.get(_FIELDS.get(name, ""))
            if field is None:
                others.append(reason.message)
            else:
                field.errors = [*field.errors, f"ConnectWise says: {reason.message}"]
        return others if error.fields else [str(error)]

    def details(self, identifier: str, description: str, customer_description: str) -> Details:
        """What the form says."""
        return Details(
            identifier=identifier,
            description=description,
            customer_description=customer_description,
            subcategory_id=self.subcategory_id.data,
            type_id=self.type_id.data,
            product_class=self.product_class.data,
            unit_id=self.unit_id.data or None,
            price=self.price.data,
            cost=self.cost.data,
            taxable={"yes": True, "no": False}.get(self.taxable.data),
        )


class ManyForm(SharedForm):
    """Several new products at once."""

    use_existing = BooleanField("Where ConnectWise has the identifier already, use that product")


class ProductForm(SharedForm):
    """One ConnectWise product."""

    identifier = StringField(
        "Identifier",
        [DataRequired("Enter an identifier."), Length(max=60, message="At most 60 characters.")],
        filters=[_stripped],
        render_kw={"maxlength": 60, "autocomplete": "off", "spellcheck": "false"},
    )
    description = StringField(
        "Description",
        [DataRequired("Enter a description."), Length(max=60, message="At most 60 characters.")],
        filters=[_stripped],
        render_kw={"maxlength": 60, "autocomplete": "off"},
    )
    customer_description = TextAreaField(
        "Customer description",
        [Length(max=6000, message="At most 6,000 characters.")],
        filters=[_stripped],
        render_kw={"rows": 2},
    )

    def whole(self) -> Details:
        """What the form says of the product."""
        return self.details(
            self.identifier.data, self.description.data, self.customer_description.data or ""
        )


def values_of(details: Details) -> dict[str, Any]:
    """Details as the fields of a form take them."""
    names = ("identifier", "description", "customer_description", "subcategory_id", "type_id")
    return {name: getattr(details, name) for name in names} | {
        "product_class": details.product_class or CLASSES[0],
        "unit_id": details.unit_id or 0,
        "price": details.price,
        "cost": details.cost,
        "taxable": TAXABLE[details.taxable],
    }
