"""A mapping file that fits the seeded data: most things mapped, some left to do."""

from __future__ import annotations

from typing import Any

import yaml

from sandbox.connectwise.tables import ConnectWiseWorld
from sandbox.seeding import roles
from sandbox.seeding.sophos import SophosWorld

PRODUCT_LEFT_OUT = "CPHISH-MSP"
PRODUCTS_NOT_MAPPED = ("NDR-MSP", "CW7-SUP-MSP")
# Both are billed under one item.
SHARED_ITEM = {"CMS-MSP": "Sophos_Mobile_Advanced"}


def sample_config(
    sophos: SophosWorld, connectwise: ConnectWiseWorld, main_agreements: list[int]
) -> str:
    """The mappings as YAML."""
    document = {
        "products": _products(sophos),
        "tenants": _tenants(sophos, connectwise, main_agreements),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _products(sophos: SophosWorld) -> list[dict[str, Any]]:
    rows = []
    for product in sophos.products:
        if product.code == PRODUCT_LEFT_OUT:
            continue
        item = SHARED_ITEM.get(product.code, product.identifier)
        mapped = None if product.code in PRODUCTS_NOT_MAPPED else item
        rows.append({"code": product.code, "catalog_item": mapped, "sync": True})
    return rows


def _tenants(
    sophos: SophosWorld, connectwise: ConnectWiseWorld, main_agreements: list[int]
) -> list[dict[str, Any]]:
    rows = []
    for index, tenant in enumerate(sophos.tenants):
        role = roles.role(index)
        if role in roles.LEFT_OUT or role in roles.TRIAL:
            continue
        place = index - 1 if role == roles.SHARES_WITH_PREVIOUS else index
        agreement = connectwise.agreements.rows[main_agreements[place]]
        rows.append(
            {
                "id": tenant["id"],
                "name": tenant["name"],
                "company": agreement["company"]["identifier"],
                "agreement": agreement["id"],
                "sync": role not in roles.SYNC_OFF,
            }
        )
    return rows
