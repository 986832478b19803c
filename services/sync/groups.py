"""Targets that exchange seats belong together: a small union-find."""

from __future__ import annotations

from services.sync.model import Target


class Groups:
    """Sets of targets joined so far. The root of a set does not depend on the order of joining."""

    def __init__(self) -> None:
        self._parent: dict[Target, Target] = {}

    def join(self, one: Target, other: Target) -> None:
        """Put both, and all that belongs to either, into one set."""
        first, second = self._find(one), self._find(other)
        if first != second:
            low, high = sorted((first, second), key=target_order)
            self._parent[high] = low

    def root(self, target: Target) -> Target | None:
        """The least target of the set, or None for a target that was never joined."""
        return self._find(target) if target in self._parent else None

    def name(self, target: Target) -> str | None:
        """What its set is called, or None for a target that was never joined."""
        root = self.root(target)
        return f"{root.agreement_id}/{root.item}" if root else None

    def _find(self, target: Target) -> Target:
        self._parent.setdefault(target, target)
        while self._parent[target] != target:
            target = self._parent[target]
        return target


def target_order(target: Target) -> tuple[int, int, str]:
    """A total order over targets, of which some have no catalog item id yet."""
    item = target.item
    return (target.agreement_id, item if isinstance(item, int) else -1, str(item))
