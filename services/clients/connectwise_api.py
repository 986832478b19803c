"""The ConnectWise API below its records: discovery, signing, lists page by page, writes."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.auth import AuthBase

from services.clients.connectwise_errors import VENDOR, error_for, unexpected
from services.clients.connectwise_query import MOST_URL_CHARACTERS
from services.clients.connectwise_types import ConnectWiseAccess
from services.clients.connectwise_wire import Row
from services.clients.errors import (
    AuthenticationFailed,
    IncompleteListing,
    UnexpectedResponse,
    VendorError,
)
from services.clients.hosts import CONNECTWISE_CLOUD, CONNECTWISE_SITES, check_url, own_hosts
from services.clients.http import Reply, Transport
from services.clients.limits import RateLimiter
from services.clients.payload import decode_json, read_as

PAGE_SIZE = 1_000
API_VERSION = "2026.4"
_NEXT = re.compile(r"""\brel\s*=\s*["']?[^"',;]*\bnext\b""", re.IGNORECASE)
_CODEBASE = re.compile(r"v\d{1,6}(_[0-9A-Za-z]{1,16}){1,4}", re.ASCII)
# The window is a little longer than a minute, because what left us evenly may arrive there in
# a bunch.
_MINUTE = 60.5
_MOST_PAGES = 10_000

T = TypeVar("T")


class _Signature(AuthBase):
    """The headers that every signed call carries."""

    def __init__(self, access: ConnectWiseAccess, extra: Mapping[str, str]) -> None:
        self._headers = {
            "Authorization": f"Basic {basic_token(access)}",
            "clientId": access.client_id.strip(),
            "Accept": f"application/vnd.connectwise.com+json; version={API_VERSION}",
            **extra,
        }

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def basic_token(access: ConnectWiseAccess) -> str:
    """The value of basic authentication: company, public key and private key. A secret."""
    user = f"{access.company_id.strip()}+{access.public_key.strip()}"
    return base64.b64encode(f"{user}:{access.private_key.strip()}".encode()).decode("ascii")


class ConnectWiseApi:
    """One ConnectWise system: where its API is, and how to read lists and write records.

    Every method raises VendorError. Safe for use by several threads.
    """

    def __init__(
        self,
        access: ConnectWiseAccess,
        *,
        timeout: tuple[float, float],
        calls_per_minute: int,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        limiter = RateLimiter(((calls_per_minute, _MINUTE),), monotonic=monotonic, sleep=sleep)
        self.http = Transport(
            VENDOR,
            limiter,
            timeout=timeout,
            secrets=(access.private_key.strip(), access.public_key.strip(), basic_token(access)),
            own_hosts=own_hosts(access.allowed_hosts),
            own_ca=access.own_ca,
            sleep=sleep,
            monotonic=monotonic,
        )
        self._lock = threading.Lock()
        self._base: str | None = None

    # --- discovery --------------------------------------------------------------------------

    def base(self) -> str:
        """The API's address, asked for once: `https://{host}/{codebase}apis/3.0`."""
        with self._lock:
            if self._base is None:
                self._base = self._discover()
            return self._base

    def _new_base(self, old: str) -> str:
        """The address after a 404: the code base moves with every release of ConnectWise."""
        with self._lock:
            if self._base == old:
                self._base = self._discover()
            return self._base or old

    def _discover(self) -> str:
        site, api = self._hosts()
        company = self._access.company_id.strip()
        url = f"{site}/login/companyinfo/{quote(company, safe='')}"
        reply = self.http.read("GET", url)
        doing = "looking up the company id"
        if reply.status != 200:
            raise error_for(reply, self.http, method="GET", path="", doing=doing)
        info = self._json(reply, doing=doing, write=False)
        if info is None:
            raise AuthenticationFailed(
                f"ConnectWise at {urlsplit(site).hostname} does not know the company id "
                f"{self.http.clean(company)!r}. Check it: it is what you type as company at login.",
                vendor=VENDOR,
                status=reply.status,
                request_id=reply.request_id,
            )
        codebase = info.get("Codebase") if isinstance(info, dict) else None
        # The SiteUrl of the answer is not used: no answer decides where our keys are sent.
        return f"{api}/{_checked_codebase(codebase)}/apis/3.0"

    def _hosts(self) -> tuple[str, str]:
        """The addresses of the login page and of the API; only the cloud keeps two."""
        typed = self._access.site.strip()
        url = typed if "://" in typed else f"https://{typed}"
        site = check_url(url, allowed=self._access.allowed_hosts, cloud=CONNECTWISE_CLOUD)
        host = site.removeprefix("https://")
        if host.removeprefix("api-") in CONNECTWISE_SITES:
            host = host.removeprefix("api-")
            return f"https://{host}", f"https://api-{host}"
        return site, site

    # --- reading ----------------------------------------------------------------------------

    def room(self, path: str, fields: str) -> int:
        """How many encoded characters a condition may have, so that the URL stays short enough."""
        longest = {"fields": fields, "pageSize": PAGE_SIZE, "conditions": "", "pageId": 2**31}
        return MOST_URL_CHARACTERS - len(f"{self.base()}{path}?{urlencode(longest)}")

    def rows(
        self, path: str, fields: str, *, doing: str, conditions: str | None = None
    ) -> Iterator[object]:
        """All records of a list, by forward-only paging: rows that come or go shift nothing.

        Raises IncompleteListing when an id comes twice or a promised page is empty.
        """
        params = {"fields": fields, "pageSize": str(PAGE_SIZE)}
        if conditions:
            params["conditions"] = conditions
        seen: set[int] = set()
        for _ in range(_MOST_PAGES):
            reply = self._read(
                path, params, {"pagination-type": "forward-only"}, listing=True, doing=doing
            )
            page = self._list(reply, doing=doing)
            ids = [read_as(Row, row, vendor=VENDOR, what="a record of a list").id for row in page]
            if len(set(ids)) != len(ids) or not seen.isdisjoint(ids):
                self._incomplete(doing, "the same record came twice", reply)
            seen.update(ids)
            yield from page
            more = has_next(reply.headers)
            if not page and more:
                self._incomplete(doing, "a page is empty although more are announced", reply)
            if not more and len(page) < PAGE_SIZE:
                return
            params["pageId"] = str(ids[-1])
        self._incomplete(doing, "it has no end", reply)

    def confirm_empty(self, path: str, *, doing: str) -> None:
        """Have ConnectWise count a list that came empty: there is nothing else to tell it by.

        Raises IncompleteListing when there are records after all.
        """
        reply = self._read(f"{path}/count", {}, {}, listing=True, doing=doing)
        answer = self._json(reply, doing=doing, write=False)
        count = answer.get("count") if isinstance(answer, dict) else None
        if not isinstance(count, int) or isinstance(count, bool):
            raise unexpected(reply, doing=doing, write=False)
        if count != 0:
            self._incomplete(doing, "it came empty, and ConnectWise counts records there", reply)

    def one(self, path: str, *, doing: str, fields: str | None = None) -> object:
        """One record. Raises NotFound when it is gone."""
        params = {"fields": fields} if fields else {}
        reply = self._read(path, params, {}, listing=False, doing=doing)
        return self._json(reply, doing=doing, write=False)

    def probe(self, path: str, *, doing: str) -> int | None:
        """Read one row of a list, to see whether we may; returns its id, None when it is empty."""
        params = {"fields": "id", "page": "1", "pageSize": "1"}
        rows = self._list(self._read(path, params, {}, listing=True, doing=doing), doing=doing)
        first = rows[0] if rows else None
        found = first.get("id") if isinstance(first, dict) else None
        return found if isinstance(found, int) else None

    def _read(
        self,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        doing: str,
        listing: bool,
    ) -> Reply:
        auth = _Signature(self._access, headers)
        reply = self._at_base(
            lambda base: self.http.read("GET", base + path, params=params, auth=auth)
        )
        if reply.status != 200:
            raise error_for(reply, self.http, method="GET", path=path, doing=doing, listing=listing)
        return reply

    def _list(self, reply: Reply, *, doing: str) -> list[object]:
        value = self._json(reply, doing=doing, write=False)
        if not isinstance(value, list):
            raise unexpected(reply, doing=doing, write=False)
        return value

    # --- writing ----------------------------------------------------------------------------

    def write(
        self, method: str, path: str, body: object, *, doing: str, read: Callable[[object], T]
    ) -> T:
        """Send a change once and give the returned record to `read`, which checks it.

        Whatever is wrong with a good answer makes the error `unclear`: the change was probably
        made, and the record must be read before anything else is written.
        """
        auth = _Signature(self._access, {})
        reply = self._at_base(
            lambda base: self.http.write(method, base + path, body=body, auth=auth)
        )
        if reply.status not in {200, 201}:
            raise error_for(reply, self.http, method=method, path=path, doing=doing)
        try:
            return read(self._json(reply, doing=doing, write=True))
        except VendorError as error:
            error.unclear, error.status = True, reply.status
            error.request_id = reply.request_id
            raise

    # --- both -------------------------------------------------------------------------------

    def _at_base(self, send: Callable[[str], Reply]) -> Reply:
        """Send to the API's address; after a 404 once more if that address has moved.

        Safe for writes too: an address that does not exist has changed nothing.
        """
        base = self.base()
        reply = send(base)
        if reply.status == 404:
            moved_to = self._new_base(base)
            if moved_to != base:
                reply = send(moved_to)
        return reply

    def _json(self, reply: Reply, *, doing: str, write: bool) -> object:
        try:
            return decode_json(reply.body)
        except ValueError:
            raise unexpected(reply, doing=doing, write=write) from None

    def _incomplete(self, doing: str, why: str, reply: Reply) -> NoReturn:
        raise IncompleteListing(
            f"The list is not complete while {doing}: {why}. Nothing is concluded from it; "
            "try again later.",
            vendor=VENDOR,
            status=reply.status,
            request_id=reply.request_id,
        )


def has_next(headers: Mapping[str, str]) -> bool:
    """Whether a `Link` header announces another page. The URL in it is never followed."""
    return bool(_NEXT.search(headers.get("Link", "")))


def _checked_codebase(codebase: object) -> str:
    text = codebase.strip().strip("/") if isinstance(codebase, str) else ""
    if not _CODEBASE.fullmatch(text):
        raise UnexpectedResponse(
            "ConnectWise's company information names no usable code base. Check the site.",
            vendor=VENDOR,
        )
    return text
