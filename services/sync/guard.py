"""The guard rails: which changes a person must approve first, and why.

Changes that move the same seats (one `group`) are weighed as one: what leaves here arrives there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal

from services.sync.model import Change, Finding, FindingKind, Month, Plan
from services.sync.rules import Rules
from services.sync.words import number

_ZERO = Decimal(0)


def guard(
    plan: Plan,
    rules: Rules,
    *,
    managed: int,
    tenants_now: Collection[str],
    tenants_before: Collection[str],
    synced: Month | None = None,
    month: Month | None = None,
) -> Plan:
    """Hold what looks wrong.

    `managed` is the number of additions that we keep right; `tenants_now` are the tenants of this
    report and `tenants_before` those of the last complete one (empty when there is none).
    `synced` is the newest month that was written already: a plan for an older `month` is held,
    because quantities have no month in ConnectWise, and the older ones would be invoiced next.
    """
    units = _units(plan.changes)
    held = {i: _why_held(unit, rules) for i, unit in enumerate(units)}
    falling = [i for i, unit in enumerate(units) if unit.falls]
    if too_many := _too_many_falling(len(falling), managed, rules):
        held.update({i: _both(held[i], too_many) for i in falling})
    changes = [c for i, unit in enumerate(units) for c in _hold_together(unit, held[i])]
    findings = plan.findings
    if synced and month and month < synced:
        changes = [_with_hold(c, f"usage of {synced} was written already") for c in changes]
    if shrunk := _shrunk(tenants_now, tenants_before, rules):
        changes = [_with_hold(change, shrunk) for change in changes]
        findings = tuple(sorted({*findings, _shrunk_finding(shrunk)}))
    return dataclasses.replace(plan, changes=tuple(changes), findings=findings)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One change, or all changes of a group."""

    changes: tuple[Change, ...]

    @property
    def before(self) -> Decimal:
        return sum((c.before or _ZERO for c in self.changes), _ZERO)

    @property
    def after(self) -> Decimal:
        return sum((c.after or _ZERO for c in self.changes), _ZERO)

    @property
    def falls(self) -> bool:
        return self.after < self.before

    @property
    def money(self) -> Decimal:
        return sum((c.money or _ZERO for c in self.changes), _ZERO)


def _units(changes: Iterable[Change]) -> list[_Unit]:
    """Changes in their order; those of a group together, at the place of the first of them."""
    members: dict[object, list[Change]] = {}
    for n, change in enumerate(changes):
        members.setdefault(change.group or n, []).append(change)
    return [_Unit(tuple(group)) for group in members.values()]


def _why_held(unit: _Unit, rules: Rules) -> str | None:
    before, after = unit.before, unit.after
    fall = before - after
    reasons = [
        f"a drop to zero from {number(before)}"
        if rules.hold_drop_to_zero and after == 0 < before
        else None,
        f"a decrease of {number(fall)} from {number(before)}, which is more than "
        f"{number(rules.decrease_percent)} %"
        if rules.decrease_percent is not None
        and after > 0
        and fall >= rules.decrease_at_least
        and fall * 100 > rules.decrease_percent * before
        else None,
        f"a price effect of {unit.money:.2f}, over the limit of {rules.price_effect_limit:.2f}"
        if rules.price_effect_limit is not None and abs(unit.money) > rules.price_effect_limit
        else None,
    ]
    return "; ".join(r for r in reasons if r) or None


def _too_many_falling(falling: int, managed: int, rules: Rules) -> str | None:
    limit = rules.decreasing_share_percent
    if limit is None or managed == 0 or falling * 100 <= limit * managed:
        return None
    return f"{falling} of {managed} managed additions decrease at once, more than {number(limit)} %"


def _shrunk(now: Collection[str], before: Collection[str], rules: Rules) -> str | None:
    limit = rules.missing_tenants_percent
    missing = set(before) - set(now)
    if limit is None or not before or len(missing) * 100 <= limit * len(before):
        return None
    return (
        f"the report looks incomplete: {len(missing)} of the {len(before)} customers of the last "
        "complete report are missing"
    )


def _shrunk_finding(why: str) -> Finding:
    return Finding(
        FindingKind.REPORT_SHRUNK,
        "report",
        f"The whole plan is held: {why}.",
        "Look at the report in Sophos Central Partner; approve the changes if it is right.",
    )


def _hold_together(unit: _Unit, why: str | None) -> list[Change]:
    """One held change holds its whole group: half a move would bill seats twice, or nowhere."""
    changes = [_with_hold(c, why) for c in unit.changes] if why else list(unit.changes)
    if not any(c.held for c in changes):
        return changes
    return [c if c.held else _with_hold(c, "it belongs to a held change") for c in changes]


def _with_hold(change: Change, why: str) -> Change:
    return dataclasses.replace(change, held=_both(change.held, why))


def _both(one: str | None, other: str) -> str:
    return f"{one}; {other}" if one else other
