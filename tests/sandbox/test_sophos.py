"""Sophos' side keeps its rules."""

from __future__ import annotations

import time
from datetime import date
from typing import Any

import pytest

from sandbox import Sandbox
from tests.sandbox.callers import TOKEN_PATH, Sophos, sophos_with

ERROR_KEYS = {"error", "message", "correlationId", "code", "createdAt", "requestId", "docUrl"}


def pages_of(sophos: Sophos, month: str = "2026/10", **params: Any) -> list[dict[str, Any]]:
    pages = []
    key = ""
    while True:
        asked = {**params, "pageFromKey": key} if key else params
        pages.append(sophos.usage(month, **asked).json())
        key = pages[-1]["pages"].get("nextKey", "")
        if not key:
            return pages


# --- token -----------------------------------------------------------------------------


def test_a_token_says_success_and_its_lifetime(sophos: Sophos) -> None:
    body = sophos.token().json()
    assert (body["errorCode"], body["expires_in"]) == ("success", 3600)


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, "oauth.invalid_client_secret"),
        ({"client_id": "x"}, 400, "oauth.invalid_client_id"),
        (
            {"client_id": "00000000-0000-4000-8000-000000000000"},
            401,
            "oauth.client_app_does_not_exist",
        ),
        ({"grant_type": "password"}, 400, "oauth.unsupported_grant_type"),
        ({"scope": ""}, 400, "oauth.invalid_scope"),
    ],
)
def test_a_wrong_token_request(
    sophos: Sophos, changes: dict[str, str], status: int, code: str
) -> None:
    answer = sophos.token(**changes)
    assert (answer.status_code, answer.json()["errorCode"]) == (status, code)
    assert set(answer.json()) == {"errorCode", "message", "trackingId"}


def test_a_token_is_asked_for_with_a_form(sophos: Sophos) -> None:
    assert sophos.send("POST", TOKEN_PATH, json=sophos.form).status_code == 415


def test_a_disabled_credential() -> None:
    with sophos_with(credential_disabled=True) as sophos:
        assert sophos.token().json()["errorCode"] == "oauth.client_disabled"


def test_a_token_expires() -> None:
    with sophos_with(token_seconds=0.2) as sophos:
        sophos.sign_in()
        time.sleep(0.25)
        assert sophos.get("/whoami/v1").status_code == 401


# --- who may ask ------------------------------------------------------------------------


def test_whoami_names_the_host_with_a_slash(sophos: Sophos, shared: Sandbox) -> None:
    body = sophos.get("/whoami/v1").json()
    assert body["idType"] == "partner"
    assert body["apiHosts"]["global"] == f"{shared.sophos_url}/"


@pytest.mark.parametrize("kind", ["organization", "tenant"])
def test_other_credentials_have_no_partner_rights(kind: str) -> None:
    with sophos_with(credential_kind=kind) as sophos:
        sophos.sign_in()
        assert sophos.get("/whoami/v1").json()["idType"] == kind
        assert sophos.get("/partner/v1/tenants").status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"X-Partner-ID": None}, 400),
        ({"X-Partner-ID": "11111111-1111-4111-8111-111111111111"}, 403),
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/partner/v1/tenants",
        "/partner/v1/billing/usage/2026/10",
        "/licenses/v1/licenses/firewalls",
    ],
)
def test_bearer_and_partner_are_enforced(
    sophos: Sophos, path: str, headers: dict[str, str | None], status: int
) -> None:
    answer = sophos.send("GET", path, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == ERROR_KEYS


@pytest.mark.parametrize(("method", "path"), [("GET", "/nowhere"), ("POST", "/whoami/v1")])
def test_the_unknown_is_not_found(sophos: Sophos, method: str, path: str) -> None:
    answer = sophos.send(method, path)
    assert answer.status_code == 404
    assert set(answer.json()) == ERROR_KEYS


# --- tenants and firewalls ----------------------------------------------------------------


def test_tenants_by_page_number(sophos: Sophos) -> None:
    first = sophos.get("/partner/v1/tenants", page=1, pageSize=40, pageTotal="true").json()
    second = sophos.get("/partner/v1/tenants", page=2, pageSize=40, pageTotal="true").json()
    assert first["pages"] == {"current": 1, "size": 40, "total": 2, "items": 60, "maxSize": 100}
    assert len({tenant["id"] for tenant in first["items"] + second["items"]}) == 60


def test_totals_only_when_asked_for(sophos: Sophos) -> None:
    for answer in (sophos.get("/partner/v1/tenants"), sophos.usage()):
        assert {"items", "total"}.isdisjoint(answer.json()["pages"])
        assert len(answer.json()["items"]) == 50


def test_page_size_is_capped(sophos: Sophos) -> None:
    assert sophos.get("/partner/v1/tenants", pageSize=1000).json()["pages"]["size"] == 100
    assert len(sophos.usage(pageSize=1000).json()["items"]) == 100


@pytest.mark.parametrize(("name", "value"), [("page", "0"), ("pageSize", "x"), ("pageTotal", "1")])
def test_nonsense_in_paging_is_refused(sophos: Sophos, name: str, value: str) -> None:
    assert sophos.get("/partner/v1/tenants", **{name: value}).status_code == 400


def test_one_tenant(sophos: Sophos, shared: Sandbox) -> None:
    tenant = shared.sophos.tenants[4]
    assert sophos.get(f"/partner/v1/tenants/{tenant['id']}").json() == tenant
    assert sophos.get("/partner/v1/tenants/nobody").status_code == 404


def test_fields_trim(sophos: Sophos) -> None:
    assert set(sophos.usage(fields="sku,accountId").json()["items"][0]) == {"sku", "accountId"}


def test_firewalls_are_placed_or_not(sophos: Sophos) -> None:
    found = sophos.get("/licenses/v1/licenses/firewalls").json()["items"]
    assert any(firewall["tenant"] for firewall in found)
    assert any(not firewall["tenant"] and firewall["billingTenant"] for firewall in found)


# --- usage ----------------------------------------------------------------------------


def test_usage_by_key(sophos: Sophos, shared: Sandbox) -> None:
    pages = pages_of(sophos, pageSize=100, pageTotal="true")
    lines = [line for page in pages for line in page["items"]]
    assert lines == shared.sophos.usage[2026, 10]
    assert all(page["pages"]["items"] == len(lines) for page in pages)
    assert pages[0]["pages"]["total"] == len(pages) == 3
    assert "fromKey" not in pages[0]["pages"]
    assert pages[1]["pages"]["fromKey"] == pages[0]["pages"]["nextKey"]


def test_an_unknown_cursor_gives_page_one_again(sophos: Sophos) -> None:
    key = sophos.usage().json()["pages"]["nextKey"]
    assert sophos.usage(cursor=key).json() == sophos.usage().json()
    assert sophos.usage(pageFromKey=key).json() != sophos.usage().json()


def test_usage_of_one_account(sophos: Sophos, shared: Sandbox) -> None:
    tenant = shared.sophos.tenants[0]["id"]
    found = sophos.usage(accountId=tenant).json()["items"]
    assert {line["accountId"] for line in found} == {tenant}
    assert sophos.usage(tenantId=tenant).json() == sophos.usage().json()


@pytest.mark.parametrize("key", ["nonsense", "MjAyNi85LzUw"])
def test_a_key_that_is_not_this_months(sophos: Sophos, key: str) -> None:
    assert sophos.usage(pageFromKey=key).status_code == 400


def test_months_with_and_without_a_zero(sophos: Sophos) -> None:
    assert sophos.usage("2026/09").json() == sophos.usage("2026/9").json()


@pytest.mark.parametrize(
    ("month", "status"),
    [("2026/11", 404), ("2019/1", 404), ("2026/13", 400), ("2026/x", 400)],
)
def test_months_without_a_report(sophos: Sophos, month: str, status: int) -> None:
    answer = sophos.usage(month)
    assert answer.status_code == status
    if status == 404:
        assert answer.json()["message"] == "No data for requested year or month."


def test_the_report_of_the_month_appears_by_day_or_by_force() -> None:
    for day, force, status in ((24, None, 404), (25, None, 200), (1, True, 200), (28, False, 404)):
        with sophos_with(today=date(2026, 11, day), report_ready=force) as sophos:
            assert sophos.sign_in().usage("2026/11").status_code == status


# --- licences and limits ------------------------------------------------------------------


def test_licences_of_one_tenant(sophos: Sophos, shared: Sandbox) -> None:
    statuses: dict[str, set[int]] = {}
    for tenant in shared.sophos.tenants:
        headers = {"X-Tenant-ID": tenant["id"]}
        answer = sophos.send("GET", "/licenses/v1/licenses", headers=headers)
        statuses.setdefault(tenant["billingType"], set()).add(answer.status_code)
    assert statuses == {"usage": {200}, "trial": {403}, "term": {403}}
    assert sophos.get("/licenses/v1/licenses").status_code == 400


def test_some_licences_have_no_live_count(shared: Sandbox) -> None:
    found = [entry for rows in shared.sophos.licenses.values() for entry in rows]
    assert {"usage" in entry for entry in found} == {True, False}


def test_rate_limits() -> None:
    with sophos_with(sophos_limits=((5, 0.3), (7, 60))) as sophos:
        sophos.sign_in()
        assert [sophos.get("/whoami/v1").status_code for _ in range(5)] == [200] * 4 + [429]
        refused = sophos.get("/whoami/v1")
        assert refused.headers["Retry-After"] == "1"
        assert set(refused.json()) == ERROR_KEYS
        time.sleep(0.35)
        assert [sophos.get("/whoami/v1").status_code for _ in range(3)] == [200, 200, 429]


def test_retry_after_can_be_left_out() -> None:
    with sophos_with(sophos_limits=((1, 60),), sophos_retry_after=False) as sophos:
        sophos.sign_in()
        assert "Retry-After" not in sophos.get("/whoami/v1").headers


def test_a_window_slides() -> None:
    with sophos_with(sophos_limits=((2, 0.3),)) as sophos:
        sophos.sign_in()
        assert [sophos.get("/whoami/v1").status_code for _ in range(2)] == [200, 429]
        time.sleep(0.35)
        assert [sophos.get("/whoami/v1").status_code for _ in range(3)] == [200, 200, 429]
