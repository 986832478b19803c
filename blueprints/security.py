"""Headers on every answer, and a content security policy with a nonce."""

from __future__ import annotations

import secrets

from flask import Flask, Request, Response, g, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface
from flask_compress import Compress
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

from blueprints.api_problems import PREFIX

csrf = CSRFProtect()


class SessionInterface(SecureCookieSessionInterface):
    """Cookies are Secure whenever the page is reached over https; the API knows none at all."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        """Under the API's addresses a cookie is not even read, so it can sign nobody in there."""
        if request.path.startswith(PREFIX):
            return self.session_class()
        return super().open_session(app, request)

    def get_cookie_secure(self, app: Flask) -> bool:  # noqa: ARG002
        return request.is_secure


def init_app(app: Flask) -> None:
    hops = app.extensions["tallybridge"].config.proxy_hops
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.session_interface = SessionInterface()
    app.jinja_env.globals["nonce"] = nonce
    app.after_request(_add_headers)
    csrf.init_app(app)
    Compress(app)


def nonce() -> str:
    """The nonce of this answer: on our scripts, and as `hx-nonce` on our htmx elements."""
    if "nonce" not in g:
        g.nonce = secrets.token_urlsafe(16)
    return str(g.nonce)


def _add_headers(response: Response) -> Response:
    policy = (
        f"default-src 'self'; script-src 'self' 'nonce-{nonce()}'; style-src 'self'; "
        "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )
    response.headers["Content-Security-Policy"] = policy
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers["X-Robots-Tag"] = "none"
    response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint != "static" and "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
