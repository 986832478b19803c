"""What happens outside our client: people at work in ConnectWise, reports that appear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sandbox.connectwise.computed import computed_addition, computed_item
from sandbox.connectwise.tables import ConnectWiseWorld, Table
from sandbox.seeding.sophos import Month, SophosWorld, price_orders, usage_line

PERSON = "jdoe"


class EditError(ValueError):
    """An edit that names something that is not there."""


class Editor:
    """Changes either vendor's data directly, without the rules that bind API clients."""

    def __init__(self, sophos: SophosWorld, connectwise: ConnectWiseWorld) -> None:
        self.sophos = sophos
        self.connectwise = connectwise
        self._actions: dict[str, Callable[..., Any]] = {
            "addition": self.addition,
            "remove_addition": self.remove_addition,
            "agreement": self.agreement,
            "company": self.company,
            "catalog": self.catalog,
            "set_usage": self.set_usage,
            "add_usage_line": self.add_usage_line,
            "remove_usage_lines": self.remove_usage_lines,
            "month_ready": self.month_ready,
        }

    def run(self, body: Any) -> Any:
        """Do the edit that a JSON object describes: its `action` and that action's arguments."""
        if not isinstance(body, dict) or body.get("action") not in self._actions:
            raise EditError(f"action is one of: {', '.join(self._actions)}")
        arguments = {
            "number" if name == "id" else name: value
            for name, value in body.items()
            if name != "action"
        }
        try:
            return self._actions[body["action"]](**arguments)
        except (TypeError, KeyError, StopIteration) as error:
            raise EditError(f"{type(error).__name__}: {error}") from error

    def addition(self, number: int, **changes: Any) -> dict[str, Any]:
        """Change fields of an addition; null takes a field away."""
        agreement_id, table = self._addition_table(number)
        agreement = self.connectwise.agreements.rows[agreement_id]
        record = _changed(table.rows[number], changes)
        table.replace(
            number, computed_addition(self.connectwise, agreement, record), PERSON, self._now()
        )
        return table.rows[number]

    def remove_addition(self, number: int) -> None:
        """Delete an addition."""
        self._addition_table(number)[1].remove(number)

    def agreement(self, number: int, **changes: Any) -> dict[str, Any]:
        """Change fields of an agreement; its additions show its status."""
        agreements = self.connectwise.agreements
        record = _changed(agreements.rows[number], changes)
        agreements.replace(number, record, PERSON, self._now())
        table = self.connectwise.additions_of(number)
        for key, row in list(table.rows.items()):
            table.rows[key] = computed_addition(self.connectwise, record, row)
        return record

    def company(self, number: int, **changes: Any) -> dict[str, Any]:
        """Change fields of a company."""
        return self._plain(self.connectwise.companies, number, changes)

    def catalog(self, number: int, **changes: Any) -> dict[str, Any]:
        """Change fields of a catalog item."""
        items = self.connectwise.catalog
        del self.connectwise.identifiers[items.rows[number]["identifier"].casefold()]
        self._plain(items, number, changes)
        items.rows[number] = computed_item(self.connectwise, items.rows[number])
        self.connectwise.identifiers[items.rows[number]["identifier"].casefold()] = number
        return items.rows[number]

    def set_usage(self, month: str, tenant: str, product: str, quantity: int) -> None:
        """Make a tenant's usage of a product one line with this number; 0 takes it away."""
        self.remove_usage_lines(month, tenant, product)
        if quantity == 0:
            return
        found = next(entry for entry in self.sophos.tenants if entry["id"] == tenant)
        known = next(entry for entry in self.sophos.products if entry.code == product)
        key = parse_month(month)
        self.add_usage_line(month, usage_line(key, found, known, quantity))

    def add_usage_line(self, month: str, line: dict[str, Any]) -> None:
        """Add a line to a report as it is."""
        lines = [*self.sophos.usage.get(parse_month(month), []), line]
        price_orders(lines)
        self.sophos.usage[parse_month(month)] = lines

    def remove_usage_lines(
        self,
        month: str,
        tenant: str | None = None,
        product: str | None = None,
        serial: str | None = None,
    ) -> int:
        """Take lines out of a report; how many. Without further arguments all of them."""
        wanted = {
            "accountId": tenant, "productCode": product, "accountNumberOrSerialNumber": serial,
        }  # fmt: skip
        wanted = {name: value for name, value in wanted.items() if value is not None}
        lines = self.sophos.usage[parse_month(month)]
        kept = [
            line
            for line in lines
            if not all(line.get(name) == value for name, value in wanted.items())
        ]
        self.sophos.usage[parse_month(month)] = kept
        return len(lines) - len(kept)

    def month_ready(self, month: str, *, ready: bool = True) -> None:
        """Let a month's report appear, or disappear."""
        key = parse_month(month)
        if ready and key not in self.sophos.usage:
            raise EditError(f"there is no report of {month} to show")
        (self.sophos.ready.add if ready else self.sophos.ready.discard)(key)

    def _plain(self, table: Table, number: int, changes: dict[str, Any]) -> dict[str, Any]:
        table.replace(number, _changed(table.rows[number], changes), PERSON, self._now())
        return table.rows[number]

    def _addition_table(self, number: int) -> tuple[int, Table]:
        for agreement_id, table in self.connectwise.additions.items():
            if number in table.rows:
                return agreement_id, table
        raise EditError(f"there is no addition {number}")

    def _now(self) -> str:
        return self.connectwise.stamp()


def parse_month(text: str) -> Month:
    """2026-10 as (2026, 10)."""
    year, _, month = text.partition("-")
    if not (year.isdigit() and month.isdigit() and 1 <= int(month) <= 12):
        raise EditError(f"'{text}' is no month like 2026-10")
    return int(year), int(month)


def _changed(record: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**record, **changes}.items() if value is not None}


def state(sophos: SophosWorld, connectwise: ConnectWiseWorld) -> dict[str, Any]:
    """All that both vendors hold, as plain values; agreements' additions by agreement id."""
    return {
        "companies": list(connectwise.companies.rows.values()),
        "agreements": list(connectwise.agreements.rows.values()),
        "additions": {
            str(number): [{**row, "_info": table.info[row["id"]]} for row in table.rows.values()]
            for number, table in connectwise.additions.items()
        },
        "catalog": list(connectwise.catalog.rows.values()),
        "tenants": sophos.tenants,
        "usage": {f"{year}-{month:02}": rows for (year, month), rows in sophos.usage.items()},
        "ready": [f"{year}-{month:02}" for year, month in sorted(sophos.ready)],
    }
