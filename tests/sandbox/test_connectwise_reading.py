"""ConnectWise's door, lists and paging keep their rules."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Sandbox, start
from tests.sandbox.callers import (
    ACCEPT,
    Caller,
    ConnectWise,
    connectwise_with,
    quick,
    replacing,
)

CATALOG = "/procurement/catalog"


def links(response: Any) -> dict[str, str]:
    return {rel: link["url"] for rel, link in response.links.items()}


def ids(response: Any) -> list[int]:
    return [row["id"] for row in response.json()]


# --- the door ---------------------------------------------------------------------------


def test_discovery(shared: Sandbox) -> None:
    caller = Caller(shared.connectwise_url)
    with caller.session:
        body = caller.get("/login/companyinfo/ExampleMSP").json()
        assert body["Codebase"] == "v2026_4/"
        assert f"http://{body['SiteUrl']}" == shared.connectwise_url
        assert body["IsCloud"] is False
        unknown = caller.get("/login/companyinfo/nobody")
        assert (unknown.status_code, unknown.text) == (200, "null")


def test_both_bases(shared: Sandbox) -> None:
    for base, status in (("/v4_6_release/apis/3.0", 200), ("/v2025_1/apis/3.0", 404)):
        caller = ConnectWise(shared, base)
        with caller.session:
            assert caller.get("/system/info").status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"clientId": None}, 400),
        ({"clientId": "11111111-1111-4111-8111-111111111111"}, 400),
        ({"Accept": "*/*"}, 406),
        ({"Accept": "application/vnd.connectwise.com+json; version=2025.1"}, 406),
        ({"Accept": ACCEPT.replace("; ", ";")}, 200),
    ],
)
def test_headers_are_enforced(
    connectwise: ConnectWise, headers: dict[str, str | None], status: int
) -> None:
    answer = connectwise.send("GET", CATALOG, headers=headers)
    assert answer.status_code == status
    assert answer.headers["x-cw-request-id"]


def test_wrong_credentials() -> None:
    for status in (401, 404):
        with connectwise_with(wrong_credentials_status=status) as psa:
            assert psa.send("GET", CATALOG, auth=("examplemsp+x", "y")).status_code == status
            assert psa.get(CATALOG).status_code == 200


@pytest.mark.parametrize(
    ("right", "path"),
    [
        ("company/companies:read", "/company/companies"),
        ("finance/agreements:read", "/finance/agreements"),
        ("finance/agreements:read", "/finance/agreements/201/additions"),
        ("procurement/catalog:read", CATALOG),
        ("system/tables:read", "/procurement/types"),
    ],
)
def test_reading_rights(right: str, path: str) -> None:
    with connectwise_with(denied=frozenset({right})) as psa:
        assert psa.get(path).status_code == 403
        assert psa.get("/system/info").status_code == 200


def test_an_unknown_right_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="unknown right"):
        quick(denied=frozenset({"everything:write"}))


def test_rate_limit() -> None:
    with connectwise_with(connectwise_rate_per_minute=3) as psa:
        assert [psa.get("/system/info").status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = psa.get("/system/info")
        assert refused.json()["error"] == "ConnectWiseAPI"
        assert refused.headers["Retry-After"] in refused.json()["message"]


def test_a_long_address_is_refused_with_a_page(connectwise: ConnectWise) -> None:
    answer = connectwise.get(CATALOG, conditions=f'identifier="{"x" * 2000}"')
    assert answer.status_code == 414
    assert answer.text.startswith("<!DOCTYPE html>")


# --- records and lists ------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/finance/agreements/999",
        "/finance/agreements/999/additions",
        "/finance/agreements/201/additions/1",
        "/procurement/catalog/1",
        "/company/companies/1",
        "/procurement/nothing",
    ],
)
def test_what_is_not_there(connectwise: ConnectWise, path: str) -> None:
    answer = connectwise.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "NotFound")


def test_an_addition_belongs_to_one_agreement(connectwise: ConnectWise) -> None:
    number = ids(connectwise.get("/finance/agreements/201/additions"))[0]
    assert connectwise.get(f"/finance/agreements/201/additions/{number}").status_code == 200
    assert connectwise.get(f"/finance/agreements/202/additions/{number}").status_code == 404


@pytest.mark.parametrize("path", ["/procurement/subcategories/", "/procurement/subcategories"])
def test_a_slash_at_the_end_is_optional(connectwise: ConnectWise, path: str) -> None:
    assert len(connectwise.get(path).json()) == 12


def test_counts_follow_conditions(connectwise: ConnectWise) -> None:
    conditions = 'agreementStatus="Active"'
    rows = connectwise.get("/finance/agreements", pageSize=1000, conditions=conditions).json()
    count = connectwise.get("/finance/agreements/count", conditions=conditions).json()
    assert count == {"count": len(rows)}
    assert count != connectwise.get("/finance/agreements/count").json()


def test_child_conditions_look_into_lists(connectwise: ConnectWise) -> None:
    path = "/company/companies"
    found = connectwise.get(path, childConditions='types/name="Prospect"').json()
    assert {row["identifier"] for row in found} == {"Prospect1", "Prospect2"}
    assert connectwise.get(path, conditions='types/name="Prospect"').status_code == 400


def test_fields_trim_and_info_comes_only_when_asked_for(connectwise: ConnectWise) -> None:
    assert "_info" not in connectwise.get(CATALOG).json()[0]
    row = connectwise.get(CATALOG, fields="identifier,_info,category/id").json()[0]
    assert set(row) == {"identifier", "_info", "category"}
    assert set(row["category"]) == {"id"}
    assert {"lastUpdated", "updatedBy"} <= set(row["_info"])
    one = connectwise.get(f"{CATALOG}/1001", fields="_info/lastUpdated").json()
    assert set(one) == {"_info"}


def test_absent_values_have_no_key(connectwise: ConnectWise) -> None:
    row = connectwise.get("/finance/agreements/201/additions").json()[0]
    assert "cancelledDate" not in row
    assert "_info" not in row


def test_order(connectwise: ConnectWise) -> None:
    rows = connectwise.get(CATALOG, pageSize=1000, orderBy="category/name,price desc").json()
    keys = [(row["category"]["name"].casefold(), -row["price"]) for row in rows]
    assert keys == sorted(keys)
    for order in ("nothing", "price sideways", "category"):
        assert connectwise.get(CATALOG, orderBy=order).status_code == 400


def test_order_by_last_change(psa: ConnectWise) -> None:
    changed = psa.patch(f"{CATALOG}/1005", replacing("price", 77))
    assert changed.status_code == 200
    for path in ("lastUpdated", "_info/lastUpdated"):
        assert ids(psa.get(CATALOG, pageSize=1, orderBy=f"{path} desc")) == [1005]


def test_default_page_and_largest_page() -> None:
    with connectwise_with(catalog=1100) as psa:
        assert len(psa.get(CATALOG).json()) == 25
        assert len(psa.get(CATALOG, pageSize=5000).json()) == 1000


def test_links_of_numbered_pages(connectwise: ConnectWise) -> None:
    first = connectwise.get(CATALOG, pageSize=150, conditions="inactiveFlag=false or id>0")
    assert set(links(first)) == {"next", "last"}
    second = connectwise.send("GET", links(first)["next"].removeprefix(connectwise.url))
    assert set(links(second)) == {"first", "prev", "next", "last"}
    third = connectwise.send("GET", links(second)["next"].removeprefix(connectwise.url))
    assert set(links(third)) == {"first", "prev"}
    assert links(first)["last"] == links(second)["next"]
    found = ids(first) + ids(second) + ids(third)
    assert len(found) == len(set(found)) == 400


@pytest.mark.parametrize(("name", "value"), [("page", "0"), ("pageSize", "-1"), ("page", "x")])
def test_nonsense_in_paging_is_refused(connectwise: ConnectWise, name: str, value: str) -> None:
    assert connectwise.get(CATALOG, **{name: value}).status_code == 400


def forward(caller: ConnectWise, **params: Any) -> Any:
    headers = {"pagination-type": "forward-only"}
    return caller.send("GET", CATALOG, params=params, headers=headers)


def test_forward_only_paging(connectwise: ConnectWise) -> None:
    found: list[int] = []
    answer = forward(connectwise, pageSize=150)
    while True:
        found += ids(answer)
        if "next" not in links(answer):
            break
        assert set(links(answer)) == {"next"}
        assert f"pageId={found[-1]}" in links(answer)["next"]
        answer = forward(connectwise, pageSize=150, pageId=found[-1])
    assert len(found) == 400
    assert found == sorted(found)


def test_forward_only_paging_takes_no_order(connectwise: ConnectWise) -> None:
    assert forward(connectwise, orderBy="id").status_code == 400
    assert forward(connectwise, pageId="x").status_code == 400


def test_forward_only_paging_does_not_shift(psa: ConnectWise, fresh: Sandbox) -> None:
    first = forward(psa, pageSize=10)
    fresh.connectwise.catalog.remove(ids(first)[0])
    assert ids(forward(psa, pageSize=10, pageId=ids(first)[-1]))[0] == ids(first)[-1] + 1


def test_system_info_may_be_open() -> None:
    with start(quick(tenants=1, catalog=1, system_info_needs_auth=False)) as sandbox:
        caller = Caller(sandbox.connectwise_url + "/v2026_4/apis/3.0")
        with caller.session:
            answer = caller.send("GET", "/system/info", headers={"Accept": ACCEPT})
            assert answer.status_code == 200
