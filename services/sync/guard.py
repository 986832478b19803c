"""The guard rails: which changes a person must approve first, and why.

Seats that move elsewhere (`Change.moved`) are no decrease. Changes that move the same seats (one
`group`) are held together: half a move would bill them twice, or nowhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
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
    restored: bool = False,
) -> Plan:
    """Hold what looks wrong.

    `managed` is the number of additions that we keep right; `tenants_now` are the tenants of this
    report and `tenants_before` those of the last complete one (empty when there is none).
    `synced` is the newest month that was written already: a plan for an older `month` is held,
    because quantities have no month in ConnectWise, and the older ones would be invoiced next.
    `restored`: a backup was put back and nobody has looked since; what it says we made, and where
    it maps, may be from the past, so that what stands elsewhere by now would be billed twice.
    """
    falling = sum(1 for change in plan.changes if _fall(change) > 0)
    too_many = _too_many_falling(falling, managed, rules)
    changes = [
        change for unit in _units(plan.changes) for change in _hold_together(unit, rules, too_many)
    ]
    plan = weighed(plan, changes)
    if synced and month and month < synced:
        plan = _hold_all(plan, f"usage of {synced} was written already")
    if restored:
        plan = _hold_all(plan, "a backup was put back, and nobody has approved anything since")
    if shrunk := _shrunk(tenants_now, tenants_before, rules):
        plan = _hold_all(plan, shrunk)
        findings = tuple(sorted({*plan.findings, _shrunk_finding(shrunk)}))
        plan = dataclasses.replace(plan, findings=findings)
    return plan


def weighed(plan: Plan, changes: Iterable[Change]) -> Plan:
    """The plan with more of its changes held.

    Until a group is released, its additions stand for what they stood for.
    """
    changes = tuple(changes)
    waiting = {c.group for c in changes if c.held and c.group}
    groups = plan.confirmed_groups
    confirmed = tuple(o for o in plan.confirmed if groups.get(o.addition_id) not in waiting)
    return dataclasses.replace(plan, changes=changes, confirmed=confirmed)


def _units(changes: Iterable[Change]) -> list[list[Change]]:
    """Changes in their order; those of a group together, at the place of the first of them."""
    members: dict[object, list[Change]] = {}
    for n, change in enumerate(changes):
        members.setdefault(change.group or n, []).append(change)
    return list(members.values())


def _fall(change: Change) -> Decimal:
    """By how much fewer seats are billed than before, those that moved elsewhere not counted."""
    if change.before is None or change.after is None:
        return _ZERO
    return change.before - change.after - change.moved


def _hold_together(unit: list[Change], rules: Rules, too_many: str | None) -> list[Change]:
    """Weigh every change of a unit; one that is held holds them all."""
    dear = _price_effect(unit, rules)
    weighed = []
    for change in unit:
        reasons = [_decrease(change, rules), too_many if _fall(change) > 0 else None, dear]
        weighed.append(_with_hold(change, "; ".join(r for r in reasons if r)))
    if not any(change.held for change in weighed):
        return weighed
    return [c if c.held else _with_hold(c, "it belongs to a held change") for c in weighed]


def _decrease(change: Change, rules: Rules) -> str | None:
    fall = _fall(change)
    if change.before is None or fall <= 0:
        return None
    if change.after == 0 and change.moved == 0 and rules.hold_drop_to_zero:
        return f"a drop to zero from {number(change.before)}"
    limit = rules.decrease_percent
    if limit is None or fall < rules.decrease_at_least or fall * 100 <= limit * change.before:
        return None
    return (
        f"a decrease of {number(fall)} from {number(change.before)}, "
        f"which is more than {number(limit)} %"
    )


def _price_effect(unit: Iterable[Change], rules: Rules) -> str | None:
    """Within a move the new place costs what the old one no longer does."""
    changes = list(unit)
    effect = sum((c.money or _ZERO for c in changes), _ZERO)
    if all((c.after or _ZERO) <= (c.before or _ZERO) for c in changes):
        # The seats were given to their new place before: only what nobody bills any more counts.
        effect += sum((c.moved * (c.unit_price or _ZERO) for c in changes), _ZERO)
    if rules.price_effect_limit is None or abs(effect) <= rules.price_effect_limit:
        return None
    return f"a price effect of {effect:.2f}, over the limit of {rules.price_effect_limit:.2f}"


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


def _hold_all(plan: Plan, why: str) -> Plan:
    """Nothing is written, and nothing is learned of whose seats our additions are."""
    changes = tuple(_with_hold(change, why) for change in plan.changes)
    return dataclasses.replace(plan, changes=changes, confirmed=())


def _with_hold(change: Change, why: str) -> Change:
    if not why:
        return change
    held = f"{change.held}; {why}" if change.held else why
    return dataclasses.replace(change, held=held)
