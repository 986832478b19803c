"""The web page: one file an area."""

from __future__ import annotations

from flask import Flask

from blueprints import access, assets, auth, errors, overview, page, security


def register(app: Flask) -> None:
    """Add every page, and what guards them all."""
    security.init_app(app)
    access.init_app(app)
    errors.init_app(app)
    page.init_app(app)
    for blueprint in (
        assets.blueprint,
        auth.blueprint,
        overview.blueprint,
    ):
        app.register_blueprint(blueprint)
