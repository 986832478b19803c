"""What the pages of sync runs read from an address or a form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, TypeVar

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from wtforms import StringField
from wtforms.validators import ValidationError

from blueprints.tenant_mappings_forms import number_or_none
from models import ChangeState
from services.runs.run_changes import Filters
from services.sync.model import ChangeKind, Month

E = TypeVar("E", bound=StrEnum)


class StartForm(FlaskForm):  # type: ignore[misc]  # flask-wtf has no types
    """Which month to run; empty means the newest that Sophos has reported."""

    month = StringField("Month")

    def validate_month(self, _field: StringField) -> None:
        try:
            _ = self.chosen_month
        except ValueError:
            raise ValidationError("Choose a month of the list. Nothing was started.") from None

    @property
    def chosen_month(self) -> Month | None:
        return Month.parse(self.month.data) if self.month.data else None

    @property
    def preview_only(self) -> bool:
        return request.form.get("what") == "preview"


@dataclass(frozen=True)
class Decision:
    """Which changes a person decided about: `ids`, or all that `which` names."""

    ids: frozenset[int]
    which: str

    NOTHING_TICKED: ClassVar[str] = "Tick at least one change first. Nothing was changed."

    @classmethod
    def of(cls, form: MultiDict[str, str]) -> Decision:
        """A row's own button counts alone, whatever else is ticked."""
        which = form.get("which", "")
        values = form.getlist("only") or form.getlist("change") if which != "none" else []
        numbers = (number_or_none(v) for v in values)
        return cls(frozenset(n for n in numbers if n is not None), which)

    @property
    def nothing_chosen(self) -> str:
        if self.which == "planned":
            return "There is nothing left to apply in this plan. Nothing was changed."
        if self.which == "none":
            return "Tick changes, then press one of the buttons. Nothing was changed."
        return self.NOTHING_TICKED


def change_filters(values: Mapping[str, str] | None = None) -> Filters:
    """What of a run is looked at. Values that do not exist are passed over."""
    given = request.args if values is None else values
    return Filters(
        state=_member(ChangeState, given.get("state")),
        kind=_member(ChangeKind, given.get("kind")),
        text=given.get("q", "").strip()[:200],
    )


def page_number() -> int:
    """The page asked for, counted from 1."""
    text = request.args.get("page", "")
    return int(text) if text.isdecimal() and len(text) < 8 else 1


def _member(enum: type[E], value: str | None) -> E | None:
    return enum(value) if value in set(enum) else None
