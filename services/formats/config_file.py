"""Mappings and settings as one YAML file: export, and import that is all or nothing.

The file holds no secrets. What an import does not mention stays as it is.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

import models
from services.formats.lined_yaml import ConfigFileError, LinedMap, Problem, load_lined
from services.plain_words import plain_reason
from services.settings import AppSettings, SettingsError, check_settings, load_settings

_SECTIONS = ("settings", "products", "tenants")


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _or_none(value: object) -> object:
    return {} if value is None else value


def _no_truth(value: object) -> object:
    """For Python `true` is the number 1, which would be another customer's agreement."""
    if isinstance(value, bool):
        text = "write the id or the name of an agreement; a name like true in quotes"
        raise ValueError(text)  # noqa: TRY004 - pydantic reports ValueError only
    return value


Text = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=300)]
Agreement = Annotated[int | Text, BeforeValidator(_no_truth)]


class _Entry(BaseModel):
    """What an entry leaves out stays as it is (`gives`); null clears it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def gives(self, name: str) -> bool:
        """Whether the file says anything about this field."""
        return name in self.model_fields_set


class ProductEntry(_Entry):
    """`catalog_item` is the identifier of a ConnectWise product; None means: not mapped."""

    code: Text
    catalog_item: Text | None = None
    sync: bool = False


class TenantEntry(_Entry):
    """`company` is an identifier, `agreement` an id, or a name within that company.

    `agreements` sends single Sophos products, by code, to other agreements of the company.
    """

    id: Text
    name: Annotated[str, BeforeValidator(_as_text)] | None = None
    company: Text | None = None
    agreement: Agreement | None = None
    agreements: Annotated[dict[str, Agreement], BeforeValidator(_or_none)] = Field(
        default_factory=dict
    )
    sync: bool = False

    @property
    def wanted_agreements(self) -> list[int | str]:
        """Every agreement that it names."""
        return [each for each in (self.agreement, *self.agreements.values()) if each is not None]


E = TypeVar("E", bound=_Entry)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that has the right shape: entries with the lines they begin in."""

    products: tuple[tuple[int, ProductEntry], ...]
    tenants: tuple[tuple[int, TenantEntry], ...]
    settings: AppSettings | None


def read_config(path: Path, current: AppSettings) -> ConfigFile:
    """Read a file and check its shape; raises ConfigFileError with every problem found."""
    document = load_lined(path, _SECTIONS)
    problems: list[Problem] = []
    for name, line in document.lines.items():
        if name not in _SECTIONS:
            known = ", ".join(_SECTIONS)
            said = reprlib.repr(name)
            problems.append(Problem(line, f"unknown section {said}; there are: {known}"))
    products = _entries(document, "products", ProductEntry, problems)
    tenants = _entries(document, "tenants", TenantEntry, problems)
    problems += _repeated(((line, p.code) for line, p in products), "Sophos product")
    problems += _repeated(((line, t.id) for line, t in tenants), "customer")
    problems += homeless_agreements(tenants)
    settings = _settings(document, current, problems)
    if problems:
        raise ConfigFileError(problems)
    return ConfigFile(tuple(products), tuple(tenants), settings)


def homeless_agreements(tenants: Iterable[tuple[int, TenantEntry]]) -> Iterable[Problem]:
    """Entries that name an agreement and clear the company that it would belong to."""
    for line, tenant in tenants:
        if tenant.wanted_agreements and tenant.gives("company") and tenant.company is None:
            yield Problem(line, f"customer {tenant.id} has an agreement, but no company")


def export_config(session: Session) -> str:
    """Everything that an import takes, as YAML."""
    document = export_document(session)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def export_document(session: Session) -> dict[str, Any]:
    """Everything that an import takes, as plain values."""
    products = session.scalars(
        sa.select(models.ProductMapping).order_by(models.ProductMapping.product_key)
    )
    tenants = session.scalars(
        sa.select(models.TenantMapping).order_by(
            models.TenantMapping.tenant_name, models.TenantMapping.tenant_id
        )
    )
    return {
        "settings": load_settings(session).model_dump(mode="json"),
        "products": [
            {"code": p.product_key, "catalog_item": p.catalog_item_identifier, "sync": p.sync}
            for p in products
        ],
        "tenants": [_tenant(t) for t in tenants],
    }


def _tenant(row: models.TenantMapping) -> dict[str, Any]:
    return {
        "id": row.tenant_id,
        "name": row.tenant_name,
        "company": row.company_identifier,
        "agreement": row.agreement_id,
        # Empty ones too: what a file leaves out is kept where it is imported.
        "agreements": {o.product_key: o.agreement_id for o in row.overrides},
        "sync": row.sync,
    }


# --- the shape ------------------------------------------------------------------------------------


def _entries(
    document: LinedMap, section: str, shape: type[E], problems: list[Problem]
) -> list[tuple[int, E]]:
    found: list[tuple[int, E]] = []
    values = document.get(section) or []
    if not isinstance(values, list):
        problems.append(Problem(document.lines[section], f"{section} must be a list"))
        return found
    for value in values:
        if not isinstance(value, LinedMap):
            said = reprlib.repr(value)
            problems.append(
                Problem(document.lines[section], f"every entry of {section} needs names: {said}")
            )
            continue
        try:
            found.append((value.line, shape.model_validate(dict(value))))
        except ValidationError as error:
            problems += _shape_problems(value, error)
    return found


def _shape_problems(value: LinedMap, error: ValidationError) -> Iterable[Problem]:
    for each in error.errors(include_url=False, include_input=False):
        name = str(each["loc"][0])
        yield Problem(value.lines.get(name, value.line), f"{name}: {plain_reason(each)}")


def _repeated(keys: Iterable[tuple[int, str]], what: str) -> Iterable[Problem]:
    first: dict[str, int] = {}
    for line, key in keys:
        if key in first:
            yield Problem(line, f"{what} {key} is mapped already in line {first[key]}")
        first.setdefault(key, line)


def _settings(
    document: LinedMap, current: AppSettings, problems: list[Problem]
) -> AppSettings | None:
    values = document.get("settings")
    if values is None:
        return None
    line = document.lines["settings"]
    if not isinstance(values, LinedMap):
        problems.append(Problem(line, "settings must have names"))
        return None
    try:
        return check_settings(_plain(values), current)
    except SettingsError as error:
        top = error.name.split(".")[0]
        problems.append(Problem(values.lines.get(top, line), f"settings: {error}"))
        return None


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _plain(v) if isinstance(v, Mapping) else v for k, v in value.items()}
