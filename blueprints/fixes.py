"""Where a person goes to put something right: addresses of other areas' pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import current_app, url_for

import models
from services.monitoring.findings import OpenFinding


def run_url(run: models.SyncRun | None, **values: Any) -> str | None:
    """The page of one run."""
    return url_if("sync_runs.show", run_id=run.id, **values) if run else None


def product_url(key: str) -> str | None:
    """The product page, searched for one Sophos product."""
    return url_if("product_mappings.index", text=key)


def url_if(endpoint: str, **values: Any) -> str | None:
    """The address of a page, or None where this installation has no such page."""
    if endpoint not in current_app.view_functions:
        return None
    return url_for(endpoint, **values)


@dataclass(frozen=True)
class Fix:
    """The way to a fix: what it is called, where it is, and whether it opens as a dialog."""

    text: str
    url: str
    dialog: bool = False


_TENANT = {"unmapped_tenant", "agreement_unusable"}
_LIST = {"sync_off", "left_alone", "ambiguous_addition", "negative_usage"}
_PRODUCT = {
    "new_product",
    "unmapped_product",
    "catalog_item_unusable",
    "default_product_conflict",
    "price_missing",
}


def fix_of(finding: OpenFinding) -> Fix | None:
    """The one click that leads to where a finding is put right; None where there is no page."""
    tenant_id, url = finding.tenant_id, None
    if finding.kind in _TENANT and tenant_id:
        where = url_for("tenant_mappings.edit", tenant_id=tenant_id)
        return Fix("Choose agreement …", where, dialog=True)
    if finding.kind in _PRODUCT:
        url = product_url(finding.product_key or finding.subject)
        return Fix("Open product", url) if url else None
    if finding.kind in _LIST and tenant_id:
        return Fix("Open customer", url_for("tenant_mappings.index", q=tenant_id))
    if finding.run_id is not None:
        anchor = f"change-{finding.change_id}" if finding.change_id else None
        url = url_if("sync_runs.show", run_id=finding.run_id, _anchor=anchor)
    return Fix("Review in the run", url) if url else None
