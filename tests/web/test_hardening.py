"""What a hostile network sends: every answer keeps its headers, and none repeats what was sent."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask, request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.web.client import Client

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "none",
}
EVIL = "evil.example"


def assert_guarded(answer: Any) -> None:
    for name, value in HEADERS.items():
        assert answer.headers[name] == value, name
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/settings", "/static/app.css", "/static/", "/nothing", "/icons.svg"]
)
@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE"]
)
def test_every_method_on_every_kind_of_address_is_answered_with_the_headers(
    anonymous: Client, admin: Client, path: str, method: str, *, signed_in: bool
) -> None:
    client = admin if signed_in else anonymous
    answer = client.open(path, method=method, csrf=False)
    answer.get_data()
    answer.close()
    assert answer.status_code < 500
    assert_guarded(answer)


def test_a_body_that_is_too_large_is_refused_in_words(admin: Client) -> None:
    answer = admin.post("/settings/safety", data={"x": "y" * 2_100_000})
    assert answer.status_code == 413
    assert "Send less" in answer.text
    assert_guarded(answer)


def test_a_form_of_too_many_parts_is_refused_in_words(admin: Client) -> None:
    answer = admin.post(
        "/settings/safety",
        data={f"x{n}": "y" for n in range(1_500)},
        content_type="multipart/form-data",
    )
    assert answer.status_code == 413
    assert_guarded(answer)


@pytest.mark.parametrize(
    "host",
    [
        EVIL,
        f"billing.example.{EVIL}",
        f"{EVIL}:443",
        "billing.example@" + EVIL,
        "",
        "[::1",
        "billing.example/..",
        '"><script>alert(1)</script>',
    ],
)
def test_a_foreign_host_is_refused_and_not_repeated(make: Callable[..., Flask], host: str) -> None:
    client = make(TRUSTED_HOSTS="billing.example").test_client()
    for path in ("/sign-in", "/", "/nothing", "/static/app.css"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 400, path
        assert EVIL not in answer.text + str(answer.headers)
        assert "<script>alert" not in answer.text
        assert_guarded(answer)


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Forwarded", "X-Original-URL", "X-Host"])
def test_headers_of_proxies_that_do_not_stand_there_count_nothing(
    anonymous: Client, header: str
) -> None:
    answer = anonymous.get("/settings", headers={header: EVIL})
    assert EVIL not in answer.text + str(answer.headers)


def test_a_forwarded_host_from_one_proxy_is_checked_as_well(make: Callable[..., Flask]) -> None:
    client = make(TRUSTED_HOSTS="billing.example", PROXY_HOPS="1").test_client()
    good = {"X-Forwarded-Host": "billing.example", "X-Forwarded-Proto": "https"}
    assert client.get("/sign-in", headers=good).status_code == 200
    for bad in ({"X-Forwarded-Host": EVIL}, {"X-Forwarded-Host": f"billing.example, {EVIL}"}):
        assert client.get("/sign-in", headers=bad).status_code == 400


def test_a_longer_chain_does_not_choose_its_own_address(make: Callable[..., Flask]) -> None:
    """With one proxy, only what that proxy added counts: the rest was typed by the client."""
    app = make(PROXY_HOPS="1")
    seen: list[str | None] = []
    app.before_request(lambda: seen.append(request.remote_addr))
    app.test_client().get("/sign-in", headers={"X-Forwarded-For": "1.2.3.4, 198.51.100.7"})
    assert seen == ["198.51.100.7"]


ODD = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(path=ODD, query=ODD, value=ODD)
def test_nothing_typed_into_an_address_breaks_a_page(
    anonymous: Client, path: str, query: str, value: str
) -> None:
    address = "/" + quote(path.lstrip("/"))
    answer = anonymous.get(address, query_string={"next": query, query: value})
    answer.close()
    assert answer.status_code < 500
    assert_guarded(answer)


PAGES = ["/findings", "/audit", "/settings/psa/products", "/customers", "/runs", "/", "/settings"]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    page=st.sampled_from(PAGES),
    name=st.sampled_from(["filter", "sort", "page", "q", "kind", "text", "from", "to", "actor"]),
    value=st.one_of(ODD, st.integers().map(str), st.sampled_from(["-1", "1e9", "NaN", "%00"])),
)
def test_no_filter_breaks_a_page(admin: Client, page: str, name: str, value: str) -> None:
    assert admin.get(page).status_code == 200
    answer = admin.get(page, query_string={name: value})
    answer.close()
    assert answer.status_code < 500


@pytest.mark.parametrize("number", ["2147483648", "9" * 20, "9" * 5000, "\u0661"])
def test_a_number_that_no_row_can_have_leads_nowhere(
    admin: Client, app: Flask, number: str
) -> None:
    addresses = [
        (method, re.sub("<int:[^>]+>", quote(number), rule.rule))
        for rule in app.url_map.iter_rules()
        if "<int:" in rule.rule and not rule.rule.startswith("/api/")
        for method in sorted((rule.methods or set()) & {"GET", "POST"})
    ]
    assert len(addresses) > 15
    for method, address in addresses:
        assert admin.open(address, method=method).status_code in (404, 405), address
    answer = admin.post("/runs/1/dismiss", data={"change": number})
    assert answer.status_code < 500
