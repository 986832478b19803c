"""What every template gets: the menu, the colours chosen, addresses of static files, filters."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import zoneinfo
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from flask import Flask, current_app, request, url_for
from flask_login import current_user
from markupsafe import Markup

from blueprints.support import installation
from models import Role
from services.sync import words

MENU = (
    ("Overview", "overview.index", "house", Role.VIEWER),
    ("Customers", "tenant_mappings.index", "users", Role.VIEWER),
    ("Sync runs", "sync_runs.index", "refresh-cw", Role.VIEWER),
    ("Findings", "findings.index", "flag", Role.VIEWER),
    ("Reconciliation", "reconciliation.index", "list-checks", Role.VIEWER),
    ("Audit", "audit.index", "history", Role.VIEWER),
    ("Settings", "settings.index", "settings", Role.VIEWER),
)


@dataclass(frozen=True)
class MenuEntry:
    name: str
    url: str
    icon: str
    current: bool


def init_app(app: Flask) -> None:
    app.context_processor(_context)
    app.jinja_env.globals["static"] = static
    app.jinja_env.filters.update(
        number=number, seats=seats, money=money, instant=instant, breakable=breakable
    )


def _context() -> dict[str, Any]:
    theme = request.cookies.get("theme", "auto")
    return {"menu": _menu(), "theme": theme if theme in ("light", "dark") else "auto"}


def _menu() -> list[MenuEntry]:
    """The pages that exist and that this person may see; the current one is marked."""
    if not current_user.is_authenticated:
        return []
    return [
        MenuEntry(name, url_for(endpoint), icon, _is_current(endpoint))
        for name, endpoint, icon, role in MENU
        if endpoint in current_app.view_functions and current_user.may(role)
    ]


def _is_current(endpoint: str) -> bool:
    area = endpoint.split(".", maxsplit=1)[0]
    here = (request.endpoint or "").split(".", maxsplit=1)[0]
    return here == area or (area == "settings" and request.path.startswith("/settings"))


def static(name: str) -> str:
    """The address of a static file; it changes when the file does, so it may be kept for long."""
    return url_for("static", filename=name, v=_version(Path(current_app.static_folder or ""), name))


@functools.cache
def _version(folder: Path, name: str) -> str:
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()[:12]


def number(value: Decimal | int | None) -> str:
    """A quantity without needless zeros, its thousands apart: 12, 2.5, 1,140."""
    plain = words.number(None if value is None else Decimal(value))
    return plain if value is None else format(Decimal(plain), ",f")


def seats(quantity: Decimal) -> str:
    """A quantity with its unit."""
    return f"{number(quantity)} seat{'' if quantity == 1 else 's'}"


def money(value: Decimal | None, *, signed: bool = False) -> str:
    """An amount with two places; a dash where none is known."""
    if value is None:
        return "–"
    return format(value, "+,.2f" if signed else ",.2f")


def breakable(identifier: str) -> Markup:
    """An identifier that a narrow column breaks after an underscore, not inside a word."""
    return Markup("_<wbr>").join(identifier.split("_"))


def instant(value: dt.datetime | None) -> Markup:
    """An instant in the billing time zone, with the exact one for machines."""
    if value is None:
        return Markup("never")
    zone = zoneinfo.ZoneInfo(installation().settings().timezone)
    shown = value.astimezone(zone).strftime("%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{}</time>').format(value.isoformat(), shown)
