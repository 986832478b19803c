"""Mappings and settings as one YAML file: export, and import that is all or nothing.

The file holds no secrets. What an import does not mention stays as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import sqlalchemy as sa
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

import models
from services.settings import AppSettings, SettingsError, check_settings, load_settings

MAX_BYTES = 10_000_000
_SECTIONS = ("settings", "products", "tenants")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong in a file, and in which line (counted from 1)."""

    line: int
    message: str


class ConfigFileError(Exception):
    """The file cannot be used as it is; nothing was changed."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("; ".join(f"line {p.line}: {p.message}" for p in self.problems))


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text), Field(min_length=1, max_length=300)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProductEntry(_Entry):
    """`catalog_item` is the identifier of a ConnectWise product; empty means: not mapped."""

    code: Text
    catalog_item: Text | None = None
    sync: bool = False


class TenantEntry(_Entry):
    """`company` is an identifier, `agreement` an id, or a name within that company.

    `agreements` sends single Sophos products, by code, to other agreements of the company.
    """

    id: Text
    name: str | None = None
    company: Text | None = None
    agreement: int | Text | None = None
    agreements: dict[str, int | Text] = Field(default_factory=dict)
    sync: bool = False


E = TypeVar("E", bound=_Entry)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that has the right shape: entries with the lines they begin in."""

    products: tuple[tuple[int, ProductEntry], ...]
    tenants: tuple[tuple[int, TenantEntry], ...]
    settings: AppSettings | None


def read_config(path: Path, current: AppSettings) -> ConfigFile:
    """Read a file and check its shape; raises ConfigFileError with every problem found."""
    document = _load(path)
    problems: list[Problem] = []
    for name, line in document.lines.items():
        if name not in _SECTIONS:
            known = ", ".join(_SECTIONS)
            problems.append(Problem(line, f"unknown section {name!r}; there are: {known}"))
    products = _entries(document, "products", ProductEntry, problems)
    tenants = _entries(document, "tenants", TenantEntry, problems)
    problems += _repeated(((line, p.code) for line, p in products), "Sophos product")
    problems += _repeated(((line, t.id) for line, t in tenants), "customer")
    for line, tenant in tenants:
        if (tenant.agreement is not None or tenant.agreements) and tenant.company is None:
            problems.append(Problem(line, f"customer {tenant.id} has an agreement, but no company"))
    settings = _settings(document, current, problems)
    if problems:
        raise ConfigFileError(problems)
    return ConfigFile(tuple(products), tuple(tenants), settings)


def export_config(session: Session) -> str:
    """Everything that an import takes, as YAML."""
    products = session.scalars(
        sa.select(models.ProductMapping).order_by(models.ProductMapping.product_key)
    )
    tenants = session.scalars(
        sa.select(models.TenantMapping).order_by(
            models.TenantMapping.tenant_name, models.TenantMapping.tenant_id
        )
    )
    document = {
        "settings": load_settings(session).model_dump(mode="json"),
        "products": [
            {"code": p.product_key, "catalog_item": p.catalog_item_identifier, "sync": p.sync}
            for p in products
        ],
        "tenants": [_tenant(t) for t in tenants],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _tenant(row: models.TenantMapping) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": row.tenant_id,
        "name": row.tenant_name,
        "company": row.company_identifier,
        "agreement": row.agreement_id,
        "sync": row.sync,
    }
    if row.overrides:
        entry["agreements"] = {o.product_key: o.agreement_id for o in row.overrides}
    return entry


# --- YAML with line numbers ---------------------------------------------------------------------


class _Map(dict[str, Any]):
    """A mapping that remembers in which line it began, and each of its keys."""

    line: int = 1
    lines: dict[str, int]


class _Loader(yaml.SafeLoader):
    def construct_lined(self, node: yaml.MappingNode) -> _Map:
        result = _Map()
        result.line = node.start_mark.line + 1
        result.lines = {}
        for key_node, value_node in node.value:
            key: Hashable = self.construct_object(key_node, deep=True)
            if str(key) in result:
                line = key_node.start_mark.line + 1
                raise ConfigFileError([Problem(line, f"{key!r} stands here a second time")])
            result[str(key)] = self.construct_object(value_node, deep=True)
            result.lines[str(key)] = key_node.start_mark.line + 1
        return result


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _Loader.construct_lined)


def _load(path: Path) -> _Map:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigFileError([Problem(1, "the file is larger than 10 MB")])
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigFileError([Problem(1, f"it cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError:
        raise ConfigFileError([Problem(1, "it is not UTF-8 text")]) from None
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader with lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigFileError([Problem(line, f"not valid YAML: {error.problem}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigFileError([Problem(1, f"not valid YAML: {error}".splitlines()[0])]) from None
    if not isinstance(document, _Map):
        raise ConfigFileError([Problem(1, "it must have the sections " + ", ".join(_SECTIONS))])
    return document


def _entries(
    document: _Map, section: str, shape: type[E], problems: list[Problem]
) -> list[tuple[int, E]]:
    found: list[tuple[int, E]] = []
    values = document.get(section) or []
    if not isinstance(values, list):
        problems.append(Problem(document.lines[section], f"{section} must be a list"))
        return found
    for value in values:
        if not isinstance(value, _Map):
            problems.append(
                Problem(document.lines[section], f"every entry of {section} needs names: {value!r}")
            )
            continue
        try:
            found.append((value.line, shape.model_validate(dict(value))))
        except ValidationError as error:
            problems += _shape_problems(value, error)
    return found


def _shape_problems(value: _Map, error: ValidationError) -> Iterable[Problem]:
    for each in error.errors(include_url=False, include_input=False):
        name = str(each["loc"][0])
        message = "unknown name" if each["type"] == "extra_forbidden" else each["msg"]
        yield Problem(value.lines.get(name, value.line), f"{name}: {message}")


def _repeated(keys: Iterable[tuple[int, str]], what: str) -> Iterable[Problem]:
    first: dict[str, int] = {}
    for line, key in keys:
        if key in first:
            yield Problem(line, f"{what} {key} is mapped already in line {first[key]}")
        first.setdefault(key, line)


def _settings(document: _Map, current: AppSettings, problems: list[Problem]) -> AppSettings | None:
    values = document.get("settings")
    if values is None:
        return None
    line = document.lines["settings"]
    if not isinstance(values, _Map):
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
