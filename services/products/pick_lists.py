"""ConnectWise's own lists that a catalog item is made from, as choices for a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.clients.connectwise import ConnectWiseClient, PickItem

FIELDS = ("category", "subcategory", "type", "unit")


@dataclass(frozen=True, slots=True)
class PickLists:
    """The active names of each list; sub-categories under their category."""

    category: tuple[str, ...]
    subcategory: Mapping[str, tuple[str, ...]]
    type: tuple[str, ...]
    unit: tuple[str, ...]

    def problems(self, chosen: Mapping[str, str | None]) -> dict[str, str]:
        """What ConnectWise does not have, by field."""
        category, found = chosen.get("category"), {}
        for field in ("category", "type", "unit"):
            name = chosen.get(field)
            if name and not _among(name, getattr(self, field)):
                found[field] = f"ConnectWise has no active {field} named {name}."
        subcategory = chosen.get("subcategory")
        if subcategory and not _among(subcategory, self._under(category)):
            where = f" in {category}" if category else ""
            found["subcategory"] = f"ConnectWise has no active sub-category {subcategory}{where}."
        return found

    def _under(self, category: str | None) -> list[str]:
        return [
            name
            for parent, names in self.subcategory.items()
            if not category or parent.casefold() == category.casefold()
            for name in names
        ]


def read_pick_lists(client: ConnectWiseClient) -> PickLists:
    """All four lists. Raises VendorError."""
    categories = [c for c in client.categories() if not c.inactive]
    subcategories = client.subcategories()
    return PickLists(
        category=_names(categories),
        subcategory={
            c.name: _names(s for s in subcategories if s.category_id == c.id)
            for c in sorted(categories, key=lambda c: c.name.casefold())
        },
        type=_names(client.types()),
        unit=_names(client.units()),
    )


def _names(items: Iterable[PickItem]) -> tuple[str, ...]:
    return tuple(sorted({i.name for i in items if not i.inactive}, key=str.casefold))


def _among(name: str, names: Iterable[str]) -> bool:
    return name.casefold() in {n.casefold() for n in names}
