"""The icons as one sprite, put together from the vendored files."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from flask import Blueprint, Response, current_app

from blueprints.access import public

blueprint = Blueprint("assets", __name__)


@blueprint.get("/icons.svg")
@public
def icons() -> Response:
    response = Response(sprite(Path(current_app.static_folder or "")), mimetype="image/svg+xml")
    response.headers["Cache-Control"] = "public, max-age=86400"
    return response


@functools.cache
def sprite(static: Path) -> str:
    """Every vendored icon as a symbol named after its file."""
    symbols = [_symbol(file) for file in sorted((static / "vendor" / "lucide").glob("*.svg"))]
    return f'<svg xmlns="http://www.w3.org/2000/svg">{"".join(symbols)}</svg>'


def _symbol(file: Path) -> str:
    inside = re.search(r"<svg[^>]*>(.*)</svg>", file.read_text(encoding="utf-8"), re.DOTALL)
    drawing = " ".join(inside[1].split()) if inside else ""
    return f'<symbol id="{file.stem}" viewBox="0 0 24 24">{drawing}</symbol>'
