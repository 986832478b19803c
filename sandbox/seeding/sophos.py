"""A partner's tenants, billing reports, firewalls and licences."""

from __future__ import annotations

import calendar
import random
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sandbox.options import Options, month_of
from sandbox.seeding import names, roles
from sandbox.seeding.firewalls import firewall_lines, seed_firewalls

Month = tuple[int, int]
Line = dict[str, Any]

REGIONS = (("US", "us03"), ("IE", "eu01"), ("DE", "eu02"), ("CA", "ca01"), ("AU", "au01"))


@dataclass
class SophosWorld:
    """Everything Sophos knows about one partner."""

    partner_id: str
    client_id: str
    client_secret: str
    tenants: list[dict[str, Any]]
    usage: dict[Month, list[Line]]
    ready: set[Month]
    firewalls: list[dict[str, Any]]
    licenses: dict[str, list[dict[str, Any]]]
    licenses_forbidden: set[str]
    products: tuple[names.Product, ...]
    tokens: dict[str, float] = field(default_factory=dict)


def new_id(rng: random.Random) -> str:
    """A random version 4 UUID that depends on the seed only."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def seed_sophos(options: Options) -> SophosWorld:
    """All of the Sophos side for these options."""
    rng = random.Random(f"sophos-{options.seed}")
    partner_id = new_id(rng)
    client_id = new_id(rng)
    secret = "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=64))
    products = names.products(options.products)
    tenants = [
        _tenant(index, name, partner_id, rng)
        for index, name in enumerate(names.customer_names(options.tenants))
    ]
    months = report_months(options)
    firewalls = seed_firewalls(tenants, partner_id, rng)
    newest = options.newest_month()
    usage = _reports(tenants, products, months, newest, rng)
    for month, lines in usage.items():
        lines.extend(firewall_lines(firewalls, month, partner_id))
        lines.extend(_line_without_code(month, tenant) for tenant in tenants[:1])
        _finish_report(lines, month)
    return SophosWorld(
        partner_id=partner_id,
        client_id=client_id,
        client_secret=secret,
        tenants=tenants,
        usage=usage,
        ready={month for month in months if month <= newest},
        firewalls=[entry for entry in firewalls if entry.pop("listed")],
        licenses=_licenses(tenants, usage[newest], products, newest, rng),
        licenses_forbidden={
            tenant["id"] for tenant in tenants if tenant["billingType"] in ("term", "trial")
        },
        products=products,
    )


def report_months(options: Options) -> list[Month]:
    """The months with data, oldest first; the current one is there even when not yet ready."""
    day = options.current_day()
    current = month_of(day)
    waiting = 0 if options.newest_month() == current else 1
    return [month_of(day, back) for back in reversed(range(options.months + waiting))]


def _tenant(index: int, name: str, partner_id: str, rng: random.Random) -> dict[str, Any]:
    role = roles.role(index)
    geography, region = rng.choice(REGIONS)
    kind = "trial" if role in roles.TRIAL else "term" if role in roles.TERM else "usage"
    api_host = (
        None if role in roles.WITHOUT_API_HOST else f"https://api-{region}.central.sophos.com"
    )
    return {
        "id": new_id(rng),
        "showAs": name,
        "name": name,
        "dataGeography": geography,
        "dataRegion": region,
        "billingType": kind,
        "partner": {"id": partner_id},
        "apiHost": api_host,
        "status": "suspended" if role == roles.SUSPENDED else "active",
        "products": [],
    }


def _quantities(months: int, fresh: int, rng: random.Random) -> list[int]:
    """How one customer's number moves: steady or not, at times new or ended `fresh` months ago."""
    amount = rng.choice((1, 2, 3, 5, 8, 12, 17, 24, 31, 47, 60, 85))
    series = []
    for _ in range(months):
        series.append(amount)
        move = rng.random()
        if move > 0.80:
            amount += rng.randint(1, max(1, amount // 5))
        elif move < 0.12:
            amount = max(1, amount - rng.randint(1, max(1, amount // 8)))
    fate = rng.random()
    if fate < 0.04:
        series[-fresh:] = [0] * len(series[-fresh:])
    elif fate > 0.94:
        series[:-fresh] = [0] * len(series[:-fresh])
    return series


def _chosen(products: tuple[names.Product, ...], rng: random.Random) -> list[names.Product]:
    """What one customer uses: a few of the usual ones, and a share of the invented ones."""
    usual = min(len(products), len(names.PRODUCTS))
    count = min(usual, rng.randint(2, 6))
    picked = rng.sample(range(usual), count)
    if len(products) > usual:
        picked += rng.sample(range(usual, len(products)), min(6, len(products) - usual))
    return [products[number] for number in sorted(picked)]


def _reports(
    tenants: list[dict[str, Any]],
    products: tuple[names.Product, ...],
    months: list[Month],
    newest: Month,
    rng: random.Random,
) -> dict[Month, list[Line]]:
    fresh = sum(month >= newest for month in months)
    reports: dict[Month, list[Line]] = {month: [] for month in months}
    for index, tenant in enumerate(tenants):
        role = roles.role(index)
        if role in roles.TRIAL or role == roles.WITHOUT_USAGE:
            continue
        status = "canceled" if role == roles.CANCELED_ACCOUNT else tenant["status"]
        for product in _chosen(products, rng):
            tenant["products"].append({"code": product.code})
            for position, amount in enumerate(_quantities(len(months), fresh, rng)):
                month = months[position]
                older = product.older_name if month < newest else None
                parts = _parts(amount) if role in roles.SPLIT_LINES else [amount]
                for part_number, part in enumerate(parts):
                    if part == 0:
                        continue
                    line = usage_line(month, tenant, product, part)
                    line["productDescription"] = older or product.name
                    line["accountStatus"] = status
                    line["orderNumber"] += str(part_number)
                    reports[month].append(line)
    return reports


def _parts(amount: int) -> list[int]:
    """A number as two or three order lines."""
    if amount < 4:
        return [amount]
    if amount < 20:
        return [amount - 2, 2]
    return [amount - amount // 3 - 3, amount // 3, 3]


def _line_without_code(month: Month, tenant: dict[str, Any]) -> Line:
    """A product that has a stock-keeping unit only."""
    product = names.Product("", "Web Gateway (legacy) - MSP", "User", "0.5500", "")
    line = usage_line(month, tenant, product, 6)
    del line["productCode"]
    return line | {"sku": "WGLEGACY01", "orderNumber": f"{month[0] % 100:02}{month[1]:02}777"}


def usage_line(month: Month, tenant: dict[str, Any], product: names.Product, amount: int) -> Line:
    """One line of the billing report for a tenant and a product."""
    year, number = month
    last = calendar.monthrange(year, number)[1]
    position = sum(product.code.encode()) % 900
    return {
        "partnerAccountId": tenant["partner"]["id"],
        "partnerEdiAccountNumber": "EDI-0012207",
        "partnerAccountName": "Example Managed Services",
        "billingStartDate": f"{year}-{number:02}-01",
        "billingEndDate": f"{year}-{number:02}-{last:02}",
        "orderNumber": f"{year % 100:02}{number:02}{position:03}",
        "orderLineItemNumber": str(10 + position % 7 * 10),
        "accountNumberOrSerialNumber": f"A{tenant['id'][:8].upper()}",
        "productDescription": product.name,
        "productGroup": product.group,
        "sku": f"{product.code.replace('-', '').upper()[:12]}01",
        "billableQuantity": amount,
        "externalId": f"{tenant['id'][-12:]}",
        "accountId": tenant["id"],
        "accountStatus": tenant["status"],
        "actualQuantity": amount,
        "productCode": product.code,
        "assignedAccountIdentifier": tenant["name"],
        "unitMsrpCurrency": "USD",
        "unitMsrp": str(Decimal(product.price) * 2),
        "unitPriceCurrency": "USD",
        "unitPrice": product.price,
        "netPriceCurrency": "USD",
        "netPrice": "0.00",
    }


def _finish_report(lines: list[Line], month: Month) -> None:
    """The oddities of real reports, then the price of each whole order on all its lines."""
    if len(lines) > 12:
        lines[11]["billingStartDate"] = f"{month[0]}-04-31"
        lines[12]["billingEndDate"] = f"{month[0]}-02-30"
        lines[2]["orderedQuantity"] = lines[2]["billableQuantity"] + 1
        lines[5]["additionalDiscountPercentage"] = 2.5
    price_orders(lines)


def price_orders(lines: list[Line]) -> None:
    """Write each order line's total on every customer's line of it."""
    totals: dict[tuple[str, str], Decimal] = {}
    for line in lines:
        key = (line["orderNumber"], line["orderLineItemNumber"])
        cost = Decimal(line.get("unitPrice", "0")) * line["billableQuantity"]
        totals[key] = totals.get(key, Decimal(0)) + cost
    for line in lines:
        total = totals[line["orderNumber"], line["orderLineItemNumber"]]
        line["netPrice"] = f"{total:.2f}"


def _licenses(
    tenants: list[dict[str, Any]],
    lines: list[Line],
    products: tuple[names.Product, ...],
    month: Month,
    rng: random.Random,
) -> dict[str, list[dict[str, Any]]]:
    """Live counts near the newest report's numbers; every seventh licence has none."""
    by_code = {product.code: product for product in products}
    totals: dict[tuple[str, str], int] = {}
    for line in lines:
        key = (line.get("accountId", ""), line.get("productCode", ""))
        totals[key] = totals.get(key, 0) + line["billableQuantity"]
    found: dict[str, list[dict[str, Any]]] = {tenant["id"]: [] for tenant in tenants}
    for number, ((tenant_id, code), amount) in enumerate(totals.items()):
        if tenant_id not in found or code not in by_code:
            continue
        entry: dict[str, Any] = {
            "id": new_id(rng),
            "licenseIdentifier": f"L{number:07}",
            "product": {
                "code": code,
                "name": by_code[code].name,
                "genericCode": code.removesuffix("-MSP"),
            },
            "startDate": "2024-01-01",
            "perpetual": False,
            "type": "usage",
            "quantity": amount,
            "unlimited": False,
        }
        if number % 7 != 6:
            day = f"{month[0]}-{month[1]:02}-28"
            count = max(0, amount + rng.choice((-1, 0, 0, 0, 1, 2)))
            current = {"count": count, "date": day, "collectedAt": f"{day}T04:10:00.000Z"}
            entry["usage"] = {"current": current}
        found[tenant_id].append(entry)
    return found
