"""Which ConnectWise product an unmapped Sophos product probably is: offered, never applied."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from rapidfuzz import fuzz, process
from sqlalchemy.orm import Session

import models
from services.products.catalog_copy import MARKER
from services.products.catalog_search import normalised
from services.products.product_mappings import ItemChoice
from services.sync.desired import default_identifier

LIKE_ENOUGH = 80
_MOST_CANDIDATES = 2000
_NOT_A_WORD = re.compile(r"[^0-9a-z]+")
_known: dict[str, tuple[int, str, Mapping[str, Suggestion | None]]] = {}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A ConnectWise product that may be meant, how sure that is in percent, and why."""

    item: ItemChoice
    score: int
    reason: str

    @property
    def exact(self) -> bool:
        """Whether it is certain by its name."""
        return self.score == 100


def suggestions(
    session: Session, products: Iterable[tuple[str, str]], template: str
) -> Mapping[str, Suggestion]:
    """A suggestion for each (code, name) that has one. Worked out once a version of the catalog."""
    version = session.scalar(sa.select(models.Marker.number).where(models.Marker.name == MARKER))
    if version is None:
        return {}
    name = str(session.get_bind().engine.url)
    kept = _known.get(name)
    known = dict(kept[2]) if kept and kept[:2] == (version, template) else {}
    missing = [(code, text) for code, text in products if f"{code}\t{text}" not in known]
    if missing:
        found = _match(session, missing, template)
        known.update({f"{code}\t{text}": found.get(code) for code, text in missing})
        _known[name] = (version, template, known)
    return {code: s for code, text in products if (s := known.get(f"{code}\t{text}"))}


def _match(
    session: Session, products: Iterable[tuple[str, str]], template: str
) -> Mapping[str, Suggestion]:
    candidates = _candidates(session)
    by_name = {_words(item.identifier): item for item, _ in candidates}
    texts = {item: _words(text) for item, text in candidates}
    found = {}
    for code, name in products:
        exact = _exact(code, name, template, by_name)
        best = exact or _alike(name, texts)
        if best:
            found[code] = best
    return found


def _exact(
    code: str, name: str, template: str, by_name: Mapping[str, ItemChoice]
) -> Suggestion | None:
    item = by_name.get(_words(default_identifier(template, code)))
    if item is not None:
        return Suggestion(item, 100, "its identifier is the default one of this code")
    item = by_name.get(_words(name)) or by_name.get(f"sophos {_words(name)}")
    return Suggestion(item, 100, "its identifier is the name at Sophos") if item else None


def _alike(name: str, texts: Mapping[ItemChoice, str]) -> Suggestion | None:
    best = process.extractOne(
        _words(name), texts, scorer=fuzz.token_sort_ratio, score_cutoff=LIKE_ENOUGH
    )
    if best is None:
        return None
    # What is not the exact name never scores like it.
    return Suggestion(best[2], min(round(best[1]), 99), "nearly the same words")


def _candidates(session: Session) -> list[tuple[ItemChoice, str]]:
    """Active items that name Sophos; in a small catalog, all of them."""
    item = models.CatalogItem
    usable = (~item.inactive, ~item.gone, sa.func.coalesce(item.product_class, "") != "Bundle")
    query = sa.select(item.id, item.identifier, item.description).where(*usable)
    count = session.scalar(sa.select(sa.func.count()).select_from(item).where(*usable)) or 0
    if count > _MOST_CANDIDATES:
        named = item.identifier.ilike("%sophos%") | item.description.ilike("%sophos%")
        query = query.where(named).limit(_MOST_CANDIDATES)
    return [
        (ItemChoice(number, identifier), text or identifier)
        for number, identifier, text in session.execute(query.order_by(item.id))
    ]


def _words(text: str) -> str:
    return _NOT_A_WORD.sub(" ", normalised(text)).strip()
