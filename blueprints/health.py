"""Seen from outside: whether it works, and its numbers for Prometheus. Nobody signs in here."""

from __future__ import annotations

import hmac

from flask import Blueprint, Response, abort, current_app, jsonify, make_response, request
from flask.blueprints import BlueprintSetupState

from blueprints.access import public
from blueprints.support import installation
from services.clients.http import observe
from services.monitoring.health import HealthChecks
from services.monitoring.metrics import exposition, vendor_calls

blueprint = Blueprint("health", __name__)

HEALTH = "/healthz"


@blueprint.record
def _init(state: BlueprintSetupState) -> None:
    here = state.app.extensions["tallybridge"]
    state.app.extensions["health"] = HealthChecks(here.engine, here.config.data_dir)
    observe(vendor_calls)


@blueprint.before_app_request
def _whatever_the_host_is_called() -> Response | None:
    """Answer a container's own check too, which asks for 127.0.0.1 and not for a trusted host.

    The answer holds nothing that depends on the host, or that anybody may not know.
    """
    refused = request.routing_exception is not None and request.endpoint is None
    return healthz() if refused and request.path == HEALTH and _is_reading() else None


@blueprint.get(HEALTH)
@public
def healthz() -> Response:
    checks: HealthChecks = current_app.extensions["health"]
    now = installation().now()
    found = checks.health(now, installation().locked_settings())
    return make_response(jsonify(found.document(now)), 200 if found.ok else 503)


@blueprint.get("/metrics")
@public
def metrics() -> Response:
    """For whoever knows the token; without one in the configuration there is no such page."""
    token = installation().config.metrics_token
    if token is None:
        abort(404)
    if not _knows(token.get_secret_value()):
        answer = make_response("A valid token is needed.\n", 401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="Tallybridge metrics"'
        answer.mimetype = "text/plain"
        return answer
    page, content_type = exposition(installation(), request.headers.get("Accept", ""))
    return Response(page, content_type=content_type)


def _is_reading() -> bool:
    return request.method in ("GET", "HEAD")


def _knows(token: str) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return kind.lower() == "bearer" and same
