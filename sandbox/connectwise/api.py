"""The door of ConnectWise: who may come in, and which way a request goes."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable
from dataclasses import replace

from sandbox.connectwise import additions, catalog
from sandbox.connectwise.bodies import read_json
from sandbox.connectwise.errors import Refusal, bad_request, forbidden, not_found
from sandbox.connectwise.listing import count_answer, list_answer, trimmed
from sandbox.connectwise.tables import ConnectWiseWorld, Record, Table
from sandbox.limits import Limiter
from sandbox.options import Options
from sandbox.wire import Answer, Request, html_answer, json_answer

VERSION = "2026.4"
ACCEPT = re.compile(r"application/vnd\.connectwise\.com\+json;\s*version=" + re.escape(VERSION))
BASE = re.compile(r"/(?:v2026_4|v4_6_release)/apis/3\.0(/.*)")
COMPANY_INFO = "/login/companyinfo/"
ADDITIONS = re.compile(r"/finance/agreements/(\d+)/additions(/.*)?")
LONGEST_TARGET = 2000


def too_many(seconds: int) -> Answer:
    """429 has a body of its own shape."""
    text = f"Too many requests. Please try again in {seconds} seconds."
    body = {"error": "ConnectWiseAPI", "message": text}
    return json_answer(429, body, {"Retry-After": str(seconds)})


class ConnectWiseApi:
    """Answers requests from the stored records and changes them."""

    def __init__(
        self, world: ConnectWiseWorld, options: Options, own_url: Callable[[], str]
    ) -> None:
        self.world = world
        self.options = options
        self._own_url = own_url
        self._limiter = Limiter(((options.connectwise_rate_per_minute, 60.0),))
        pair = f"{world.company_id}+{world.public_key}:{world.private_key}"
        self._credentials = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._lists: dict[str, Table] = {
            "/company/companies": world.companies,
            "/finance/agreements": world.agreements,
            "/procurement/catalog": world.catalog,
            "/procurement/categories": world.categories,
            "/procurement/subcategories": world.subcategories,
            "/procurement/types": world.types,
            "/procurement/unitOfMeasures": world.units,
        }

    def answer(self, request: Request) -> Answer:
        """The answer to one request, with the id that ConnectWise gives each."""
        try:
            found = self._answered(request)
        except Refusal as refusal:
            found = refusal.answer()
        return replace(found, headers={**found.headers, "x-cw-request-id": str(uuid.uuid4())})

    def table_at(self, path: str) -> Table | None:
        """The table whose list is at a path, if there is one."""
        base = BASE.fullmatch(path)
        inner = base[1].rstrip("/") if base else ""
        match = ADDITIONS.fullmatch(inner)
        if match and not match[2]:
            return self.world.additions.get(int(match[1]))
        return self._lists.get(inner)

    def _answered(self, request: Request) -> Answer:
        if len(request.target) > LONGEST_TARGET:
            return html_answer(414, "Request-URI Too Long")
        if request.path.startswith(COMPANY_INFO) and request.method == "GET":
            return self._company_info(request.path.removeprefix(COMPANY_INFO))
        match = BASE.fullmatch(request.path)
        if match is None:
            return html_answer(404, "404 - File or directory not found.")
        wait = self._limiter.refuse_for()
        if wait:
            return too_many(wait)
        path = match[1].rstrip("/")
        if path != "/system/info" or self.options.system_info_needs_auth:
            self._check_caller(request)
        if not ACCEPT.search(request.header("accept")):
            text = f"Accept must be application/vnd.connectwise.com+json; version={VERSION}"
            raise Refusal(406, "NotAcceptable", text)
        return self._routed(request, path)

    def _company_info(self, company_id: str) -> Answer:
        if company_id.casefold() != self.world.company_id.casefold():
            return json_answer(200, None)
        body = {
            "CompanyName": "Example Managed Services",
            "Codebase": self.options.codebase,
            "VersionCode": f"v{VERSION}",
            "CompanyID": self.world.company_id,
            "IsCloud": self.options.is_cloud,
            "SiteUrl": self._own_url().removeprefix("http://"),
        }
        return json_answer(200, body)

    def _check_caller(self, request: Request) -> None:
        if request.header("clientid").lower() != self.world.client_id:
            text = "The header clientId is missing or unknown"
            raise Refusal(self.options.missing_client_id_status, "ClientId", text)
        if request.header("authorization") != self._credentials:
            status = self.options.wrong_credentials_status
            code, text = (
                ("NotFound", "Not found")
                if status == 404
                else ("Unauthorized", "Provided credentials are not authorized")
            )
            raise Refusal(status, code, text)

    def _check_right(self, table: Table, *, write: bool) -> None:
        if f"{table.right}:{'write' if write else 'read'}" in self.options.denied:
            raise forbidden()

    def _routed(self, request: Request, path: str) -> Answer:
        if path == "/system/info":
            return self._system_info(request)
        match = ADDITIONS.fullmatch(path)
        if match:
            return self._additions(request, int(match[1]), match[2] or "")
        for base, table in self._lists.items():
            if path == base or path.startswith(f"{base}/"):
                return self._records(request, table, path.removeprefix(base))
        raise Refusal(404, "NotFound", "The resource does not exist")

    def _system_info(self, request: Request) -> Answer:
        if request.method != "GET":
            raise forbidden()
        body = {
            "version": f"v{VERSION}.104812",
            "isCloud": self.options.is_cloud,
            "serverTimeZone": "Eastern Standard Time",
            "cloudRegion": "NA",
        }
        return json_answer(200, body)

    def _records(self, request: Request, table: Table, rest: str) -> Answer:
        """A top-level list, its count, one record, or a write to the catalog."""
        self._check_right(table, write=request.method != "GET")
        if request.method == "GET":
            return self._read(request, table, rest)
        if table is not self.world.catalog:
            raise forbidden()
        limit = self.options.identifier_max_length
        if request.method == "POST" and not rest:
            body = read_json(request)
            stored = catalog.create_item(self.world, body, self._who(), limit)
            return json_answer(201, stored, effect=True)
        if request.method == "PATCH" and rest:
            number = self._existing(table, rest)
            body = read_json(request)
            effect = catalog.patch_item(self.world, number, body, self._who(), limit)
            return json_answer(200, table.rows[number], effect=effect)
        raise forbidden()

    def _additions(self, request: Request, agreement_id: int, rest: str) -> Answer:
        """The additions of one agreement."""
        write = request.method != "GET"
        self._check_right(self.world.agreements, write=write)
        agreement = self.world.agreements.rows.get(agreement_id)
        if agreement is None:
            raise not_found("Agreement", agreement_id)
        table = self.world.additions_of(agreement_id)
        if not write:
            return self._read(request, table, rest)
        if request.method == "POST" and not rest:
            return self._new_addition(request, agreement)
        if request.method == "PATCH" and rest:
            number = self._existing(table, rest)
            body = read_json(request)
            effect = additions.patch_addition(self.world, agreement, number, body, self._who())
            return json_answer(200, table.rows[number], effect=effect)
        raise forbidden()

    def _new_addition(self, request: Request, agreement: Record) -> Answer:
        body = read_json(request)
        stored = additions.create_addition(self.world, agreement, body, self._who())
        return json_answer(201, stored, effect=True)

    def _read(self, request: Request, table: Table, rest: str) -> Answer:
        if not rest:
            return list_answer(request, table, self._own_url())
        if rest == "/count":
            return count_answer(request, table)
        number = self._existing(table, rest)
        return json_answer(200, trimmed([table.rows[number]], table, request.query())[0])

    def _existing(self, table: Table, rest: str) -> int:
        """The id in the rest of a path, if there is such a record."""
        text = rest.removeprefix("/")
        if not text.isascii() or not text.isdigit():
            raise bad_request(f"'{text}' is no record id")
        if int(text) not in table.rows:
            raise not_found(table.name, text)
        return int(text)

    def _who(self) -> str:
        return self.world.public_key
