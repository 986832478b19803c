"""Type-ahead over the copy of the catalog: everything in one text in memory, scanned, no index.

One line an item, "identifier<tab>description", in lower case without accents, sorted. Scanning
100,000 items takes a few milliseconds and a few megabytes; what is shown is read by id.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from rapidfuzz import fuzz, process
from sqlalchemy.orm import Session

import models
from services.catalog_copy import MARKER
from services.installation import Installation
from services.product_mappings import ItemChoice

LEAST = 2
MOST = 20
_ENOUGH = 300
"""Hits that are ranked. Of a text that is more common, the better places are looked at too."""
_SAMPLE = 500_000
"""How much of the text is read to guess which of several words is the rarest."""
_LIKE_ENOUGH = 62
_REMEMBERED = 256
_BUNDLE = "Bundle"
_SPACES = re.compile(r"\s+")


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
    """All items that may be offered, as one text. Never changed after it is made."""

    def __init__(self, rows: Iterable[tuple[int, str, str]]) -> None:
        lines = sorted(
            (f"{normalised(name)}\t{normalised(text)}".encode(), number)
            for number, name, text in rows
        )
        self._text = b"\n" + b"\n".join(line for line, _ in lines) + b"\n"
        self._ids = array("q", (number for _, number in lines))
        self._starts = array("q", bytes(8 * len(lines)))
        position = 1
        for row, (line, _) in enumerate(lines):
            self._starts[row] = position
            position += len(line) + 1
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
        words = sorted(set(query.split(b" ")), key=len, reverse=True)
        rows = self._prefixed(query)
        if len(rows) < MOST:
            common = self._common(query, words)
            rows |= self._holding(words) if common is None else common
        ranked = sorted((self._rank(row, query, words), row) for row in rows)
        return [row for _, row in ranked[:MOST]]

    def _prefixed(self, query: bytes) -> set[int]:
        """The first items whose identifier begins with the query: the text is sorted."""
        first = bisect_left(range(len(self)), query, key=self._line)
        rows = set()
        for row in range(first, min(first + MOST, len(self))):
            if not self._line(row).startswith(query):
                break
            rows.add(row)
        return rows

    def _holding(self, words: Sequence[bytes]) -> set[int]:
        """Items that hold every word, found by the one that seems rarest."""
        rarest = min(words, key=lambda word: (self._text.count(word, 0, _SAMPLE), -len(word)))
        return self._scan(rarest, _ENOUGH // 2, [word for word in words if word != rarest])

    def _common(self, query: bytes, words: Sequence[bytes]) -> set[int] | None:
        """One word. What nearly everything holds is looked for in its better places too."""
        if len(words) > 1:
            return None
        rows = self._scan(query, _ENOUGH)
        if len(rows) < _ENOUGH:
            return rows
        return (
            rows | self._scan(b"\t" + query, _ENOUGH // 2) | self._scan(b" " + query, _ENOUGH // 2)
        )

    def _scan(self, needle: bytes, most: int, others: Sequence[bytes] = ()) -> set[int]:
        """The first rows that hold the needle and all others."""
        text, starts = self._text, self._starts
        rows: set[int] = set()
        find, last = text.find, len(starts) - 1
        position = find(needle)
        while position >= 0 and len(rows) < most:
            row = bisect_right(starts, position) - 1
            start, end = starts[max(row, 0)], starts[row + 1] if row < last else len(text)
            if all(find(word, start, end) >= 0 for word in others):
                rows.add(max(row, 0))
            position = find(needle, end - 1) if row < last else -1
        return rows

    def _rank(self, row: int, query: bytes, words: Sequence[bytes]) -> tuple[int, int]:
        """Smaller is better: exact, prefix, word, elsewhere; the shorter text first."""
        line = self._line(row)
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

    def _line(self, row: int) -> bytes:
        end = self._starts[row + 1] if row + 1 < len(self._starts) else len(self._text)
        return self._text[self._starts[row] : end - 1]

    # --- what is only similar -------------------------------------------------------------------

    def _alike(self, query: str) -> list[int]:
        """What is like the query. One slip leaves half of a word as it was: those are compared."""
        candidates: set[int] = set()
        for word in query.split(" "):
            for part in _halves(word):
                candidates |= self._scan(part.encode(), _ENOUGH)
        texts = {
            row: self._line(row).decode(errors="replace").replace("_", " ").replace("-", " ")
            for row in sorted(candidates)
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


def _at_word(word: bytes, line: bytes) -> bool:
    position = line.find(word)
    while position >= 0:
        before = line[position - 1 : position]
        if not before or not (before.isalnum() or before[0] > 127):
            return True
        position = line.find(word, position + 1)
    return False


def _halves(word: str) -> Iterable[str]:
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
