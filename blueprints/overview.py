"""Is it healthy, at a glance?"""

from __future__ import annotations

from flask import Blueprint, Response, make_response, render_template

from blueprints.access import requires
from models import Role

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
@requires(Role.VIEWER)
def index() -> Response:
    return make_response(render_template("overview/index.html"))
