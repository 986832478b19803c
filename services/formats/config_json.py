"""Mappings that come as JSON: the same entries as in the configuration file, without lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.formats.config_file import ConfigFile, homeless_agreements
from services.formats.json_shapes import Mappings
from services.formats.lined_yaml import ConfigFileError, Problem


def config_of(mappings: Mappings) -> ConfigFile:
    """The mappings as a file without settings; an entry's line is its place, counted from 1.

    Customers are counted on after the products, so that a place is one entry (`pointer_of`).
    Raises ConfigFileError for entries that contradict each other.
    """
    products = tuple(enumerate(mappings.products, start=1))
    tenants = tuple(enumerate(mappings.tenants, start=1 + len(products)))
    problems = [
        *_repeated("Sophos product", [(place, entry.code) for place, entry in products]),
        *_repeated("customer", [(place, entry.id) for place, entry in tenants]),
        *homeless_agreements(tenants),
    ]
    if problems:
        raise ConfigFileError(problems)
    return ConfigFile(products, tenants, settings=None)


def pointer_of(mappings: Mappings, place: int) -> str:
    """The JSON pointer of the entry at a place."""
    products = len(mappings.products)
    if place <= products:
        return f"#/products/{place - 1}"
    return f"#/tenants/{place - products - 1}"


def _repeated(what: str, keys: Sequence[tuple[int, str]]) -> Iterable[Problem]:
    seen: set[str] = set()
    for place, key in keys:
        if key in seen:
            yield Problem(place, f"{what} {key} stands here a second time")
        seen.add(key)
