"""Bars of a small chart as plain numbers, for an SVG without styles of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

WIDTH, HEIGHT = 600, 180
_TOP, _BOTTOM = 22, 22
_ROOM = HEIGHT - _TOP - _BOTTOM


@dataclass(frozen=True)
class Bar:
    label: str
    value: Decimal
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 1)


@dataclass(frozen=True)
class Chart:
    width: int
    height: int
    base: int
    bars: tuple[Bar, ...]


def bars(values: Sequence[tuple[str, Decimal]]) -> Chart:
    """Bars from zero up; a month below zero has none, and its number says so."""
    most = max((value for _, value in values), default=Decimal(0))
    slot = WIDTH / max(len(values), 6)
    made = tuple(
        _bar(label, value, position * slot, slot, most)
        for position, (label, value) in enumerate(values)
    )
    return Chart(WIDTH, HEIGHT, HEIGHT - _BOTTOM, made)


def _bar(label: str, value: Decimal, left: float, slot: float, most: Decimal) -> Bar:
    height = float(max(value, Decimal(0)) / most) * _ROOM if most > 0 else 0.0
    return Bar(
        label=label,
        value=value,
        x=round(left + slot * 0.15, 1),
        y=round(HEIGHT - _BOTTOM - height, 1),
        width=round(slot * 0.7, 1),
        height=round(height, 1),
    )
