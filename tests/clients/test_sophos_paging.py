"""Lists must be whole: what is missing would be read as usage that ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import responses

from services.clients.errors import IncompleteListing, VendorError
from services.clients.sophos import SophosClient
from services.sync.model import Month
from tests.clients.doubles import (
    API,
    ID_URL,
    Clock,
    add_sophos_login,
    calls_to,
    query_of,
    sophos_client,
    sophos_error,
    usage_line,
)

OCTOBER = Month(2026, 10)
USAGE = f"{API}/partner/v1/billing/usage/2026/10"
TENANTS = f"{API}/partner/v1/tenants"
FIREWALLS = f"{API}/licenses/v1/licenses/firewalls"
Page = dict[str, Any]


@pytest.fixture
def sophos(clock: Clock, net: responses.RequestsMock) -> SophosClient:
    add_sophos_login(net)
    return sophos_client(clock)


def lines(first: int, last: int) -> list[dict[str, Any]]:
    return [usage_line(orderLineItemNumber=str(n)) for n in range(first, last + 1)]


def keyed(rows: list[Any], /, *, key: object = None, **pages: Any) -> Page:
    found = {"nextKey": key, "maxSize": 1000, **pages}
    return {"items": rows, "pages": {n: v for n, v in found.items() if v is not None}}


def tenants(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": f"t-{number}", "name": f"Tenant {number}"} for number in numbers]


def numbered(rows: list[Any], /, **pages: Any) -> Page:
    return {"items": rows, "pages": pages}


def answer_with(net: responses.RequestsMock, url: str, pages: Sequence[Page]) -> None:
    for page in pages:
        net.get(url, json=page)


def test_a_report_of_several_pages(sophos: SophosClient, net: responses.RequestsMock) -> None:
    first, second = keyed(lines(1, 2), key="k2", items=5), keyed(lines(3, 4), key="k3", items=5)
    answer_with(net, USAGE, [first, second, keyed(lines(5, 5), items=5)])
    found = sophos.usage(OCTOBER)
    assert found is not None
    assert [line.order for line in found] == [f"SO-1/{n}" for n in range(1, 6)]
    assert [query_of(call) for call in calls_to(net, USAGE)] == [
        {"pageTotal": "true"},
        {"pageTotal": "true", "pageSize": "1000", "pageFromKey": "k2"},
        {"pageTotal": "true", "pageSize": "1000", "pageFromKey": "k3"},
    ]


@pytest.mark.parametrize(
    "pages",
    [
        [keyed([], items=0)],
        [keyed([])],
        [keyed(lines(1, 2), items=2, key="")],
        [keyed(lines(1, 2), key="k2", items=2), keyed([], items=2)],
        [keyed(lines(1, 2), key=2), keyed(lines(3, 3))],
        [keyed(lines(1, 1), key="k2", maxSize=0), keyed(lines(2, 2), maxSize="many")],
    ],
)
def test_unusual_but_whole_reports(
    pages: list[Page], sophos: SophosClient, net: responses.RequestsMock
) -> None:
    answer_with(net, USAGE, pages)
    found = sophos.usage(OCTOBER)
    assert found is not None
    assert len(found) == sum(len(page["items"]) for page in pages)


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([keyed(lines(1, 2), items=3)], "promised 3 lines and sent 2"),
        ([keyed(lines(1, 4), items=3)], "promised 3 lines and sent 4"),
        ([keyed([], items=3)], "promised 3 lines and sent 0"),
        (
            [keyed(lines(1, 2), key="k", items=9), keyed(lines(3, 4), key="k", items=9)],
            "same next page",
        ),
        (
            [keyed(lines(1, 2), key="k2", items=9), keyed(lines(1, 2), key="k3", items=9)],
            "same page twice",
        ),
        ([keyed(lines(1, 2), key="k2"), keyed(lines(1, 2), key="k3")], "same page twice"),
        (
            [keyed(lines(1, 2), key="k2", items=4), keyed(lines(3, 4), items=5)],
            "changed while it was read",
        ),
        (
            [keyed(lines(1, 2), key="k2", items=4), keyed(lines(3, 4))],
            "changed while it was read",
        ),
    ],
)
def test_a_report_that_is_not_whole_is_refused(
    pages: list[Page], why: str, sophos: SophosClient, net: responses.RequestsMock
) -> None:
    answer_with(net, USAGE, pages)
    with pytest.raises(IncompleteListing, match=why) as caught:
        sophos.usage(OCTOBER)
    assert not caught.value.permanent


def test_a_report_that_vanishes_half_way_is_not_taken_for_not_ready(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    net.get(USAGE, json=keyed(lines(1, 2), key="k2", items=4))
    net.get(USAGE, status=404, json=sophos_error())
    with pytest.raises(VendorError):
        sophos.usage(OCTOBER)


def test_an_endless_report_is_refused(
    sophos: SophosClient, net: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.clients.sophos._MOST_PAGES", 3)
    answer_with(net, USAGE, [keyed([], key=f"k{n}") for n in range(9)])
    with pytest.raises(IncompleteListing, match="no end"):
        sophos.usage(OCTOBER)


def test_tenants_of_several_pages(sophos: SophosClient, net: responses.RequestsMock) -> None:
    pages = [numbered(tenants(1, 2), total=2, items=3), numbered(tenants(3), total=2, items=3)]
    answer_with(net, TENANTS, pages)
    assert [tenant.id for tenant in sophos.tenants()] == ["t-1", "t-2", "t-3"]
    assert [query_of(call)["page"] for call in calls_to(net, TENANTS)] == ["1", "2"]


def test_without_a_number_of_pages_an_empty_page_is_the_end(
    sophos: SophosClient, net: responses.RequestsMock
) -> None:
    answer_with(net, TENANTS, [numbered(tenants(1, 2)), numbered(tenants(3)), numbered([])])
    assert len(sophos.tenants()) == 3


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([numbered(tenants(1), total=1, items=2)], "promised 2 lines and sent 1"),
        ([numbered(tenants(1, 1), total=1, items=2)], "same record twice"),
        (
            [numbered(tenants(1, 2), total=2, items=4), numbered(tenants(2, 3), total=2, items=4)],
            "same record twice",
        ),
        ([numbered(tenants(1), total=2), numbered(tenants(1), total=2)], "same page twice"),
        ([numbered(tenants(1)), numbered(tenants(1))], "same page twice"),
        (
            [numbered(tenants(1), total=2, items=2), numbered(tenants(2), total=2, items=3)],
            "changed while it was read",
        ),
        ([numbered(tenants(1), total=3), numbered([], total=3)], "page is empty"),
    ],
)
@pytest.mark.parametrize(
    "listing",
    [(TENANTS, SophosClient.tenants, "id"), (FIREWALLS, SophosClient.firewalls, "serialNumber")],
)
def test_a_numbered_list_that_is_not_whole_is_refused(
    pages: list[Page],
    why: str,
    listing: tuple[str, Callable[[SophosClient], object], str],
    sophos: SophosClient,
    net: responses.RequestsMock,
) -> None:
    url, ask, key = listing
    renamed = [{**page, "items": [{key: row["id"]} for row in page["items"]]} for page in pages]
    answer_with(net, url, renamed)
    with pytest.raises(IncompleteListing, match=why):
        ask(sophos)


def test_four_threads_share_one_token(sophos: SophosClient, net: responses.RequestsMock) -> None:
    net.get(USAGE, json=keyed(lines(1, 2), items=2))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: sophos.usage(OCTOBER), range(8)))
    assert all(report is not None and len(report) == 2 for report in found)
    assert len(calls_to(net, ID_URL)) == 1
    assert len(calls_to(net, "whoami")) == 1
    assert sophos.calls == 10


def test_sophos_limits_are_kept(
    sophos: SophosClient, clock: Clock, net: responses.RequestsMock
) -> None:
    net.get(USAGE, json=keyed(lines(1, 2), items=2))
    begin = clock.now
    for _ in range(110):
        sophos.usage(OCTOBER)
    assert 61 <= clock.now - begin <= 75
