"""Counts the examples of the law that is running."""

from __future__ import annotations

_seen = 0


def example() -> None:
    """Another example was tried."""
    global _seen  # noqa: PLW0603
    _seen += 1


def take() -> int:
    """The examples since the last call."""
    global _seen
    count, _seen = _seen, 0
    return count
