"""Sophos Central Partner: customers, billing usage, firewalls and licences.

https://developer.sophos.com/docs/partner-v1/1/overview
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import requests
from requests.auth import AuthBase

from services.clients.errors import (
    AuthenticationFailed,
    IncompleteListing,
    UnexpectedResponse,
    WrongCredentialKind,
)
from services.clients.hosts import SOPHOS_CLOUD, check_url, own_hosts
from services.clients.http import DEFAULT_TIMEOUT, Reply, Transport
from services.clients.limits import RateLimiter
from services.clients.payload import W, decode_json, parse_money, read_as
from services.clients.sophos_wire import (
    VENDOR,
    Licence,
    LicenceList,
    Page,
    WhoAmI,
    error_for,
    is_own_error,
    to_firewall,
    to_licence,
    to_tenant,
    to_usage_line,
)
from services.sync.model import Firewall, Month, Tenant, UsageLine

__all__ = ["Licence", "SophosAccess", "SophosClient"]

# Sophos allows 10/s, 100/min, 1,000/h and 200,000/day. The windows are a little longer than
# that, because what left us evenly may arrive there in a bunch.
_WINDOWS = ((10, 1.1), (100, 61.0), (1_000, 3_605.0), (200_000, 86_410.0))
_TENANTS_PER_PAGE = 100
_MOST_PAGES = 10_000
_TOKEN_MARGIN = 60.0
_DEFAULT_TOKEN_LIFE = 600.0
_PLAIN = re.compile(r"[\x21-\x7e]+")
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_TOKEN_ERRORS = {
    "oauth.invalid_client_secret": "the client secret is wrong",
    "oauth.client_app_does_not_exist": "there is no such client id",
    "oauth.invalid_client_id": "the client id is not valid",
    "oauth.client_disabled": "the credential is switched off",
}


@dataclass(frozen=True, slots=True)
class SophosAccess:
    """Where and as whom we call Sophos: API credentials of a *partner*, made in Sophos Central."""

    client_id: str
    client_secret: str = field(repr=False)
    id_url: str = "https://id.sophos.com"
    api_url: str = "https://api.central.sophos.com"
    allowed_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    good_until: float


class _Bearer(AuthBase):
    def __init__(self, token: _Token, headers: Mapping[str, str]) -> None:
        self._headers = {"Authorization": f"Bearer {token.value}", **headers}

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class SophosClient:
    """Reads from the Sophos Central Partner API; there is nothing that it writes.

    Every method raises VendorError. All calls go to the two addresses of `access`: a host named
    in an answer (`apiHosts`) is never trusted. Safe for use by several threads.
    """

    def __init__(
        self,
        access: SophosAccess,
        *,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._monotonic = monotonic
        self._http = Transport(
            VENDOR,
            RateLimiter(_WINDOWS, monotonic=monotonic, sleep=sleep),
            timeout=timeout,
            secrets=(access.client_secret.strip(),),
            own_hosts=own_hosts(access.allowed_hosts),
            sleep=sleep,
            monotonic=monotonic,
        )
        self._token_lock = threading.Lock()
        self._identity_lock = threading.Lock()
        self._token: _Token | None = None
        self._partner_id: str | None = None

    @property
    def calls(self) -> int:
        """How many HTTP requests went out so far."""
        return self._http.calls

    def partner_id(self) -> str:
        """The id of the partner whom the credentials belong to; asked for once.

        Raises WrongCredentialKind when they belong to a tenant or an organization.
        https://developer.sophos.com/docs/whoami-v1/1/overview
        """
        with self._identity_lock:
            if self._partner_id is None:
                self._partner_id = self._ask_who_we_are()
            return self._partner_id

    def tenants(self) -> list[Tenant]:
        """All customers of the partner.

        Raises IncompleteListing when the pages do not add up to the number that Sophos promised.
        """
        size = {"pageSize": str(_TENANTS_PER_PAGE)}
        rows = self._numbered_pages("/partner/v1/tenants", size, what="the list of customers")
        tenants = [to_tenant(row) for row in rows]
        _refuse_repeats([tenant.id for tenant in tenants], "the list of customers")
        return tenants

    def usage(self, month: Month) -> list[UsageLine] | None:
        """The whole billing report of a month; None while Sophos has none (404: not ready).

        Quantities are `billableQuantity`: seats or devices. Raises IncompleteListing unless the
        report is provably whole, because a missing line would be read as usage that ended.
        """
        path = f"/partner/v1/billing/usage/{month.year}/{month.number}"
        what = f"the usage report of {month}"
        rows = self._keyed_pages(path, what)
        return None if rows is None else [to_usage_line(row) for row in rows]

    def firewalls(self) -> list[Firewall]:
        """All firewalls of the partner's customers, to place usage lines by serial number."""
        what = "the list of firewalls"
        rows = self._numbered_pages("/licenses/v1/licenses/firewalls", {}, what=what)
        firewalls = [firewall for row in rows if (firewall := to_firewall(row)) is not None]
        _refuse_repeats([firewall.serial for firewall in firewalls], what)
        return firewalls

    def licences(self, tenant_id: str) -> list[Licence]:
        """The licences of one tenant with their live counts.

        Raises PermissionDenied for tenants that do not let their partner see them.
        """
        if not _ID.fullmatch(tenant_id):
            raise ValueError("not a tenant id")
        doing = "reading the licences of a customer"
        headers = {"X-Tenant-ID": tenant_id}
        reply = self._get("/licenses/v1/licenses", {}, headers)
        if reply.status != 200:
            raise error_for(reply, self._http, doing=doing)
        listing = self._read(reply, LicenceList, "the licences of a customer")
        return [to_licence(row) for row in listing.licenses]

    # --- paging -----------------------------------------------------------------------------

    def _keyed_pages(self, path: str, what: str) -> list[object] | None:
        """All rows of a list paged by key; None when its very first page does not exist."""
        rows: list[object] = []
        seen_keys: set[str] = set()
        check = _PageCheck(what)
        params = {"pageTotal": "true"}
        while True:
            reply = self._partner_get(path, params)
            if reply.status == 404 and not check.pages and is_own_error(reply):
                return None
            page = self._page(reply, what)
            rows += page.items
            check.add(page, len(rows))
            key = page.pages.next_key
            if key is None:
                check.finish(len(rows))
                return rows
            if key in seen_keys:
                _incomplete(what, "Sophos names the same next page again")
            seen_keys.add(key)
            # Pages are found by key, so their size may change on the way.
            if page.pages.max_size:
                params["pageSize"] = str(page.pages.max_size)
            params["pageFromKey"] = key

    def _numbered_pages(self, path: str, size: Mapping[str, str], *, what: str) -> list[object]:
        rows: list[object] = []
        check = _PageCheck(what)
        while True:
            number = check.pages + 1
            params = {"page": str(number), **size, "pageTotal": "true"}
            page = self._page(self._partner_get(path, params), what)
            rows += page.items
            check.add(page, len(rows))
            # Without a number of pages only an empty page is certainly the last one.
            total = page.pages.total
            if number >= total if total is not None else not page.items:
                check.finish(len(rows))
                return rows
            if not page.items:
                _incomplete(what, "a page is empty although more are announced")

    def _page(self, reply: Reply, what: str) -> Page:
        if reply.status != 200:
            raise error_for(reply, self._http, doing=f"reading {what}")
        return self._read(reply, Page, what)

    def _read(self, reply: Reply, model: type[W], what: str) -> W:
        try:
            value = decode_json(reply.body)
        except ValueError:
            raise error_for(reply, self._http, doing=f"reading {what}") from None
        return read_as(model, value, vendor=VENDOR, what=what)

    # --- requests ---------------------------------------------------------------------------

    def _ask_who_we_are(self) -> str:
        reply = self._get("/whoami/v1", {}, {})
        if reply.status != 200:
            raise error_for(reply, self._http, doing="asking whom the credentials belong to")
        who = self._read(reply, WhoAmI, "the owner of the credentials")
        if who.id_type != "partner":
            kind = self._http.clean(who.id_type) or "unknown"
            raise WrongCredentialKind(
                f"These Sophos credentials are of the kind {kind!r}, and a 'partner' credential "
                "is needed. Make API credentials in Sophos Central Partner and enter those.",
                vendor=VENDOR,
            )
        if who.id is None or not _ID.fullmatch(who.id):
            raise UnexpectedResponse("Sophos sent no usable partner id.", vendor=VENDOR)
        return who.id

    def _partner_get(self, path: str, params: Mapping[str, str]) -> Reply:
        return self._get(path, params, {"X-Partner-ID": self.partner_id()})

    def _get(self, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        url = self._address(self._access.api_url) + path
        token = self._fresh_token(None)
        reply = self._http.read("GET", url, params=params, auth=_Bearer(token, headers))
        if reply.status == 401:  # once: a token may end before its time
            token = self._fresh_token(token)
            reply = self._http.read("GET", url, params=params, auth=_Bearer(token, headers))
        return reply

    def _address(self, url: str) -> str:
        return check_url(url, allowed=self._access.allowed_hosts, cloud=SOPHOS_CLOUD)

    def _fresh_token(self, refused: _Token | None) -> _Token:
        """A token that is good for a while, and not the one that was just refused."""
        with self._token_lock:
            token = self._token
            if token is None or token is refused or token.good_until <= self._monotonic():
                token = self._token = self._ask_for_token()
            return token

    def _ask_for_token(self) -> _Token:
        """By client credentials; Sophos' tokens are good for an hour."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self._access.client_id.strip(),
            "client_secret": self._access.client_secret.strip(),
            "scope": "token",
        }
        url = f"{self._address(self._access.id_url)}/api/v2/oauth2/token"
        asked_at = self._monotonic()
        reply = self._http.read("POST", url, form=form)
        if reply.status != 200:
            self._refused_token(reply)
        body = reply.json_object()
        value = body.get("access_token")
        if not isinstance(value, str) or not _PLAIN.fullmatch(value):
            raise error_for(reply, self._http, doing="asking for an access token")
        self._http.hide(value)
        life = float(parse_money(body.get("expires_in")) or _DEFAULT_TOKEN_LIFE)
        return _Token(value, asked_at + max(life - _TOKEN_MARGIN, life / 2))

    def _refused_token(self, reply: Reply) -> NoReturn:
        """The token service has its own error shape: `errorCode`, `message`, `trackingId`."""
        code = self._http.clean(reply.json_object().get("errorCode"))
        if reply.status not in {400, 401, 403} or reply.is_html:
            raise error_for(reply, self._http, doing="asking for an access token")
        reason = _TOKEN_ERRORS.get(code, "the credentials were refused")
        named = f" ({code})" if code else ""
        raise AuthenticationFailed(
            f"Sophos did not accept the API credentials: {reason}{named}. Check client id and "
            "client secret in the Sophos connection; credentials expire after 36 months.",
            vendor=VENDOR,
            status=reply.status,
            request_id=reply.request_id,
        )


class _PageCheck:
    """Watches a list come in page by page and refuses what cannot be whole."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._promised: int | None = None
        self._fingerprints: set[int] = set()
        self.pages = 0

    def add(self, page: Page, rows_so_far: int) -> None:
        promised = page.pages.items
        if self.pages and promised != self._promised:
            _incomplete(self._what, "the number of lines changed while it was read")
        self._promised = promised
        self.pages += 1
        if self.pages > _MOST_PAGES:
            _incomplete(self._what, "it has no end")
        if promised is not None and rows_so_far > promised:
            self.finish(rows_so_far)
        fingerprint = hash(repr(page.items))
        if page.items and fingerprint in self._fingerprints:
            _incomplete(self._what, "Sophos sent the same page twice")
        self._fingerprints.add(fingerprint)

    def finish(self, rows: int) -> None:
        if self._promised is not None and rows != self._promised:
            _incomplete(self._what, f"Sophos promised {self._promised} lines and sent {rows}")


def _refuse_repeats(keys: list[str], what: str) -> None:
    if len(set(keys)) != len(keys):
        _incomplete(what, "Sophos sent the same record twice")


def _incomplete(what: str, why: str) -> NoReturn:
    raise IncompleteListing(
        f"{what[0].upper()}{what[1:]} is not complete: {why}. Nothing is concluded from it; "
        "try again later.",
        vendor=VENDOR,
    )
