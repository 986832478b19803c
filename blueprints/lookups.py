"""What type-aheads ask for: options as a fragment of HTML."""

from __future__ import annotations

from flask import Blueprint, Response, request

from blueprints.access import requires
from blueprints.htmx import render
from blueprints.support import reading
from models import Role
from services.products.catalog_search import LEAST, normalised, search

blueprint = Blueprint("lookups", __name__, url_prefix="/lookups")


@blueprint.get("/catalog-items")
@requires(Role.OPERATOR)
def catalog_items() -> Response:
    """At most 20 ConnectWise products for what was typed, best first."""
    query = request.args.get("q", "").strip()[:200]
    with reading() as session:
        found = search(session, query)
        return render(
            "lookups/catalog_items.html",
            fragment="lookups/_catalog_items.html",
            found=found,
            query=query,
            too_short=len(normalised(query)) < LEAST,
        )
