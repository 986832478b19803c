"""Sophos Central Partner as a client sees it."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from sandbox.limits import Limiter
from sandbox.options import Options
from sandbox.seeding.sophos import Month, SophosWorld
from sandbox.wire import Answer, Request, json_answer

DEFAULT_PAGE_SIZE = 50
TOKEN_PATH = "/api/v2/oauth2/token"
WHOLE_NUMBER = re.compile(r"[0-9]{1,9}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ONE_TENANT = re.compile(r"/partner/v1/tenants/([^/]+)")
USAGE = re.compile(r"/partner/v1/billing/usage/([^/]+)/([^/]+)")


class Refusal(Exception):
    """A request that the API refuses."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message

    def answer(self) -> Answer:
        """The refusal in the shape of Sophos' API."""
        return error_answer(self.status, self.error, self.message)


def error_answer(
    status: int, error: str, message: str, headers: dict[str, str] | None = None
) -> Answer:
    """An error as all of Sophos' APIs but the token endpoint show it."""
    body = {
        "error": error,
        "message": message,
        "correlationId": str(uuid.uuid4()),
        "code": error[0].lower() + error[1:],
        "createdAt": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestId": str(uuid.uuid4()),
        "docUrl": "https://developer.sophos.com",
    }
    return json_answer(status, body, headers)


def token_error(status: int, code: str, message: str) -> Answer:
    """An error of the token endpoint, which has a shape of its own."""
    body = {"errorCode": code, "message": message, "trackingId": str(uuid.uuid4())}
    return json_answer(status, body)


def encode_key(month: Month, offset: int) -> str:
    """The opaque key of the page that begins at an offset."""
    return base64.urlsafe_b64encode(f"{month[0]}/{month[1]}/{offset}".encode()).decode().rstrip("=")


def decode_key(key: str, month: Month) -> int:
    """The offset behind a key; a key of another month or of nobody is refused."""
    try:
        text = base64.urlsafe_b64decode(key + "=" * (-len(key) % 4)).decode("ascii")
        year, number, offset = (int(part) for part in text.split("/"))
    except (ValueError, binascii.Error) as error:
        raise Refusal(400, "BadRequest", "pageFromKey is not valid.") from error
    if (year, number) != month or offset < 0:
        raise Refusal(400, "BadRequest", "pageFromKey is not valid.")
    return offset


def _whole_number(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not WHOLE_NUMBER.fullmatch(text) or int(text) < 1:
        raise Refusal(400, "BadRequest", f"{name} must be a whole number of 1 or more.")
    return int(text)


def _flag(query: dict[str, str], name: str) -> bool:
    text = query.get(name, "false").lower()
    if text not in ("true", "false"):
        raise Refusal(400, "BadRequest", f"{name} must be true or false.")
    return text == "true"


def _trimmed(items: list[dict[str, Any]], fields: list[str]) -> list[dict[str, Any]]:
    if not fields:
        return items
    return [{name: item[name] for name in fields if name in item} for item in items]


class SophosApi:
    """Answers requests from the seeded data; all reading, no state but the tokens."""

    def __init__(self, world: SophosWorld, options: Options, own_url: Callable[[], str]) -> None:
        self.world = world
        self.options = options
        self._own_url = own_url
        self._limiter = Limiter(options.sophos_limits)
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """The answer to one request."""
        if request.path == TOKEN_PATH:
            return self._token(request)
        try:
            return self._api(request)
        except Refusal as refusal:
            return refusal.answer()

    def first_key(self, path: str) -> str:
        """The key that leads to page one of a report; empty for other paths."""
        match = USAGE.fullmatch(path)
        return encode_key((int(match[1]), int(match[2])), 0) if match else ""

    def _token(self, request: Request) -> Answer:
        if request.method != "POST":
            return token_error(405, "oauth.method_not_allowed", "Method Not Allowed")
        if not request.header("content-type").startswith("application/x-www-form-urlencoded"):
            return token_error(415, "oauth.invalid_request", "Unsupported Media Type")
        form = {
            name: values[-1]
            for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()
        }
        if form.get("grant_type") != "client_credentials":
            return token_error(400, "oauth.unsupported_grant_type", "Bad Request")
        if form.get("scope") != "token":
            return token_error(400, "oauth.invalid_scope", "Bad Request")
        return self._credentials_checked(form.get("client_id", ""), form.get("client_secret", ""))

    def _credentials_checked(self, client_id: str, secret: str) -> Answer:
        if not UUID.fullmatch(client_id):
            return token_error(400, "oauth.invalid_client_id", "Bad Request")
        if client_id != self.world.client_id:
            return token_error(401, "oauth.client_app_does_not_exist", "Unauthorized")
        if not secrets.compare_digest(secret.encode(), self.world.client_secret.encode()):
            return token_error(401, "oauth.invalid_client_secret", "Unauthorized")
        if self.options.credential_disabled:
            return token_error(403, "oauth.client_disabled", "Forbidden")
        token = secrets.token_urlsafe(48)
        with self._lock:
            self.world.tokens[token] = time.monotonic() + self.options.token_seconds
        body = {
            "access_token": token,
            "errorCode": "success",
            "expires_in": int(self.options.token_seconds),
            "message": "OK",
            "token_type": "bearer",
            "trackingId": str(uuid.uuid4()),
        }
        return json_answer(200, body)

    def _api(self, request: Request) -> Answer:
        self._check_bearer(request)
        wait = self._limiter.refuse_for()
        if wait:
            headers = {"Retry-After": str(wait)} if self.options.sophos_retry_after else {}
            return error_answer(429, "TooManyRequests", "Rate limit exceeded.", headers)
        if request.method != "GET":
            raise Refusal(404, "NotFound", "The requested resource was not found.")
        return self._routed(request)

    def _routed(self, request: Request) -> Answer:
        path = request.path
        if path == "/whoami/v1":
            return self._whoami()
        if path == "/licenses/v1/licenses":
            return self._licenses(request)
        one_tenant, usage = ONE_TENANT.fullmatch(path), USAGE.fullmatch(path)
        known = path in ("/partner/v1/tenants", "/licenses/v1/licenses/firewalls")
        if not (known or one_tenant or usage):
            raise Refusal(404, "NotFound", "The requested resource was not found.")
        self._check_partner(request)
        if one_tenant:
            return self._tenant(one_tenant[1])
        if usage:
            return self._usage(request, usage[1], usage[2])
        if path.endswith("/firewalls"):
            return self._numbered_page(request, self.world.firewalls)
        return self._numbered_page(request, self.world.tenants)

    def _check_bearer(self, request: Request) -> None:
        kind, _, token = request.header("authorization").partition(" ")
        expires = self.world.tokens.get(token, 0.0)
        if kind.lower() != "bearer" or expires <= time.monotonic():
            raise Refusal(401, "Unauthorized", "The access token is missing, wrong or expired.")

    def _check_partner(self, request: Request) -> None:
        partner = request.header("x-partner-id")
        if not partner:
            raise Refusal(400, "BadRequest", "The header X-Partner-ID is required.")
        if partner != self.world.partner_id or self.options.credential_kind != "partner":
            raise Refusal(403, "Forbidden", "These credentials may not act for this partner.")

    def _whoami(self) -> Answer:
        kind = self.options.credential_kind
        hosts = {"global": f"{self._own_url()}/"}
        if kind == "tenant":
            hosts["dataRegion"] = f"{self._own_url()}/"
        body = {"id": self.world.partner_id, "idType": kind, "apiHosts": hosts}
        return json_answer(200, body)

    def _tenant(self, tenant_id: str) -> Answer:
        for tenant in self.world.tenants:
            if tenant["id"] == tenant_id:
                return json_answer(200, tenant)
        raise Refusal(404, "NotFound", "Tenant not found.")

    def _page_size(self, query: dict[str, str]) -> int:
        asked = _whole_number(query, "pageSize", DEFAULT_PAGE_SIZE)
        return min(asked, self.options.sophos_max_page_size)

    def _counted(self, pages: dict[str, Any], query: dict[str, str], items: int) -> dict[str, Any]:
        """The paging part, with the totals where they were asked for."""
        if _flag(query, "pageTotal"):
            pages["total"] = -(-items // pages["size"])
            pages["items"] = items
        pages["maxSize"] = self.options.sophos_max_page_size
        return pages

    def _numbered_page(self, request: Request, items: list[dict[str, Any]]) -> Answer:
        query = request.query()
        size, page = self._page_size(query), _whole_number(query, "page", 1)
        part = _trimmed(items[(page - 1) * size : page * size], request.query_list("fields"))
        pages = self._counted({"current": page, "size": size}, query, len(items))
        return json_answer(200, {"items": part, "pages": pages})

    def _usage(self, request: Request, year_text: str, month_text: str) -> Answer:
        month = _month(year_text, month_text)
        if month not in self.world.ready or month not in self.world.usage:
            raise Refusal(404, "NotFound", "No data for requested year or month.")
        query, lines = request.query(), self.world.usage[month]
        accounts = set(request.query_list("accountId"))
        if accounts:
            lines = [line for line in lines if line.get("accountId") in accounts]
        emails = set(request.query_list("contactEmail"))
        if emails:
            lines = [line for line in lines if line.get("contactEmail") in emails]
        return self._keyed_page(request, month, lines, query)

    def _keyed_page(
        self, request: Request, month: Month, lines: list[dict[str, Any]], query: dict[str, str]
    ) -> Answer:
        size, key = self._page_size(query), query.get("pageFromKey")
        offset = decode_key(key, month) if key else 0
        pages: dict[str, Any] = {"size": size}
        if key:
            pages["fromKey"] = key
        if offset + size < len(lines):
            pages["nextKey"] = encode_key(month, offset + size)
        part = _trimmed(lines[offset : offset + size], request.query_list("fields"))
        body = {"items": part, "pages": self._counted(pages, query, len(lines))}
        return json_answer(200, body)

    def _licenses(self, request: Request) -> Answer:
        tenant_id = request.header("x-tenant-id")
        if not tenant_id:
            raise Refusal(400, "BadRequest", "The header X-Tenant-ID is required.")
        if tenant_id not in self.world.licenses:
            raise Refusal(403, "Forbidden", "These credentials may not act for this tenant.")
        if tenant_id in self.world.licenses_forbidden:
            raise Refusal(403, "Forbidden", "The tenant has not allowed partner assistance.")
        found = self.world.licenses[tenant_id]
        return json_answer(200, {"tenant": {"id": tenant_id}, "licenses": found})


def _month(year_text: str, month_text: str) -> Month:
    if not all(WHOLE_NUMBER.fullmatch(text) for text in (year_text, month_text)):
        raise Refusal(400, "BadRequest", "year and month must be whole numbers.")
    year, month = int(year_text), int(month_text)
    if not 1 <= month <= 12:
        raise Refusal(400, "BadRequest", "month must be between 1 and 12.")
    return year, month
