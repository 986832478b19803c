"""Writing ConnectWise's `conditions`, and cutting long ones into several requests."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote_plus

MOST_PER_REQUEST = 100
MOST_URL_CHARACTERS = 1_999
_QUOTES = re.compile("[\"']")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records of a list are asked for: by ids, by texts, or by one given condition.

    At most one of them may be named; None means that it is not.
    """

    ids: Mapping[str, Collection[int] | None] = field(default_factory=dict)
    texts: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self._named() > 1:
            raise ValueError("ask for records in one way only")

    @property
    def is_everything(self) -> bool:
        """True when no choice was made."""
        return self._named() == 0

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to ask for: a choice of no ids or no texts."""
        return self._named() == 1 and not (self.conditions or any(self._values()))

    def written(self, room: int) -> Iterator[str]:
        """Conditions that together find at least all that is asked for.

        Each takes at most `room` characters in a URL. They may find more, so the answer must be
        compared with what was asked.
        """
        yield from self.conditions
        for name, ids in self.ids.items():
            yield from by_ids(name, ids or (), room)
        for name, texts in self.texts.items():
            yield from by_texts(name, texts or (), room)

    def _values(self) -> list[Collection[int] | Collection[str] | None]:
        return [*self.ids.values(), *self.texts.values()]

    def _named(self) -> int:
        return sum(value is not None for value in self._values()) + len(self.conditions)


def by_ids(name: str, ids: Collection[int], room: int) -> Iterator[str]:
    """Conditions for all `ids`, at most a hundred in each."""
    clauses = [str(int(number)) for number in sorted(set(ids))]
    return _chunks(clauses, lambda chunk: f"{name} in ({','.join(chunk)})", room)


def by_texts(name: str, texts: Collection[str], room: int) -> Iterator[str]:
    """Conditions that find at least every record whose field is one of `texts`.

    ConnectWise documents no way to write a quote character inside a quoted text, so where both
    kinds occur the longest part without one is searched for.
    """
    clauses = [_text_clause(name, text) for text in sorted(set(texts))]
    return _chunks(clauses, " or ".join, room)


def since(moment: dt.datetime) -> str:
    """Records that changed at or after a moment, which must carry its time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    utc = moment.astimezone(dt.UTC).replace(microsecond=0, tzinfo=None)
    return f"lastUpdated>=[{utc.isoformat()}Z]"


def _text_clause(name: str, text: str) -> str:
    for quote in "\"'":
        if quote not in text:
            return f"{name}={quote}{text}{quote}"
    longest = max(_QUOTES.split(text), key=len)
    # A text of nothing but quotes leaves nothing to search for: read all and compare.
    return f'{name} contains "{longest}"' if longest else "id>0"


def _chunks(clauses: Iterable[str], write: Callable[[list[str]], str], room: int) -> Iterator[str]:
    chunk: list[str] = []
    for clause in clauses:
        longer = [*chunk, clause]
        if chunk and (len(longer) > MOST_PER_REQUEST or len(quote_plus(write(longer))) > room):
            yield write(chunk)
            longer = [clause]
        chunk = longer
    if chunk:
        yield write(chunk)
