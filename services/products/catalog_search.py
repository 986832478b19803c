"""Type-ahead over the copy of the catalog, in memory, in lower case and without accents.

What begins with the query is found by halving: items are sorted by identifier, and once more by
description. What holds it elsewhere is found by scanning one text: all words, each once, which
lead to the items that have them. What is shown is read by id.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from array import array
from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, chain, islice

import sqlalchemy as sa
from rapidfuzz import fuzz, process
from sqlalchemy.orm import Session

import models
from services.installation import Installation
from services.products.catalog_copy import MARKER
from services.products.product_mappings import ItemChoice

LEAST = 2
MOST = 20
_ENOUGH = 300
"""Hits that are ranked. Of a text that is more common, the better places are looked at too."""
_TOO_MANY = 8_000
"""What so many different words hold is not looked up, but looked for in each line."""
_LIKE_ENOUGH = 62
_REMEMBERED = 256
_BUNDLE = "Bundle"
_SPACES = re.compile(r"\s+")
_NEWLINE = re.compile(rb"\n")
_WORD = re.compile(rb"[0-9a-z\x80-\xff]+")
_PART = re.compile(rb"\n?[0-9a-z\x80-\xff]{2,}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, best first. `similar` marks a guess: nothing matched as written."""

    items: tuple[models.CatalogItem, ...]
    similar: bool


def search(session: Session, query: str) -> Found:
    """At most 20 catalog items that hold every word of the query, best first.

    Identifier and description count, anywhere in the text, without regard to case and accents.
    Fewer than two characters find nothing; neither do inactive, bundle and gone items.
    """
    words = normalised(query)
    if len(words) < LEAST:
        return Found((), similar=False)
    ids, similar = _index(session).search(words)
    rows = session.scalars(sa.select(models.CatalogItem).where(models.CatalogItem.id.in_(ids)))
    by_id = {row.id: row for row in rows}
    return Found(tuple(by_id[i] for i in ids if i in by_id), similar)


def normalised(text: str) -> str:
    """Lower case, without accents, with single spaces."""
    if text.isascii():
        return " ".join(text.lower().split())
    plain = unicodedata.normalize("NFKD", text.casefold())
    kept = "".join(c for c in plain if not unicodedata.combining(c))
    return _SPACES.sub(" ", kept).strip()


class Index:
    """All items that may be offered. Never changed after it is made."""

    def __init__(self, rows: Iterable[tuple[int, str, str]]) -> None:
        lines = sorted(
            (f"{normalised(name)}\t{normalised(text)}".encode(), number)
            for number, name, text in rows
        )
        self._lines = [line for line, _ in lines]
        self._ids = array("q", (number for _, number in lines))
        self._by_text = array("i", sorted(range(len(lines)), key=self._description))
        places: defaultdict[bytes, array[int]] = defaultdict(lambda: array("i"))
        for row, line in enumerate(self._lines):
            for word in set(_WORD.findall(line)):
                places[word].append(row)
        self._words = b"\n" + b"\n".join(places) + b"\n"
        self._ends = array("q", (found.start() for found in _NEWLINE.finditer(self._words, 1)))
        self._places = array("i", chain.from_iterable(places.values()))
        self._until = array("q", accumulate(map(len, places.values())))
        self._listed = lru_cache(16)(self._list)
        self._known: OrderedDict[str, tuple[list[int], bool]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, query: str) -> tuple[list[int], bool]:
        """Ids, best first, and whether they are only similar. The query is normalised."""
        with self._lock:
            if query in self._known:
                self._known.move_to_end(query)
                return self._known[query]
        rows = self._ranked(query.encode())
        similar = not rows
        rows = rows or self._alike(query)
        answer = ([self._ids[row] for row in rows], similar and bool(rows))
        with self._lock:
            self._known[query] = answer
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return answer

    # --- what holds every word ------------------------------------------------------------------

    def _ranked(self, query: bytes) -> list[int]:
        """The best places are looked at first; what is found there leaves no room for worse."""
        words = sorted(set(query.split(b" ")))
        rows = self._beginning(query, range(len(self)), lambda row: self._lines[row])
        if len(rows) < MOST:
            rows |= self._beginning(query, self._by_text, self._description)
        if len(rows) < MOST:
            rows |= self._holding(words)
        ranked = sorted((self._rank(row, query, words), row) for row in rows)
        return [row for _, row in ranked[:MOST]]

    def _beginning(
        self, query: bytes, order: Sequence[int], text: Callable[[int], bytes]
    ) -> set[int]:
        """The first rows whose text begins with the query, in an order that is sorted by it."""
        first = bisect_left(order, query, key=text)
        near = order[first : first + MOST]
        return {row for row in near if text(row).startswith(query)}

    def _holding(self, words: Sequence[bytes]) -> set[int]:
        """Rows that hold all words. Of a single common one, those where a word begins with it."""
        if len(words) == 1:
            rows = self._together([b"\n" + words[0]])
            if len(rows) >= MOST:
                return rows
        return self._together(words)

    def _together(self, words: Sequence[bytes]) -> set[int]:
        """Rows that hold all words, not more than are ranked; after a newline it begins a word.

        The rarest part of them leads to rows, and each of those is looked at for all of them.
        """
        parts = {part for word in words for part in _PART.findall(word)}
        listed = [found for part in parts if (found := self._listed(part)) is not None]
        rarest = min(listed, key=len) if listed else None
        rows = range(len(self)) if rarest is None else dict.fromkeys(rarest)
        lines, sought = self._lines, [word.lstrip(b"\n") for word in words]
        fit = (row for row in rows if all(word in lines[row] for word in sought))
        return set(islice(fit, _ENOUGH))

    def _list(self, part: bytes) -> array[int] | None:
        """The rows of all words that hold a part; None if those are very many words."""
        find, ends, until = self._words.find, self._ends, self._until
        rows, hits = array("i"), 0
        position = find(part)
        while position >= 0:
            word = bisect_left(ends, position + 1)
            if word == len(ends):
                break
            hits += 1
            if hits > _TOO_MANY:
                return None
            rows += self._places[until[word - 1] if word else 0 : until[word]]
            position = find(part, ends[word])
        return rows

    def _description(self, row: int) -> bytes:
        return self._lines[row].partition(b"\t")[2]

    def _rank(self, row: int, query: bytes, words: Sequence[bytes]) -> tuple[int, int]:
        """Smaller is better: exact, prefix, word, elsewhere; the shorter text first."""
        line = self._lines[row]
        name, _, text = line.partition(b"\t")
        if query == name:
            tier = 0
        elif name.startswith(query):
            tier = 1
        elif text.startswith(query):
            tier = 2
        elif _at_word(query, line):
            tier = 3
        elif all(_at_word(word, line) for word in words):
            tier = 4
        else:
            tier = 5
        return tier, len(line)

    # --- what is only similar -------------------------------------------------------------------

    def _alike(self, query: str) -> list[int]:
        """What is like the query. One slip leaves half of a word as it was: those are compared."""
        texts = {
            row: self._lines[row].decode(errors="replace").replace("_", " ").replace("-", " ")
            for row in sorted(self._near(query.encode().split(b" ")))
        }
        wanted = query.replace("_", " ").replace("-", " ")
        found = process.extract(
            wanted, texts, scorer=fuzz.token_set_ratio, score_cutoff=_LIKE_ENOUGH, limit=MOST // 2
        )
        if not found:
            found = process.extract(
                wanted, texts, scorer=fuzz.partial_ratio, score_cutoff=80, limit=MOST // 2
            )
        return [row for _, _, row in found]

    def _near(self, words: Sequence[bytes]) -> set[int]:
        """Rows with half of a word that nothing holds, where the other words are if that can be."""
        wrong = [word for word in words if not self._together([word])] or words
        right = [word for word in words if word not in wrong]
        near: set[int] = set()
        for word in wrong:
            for part in _halves(word):
                near |= self._together([part, *right]) or self._together([part])
        return near


def _at_word(word: bytes, line: bytes) -> bool:
    position = line.find(word)
    while position >= 0:
        before = line[position - 1 : position]
        if not before or not (before.isalnum() or before[0] > 127):
            return True
        position = line.find(word, position + 1)
    return False


def _halves(word: bytes) -> Iterable[bytes]:
    middle = (len(word) + 1) // 2
    return [part for part in (word[:middle], word[middle:]) if len(part) > 1]


# --- one index a process and database, made again when the copy changed --------------------------

_indexes: dict[str, tuple[int, Index]] = {}
_making = threading.Lock()


def warm(installation: Installation) -> None:
    """Make the index now, so that nobody who types waits for it."""
    with installation.reading() as session:
        _index(session)


def warm_soon(installation: Installation) -> None:
    """The same in the background, if there is none yet."""
    if str(installation.engine.url) not in _indexes:
        threading.Thread(target=warm, args=(installation,), name="index", daemon=True).start()


def _index(session: Session) -> Index:
    bind = session.get_bind()
    name = str(bind.engine.url)
    version = session.scalar(sa.select(models.Marker.number).where(models.Marker.name == MARKER))
    found = _indexes.get(name)
    if found is not None and found[0] == version:
        return found[1]
    with _making:
        found = _indexes.get(name)
        if found is None or found[0] != version:
            found = (version or 0, Index(_offered(session)))
            if version is not None:
                _indexes[name] = found
    return found[1]


def _offered(session: Session) -> Iterable[tuple[int, str, str]]:
    item = models.CatalogItem
    query = sa.select(item.id, item.identifier, item.description).where(
        ~item.inactive, ~item.gone, sa.func.coalesce(item.product_class, "") != _BUNDLE
    )
    return [(number, name, text) for number, name, text in session.execute(query)]


def by_identifier(session: Session, wanted: int | str) -> ItemChoice | None:
    """The item with this record id, or with exactly this identifier, if it may be used."""
    item = models.CatalogItem
    query = sa.select(item).where(
        ~item.inactive, ~item.gone, sa.func.coalesce(item.product_class, "") != _BUNDLE
    )
    if isinstance(wanted, int):
        query = query.where(item.id == wanted)
    else:
        query = query.where(sa.func.lower(item.identifier) == wanted.lower())
    found = session.scalars(query.order_by(item.id).limit(2)).all()
    if len(found) > 1:
        found = [row for row in found if row.identifier == wanted]
    return ItemChoice(found[0].id, found[0].identifier) if found else None
