"""A page of a long list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of `total` items; pages are counted from 1."""

    items: Sequence[T]
    number: int
    size: int
    total: int

    @property
    def last(self) -> int:
        """The number of the last page; 1 for an empty list."""
        return max(1, -(-self.total // self.size))

    @property
    def first_item(self) -> int:
        """The place of the first item shown, counted from 1."""
        return (self.number - 1) * self.size + 1 if self.items else 0

    @property
    def last_item(self) -> int:
        """The place of the last item shown."""
        return self.first_item + len(self.items) - 1 if self.items else 0


def window(wanted: int, *, size: int, total: int) -> tuple[int, int]:
    """The page number that exists nearest to the one wanted, and the offset of its first item."""
    number = min(max(1, wanted), max(1, -(-total // size)))
    return number, (number - 1) * size
