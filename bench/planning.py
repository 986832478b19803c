"""The child that plans one month once and prints what it took: python -m bench.planning."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

from bench.machine import cpu_seconds, peak_megabytes
from bench.situation import Size, situation
from services.sync.desired import DesiredState, desired_additions
from services.sync.guard import guard
from services.sync.model import Plan, Situation
from services.sync.plan import compute_plan

T = TypeVar("T")
_YARDSTICKS = 5


def main() -> None:
    """Plan, then do the yardstick, and print both."""
    month = situation(Size())
    before = peak_megabytes()
    desired, desired_cpu = _timed(lambda: desired_additions(month))
    plan, plan_cpu = _timed(lambda: compute_plan(month, desired))
    guarded, guard_cpu = _timed(lambda: _guarded(month, desired, plan))
    peak = peak_megabytes()
    yardstick_cpu = min(_timed(lambda: _yardstick(month))[1] for _ in range(_YARDSTICKS))
    found = {
        "desired": len(desired.desired),
        "actual": sum(map(len, month.additions.values())),
        "changes": len(guarded.changes),
        "right": len(guarded.confirmed),
        "cpu": desired_cpu + plan_cpu + guard_cpu,
        "parts": {"desired": desired_cpu, "plan": plan_cpu, "guard": guard_cpu},
        "peak_mb": peak,
        "situation_mb": before,
        "yardstick_cpu": yardstick_cpu,
    }
    print(json.dumps(found))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    start = cpu_seconds()
    result = work()
    return result, cpu_seconds() - start


def _guarded(month: Situation, desired: DesiredState, plan: Plan) -> Plan:
    return guard(
        plan,
        month.rules,
        managed=sum(1 for owned in month.owned if not owned.ended_by_us),
        tenants_now=desired.tenants_with_usage,
        tenants_before=frozenset(month.tenants),
    )


# --- the yardstick ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Sum:
    tenant_id: str
    product_key: str
    quantity: Decimal


def _yardstick(month: Situation) -> list[_Sum]:
    """The least that any planning must do: add up the same lines, keep and sort the sums."""
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for line in month.usage:
        sums[line.tenant_id or "", line.product_key] += line.quantity
    made = [_Sum(tenant, product, quantity) for (tenant, product), quantity in sums.items()]
    return sorted(made, key=lambda each: (each.tenant_id, each.product_key))


if __name__ == "__main__":
    main()
