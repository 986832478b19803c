"""The web page: one file an area."""

from __future__ import annotations

from flask import Flask

from blueprints import (
    access,
    account,
    api,
    api_tokens,
    assets,
    audit,
    auth,
    backup,
    connections,
    errors,
    findings,
    health,
    identity,
    lookups,
    notifications,
    numbers,
    overview,
    own_password,
    page,
    product_dialogs,
    product_mappings,
    reconciliation,
    request_log,
    second_factor,
    security,
    settings,
    setup,
    setup_account,
    sign_in_header,
    sync_runs,
    tenant_mappings,
    users,
)


def register(app: Flask) -> None:
    """Add every page, and what guards them all."""
    numbers.init_app(app)
    request_log.init_app(app)
    security.init_app(app)
    identity.init_app(app)
    setup_account.init_app(app)  # before anybody is asked who they are
    sign_in_header.init_app(app)  # before anybody is asked to sign in
    access.init_app(app)
    errors.init_app(app)
    page.init_app(app)
    for blueprint in (
        assets.blueprint,
        audit.blueprint,
        auth.blueprint,
        identity.blueprint,
        overview.blueprint,
        sync_runs.blueprint,
        tenant_mappings.blueprint,
        findings.blueprint,
        reconciliation.blueprint,
        product_mappings.blueprint,
        product_dialogs.blueprint,
        lookups.blueprint,
        settings.blueprint,
        connections.blueprint,
        backup.blueprint,
        users.blueprint,
        own_password.blueprint,
        account.blueprint,
        second_factor.blueprint,
        health.blueprint,
        notifications.blueprint,
        api_tokens.blueprint,
        api.blueprint,
        setup.blueprint,
        setup_account.blueprint,
    ):
        app.register_blueprint(blueprint)
    security.csrf.exempt(api.blueprint)  # no cookie counts there, so nothing can be forged
