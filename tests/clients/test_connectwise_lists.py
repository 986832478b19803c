"""Lists, page by page, and the conditions that choose their records."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from services.clients.connectwise import ConnectWiseClient
from services.clients.connectwise_api import has_next
from services.clients.connectwise_query import Selection, by_ids, by_texts
from services.clients.errors import IncompleteListing, UnexpectedResponse
from tests.clients.doubles import (
    BASE,
    Clock,
    add_discovery,
    calls_to,
    catalog_item,
    connectwise_client,
    query_of,
)

COMPANIES = f"{BASE}/company/companies"
AGREEMENTS = f"{BASE}/finance/agreements"
CATALOG = f"{BASE}/procurement/catalog"
TYPES = f"{BASE}/procurement/types"
NEXT = {"Link": '<https://evil.example/steal?pageId=2>; rel="next"'}


@pytest.fixture
def connectwise(clock: Clock, net: responses.RequestsMock) -> ConnectWiseClient:
    add_discovery(net)
    return connectwise_client(clock)


def rows(*ids: int) -> list[dict[str, Any]]:
    return [{"id": number, "name": f"T{number}"} for number in ids]


def test_forward_only_paging(connectwise: ConnectWiseClient, net: responses.RequestsMock) -> None:
    net.get(TYPES, json=rows(1, 2), headers=NEXT)
    net.get(TYPES, json=rows(*range(3, 1003)))  # full, without a link
    net.get(TYPES, json=rows(5000, 4999), headers=NEXT)  # in no order
    net.get(TYPES, json=rows(6000))
    assert len(connectwise.types()) == 2 + 1000 + 2 + 1
    asked = calls_to(net, TYPES)
    assert [query_of(call).get("pageId") for call in asked] == [None, "2", "1002", "4999"]
    for call in asked:
        assert call.request.headers["pagination-type"] == "forward-only"
        assert query_of(call)["pageSize"] == "1000"
        assert "orderBy" not in query_of(call)


def test_a_full_last_page_is_followed_by_an_empty_one(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(TYPES, json=rows(*range(1, 1001)))
    net.get(TYPES, json=[])
    assert len(connectwise.types()) == 1000


@pytest.mark.parametrize(
    ("pages", "why"),
    [
        ([(rows(1, 2), NEXT), (rows(1, 2), NEXT)], "same record came twice"),
        ([(rows(1, 2), NEXT), (rows(2, 3), {})], "same record came twice"),
        ([(rows(1, 1), {})], "same record came twice"),
        ([(rows(1), NEXT), ([], NEXT)], "page is empty although more"),
    ],
)
def test_a_list_that_is_not_whole_is_refused(
    pages: list[tuple[list[Any], dict[str, str]]],
    why: str,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    for page, headers in pages:
        net.get(TYPES, json=page, headers=headers)
    with pytest.raises(IncompleteListing, match=why):
        connectwise.types()


@pytest.mark.parametrize("row", [None, 5, {}, {"id": "7"}, {"id": 0}, {"id": True}, {"id": None}])
def test_a_row_without_an_id_spoils_the_list(
    row: object, connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(TYPES, json=[row])
    with pytest.raises(UnexpectedResponse):
        connectwise.types()


@pytest.mark.parametrize(
    ("header", "more"),
    [
        ('<https://x/?a=1>; rel="next"', True),
        ('<https://x/?a=(1,2)>; rel="prev", <https://x/>; rel="next"', True),
        ("<https://x/>; rel=next", True),
        ('<https://x/>; REL="last next"', True),
        ('<https://x/>; rel="last"', False),
        ('<https://x/next>; rel="first"', False),
        ("", False),
        ("garbage", False),
    ],
)
def test_link_headers(header: str, more: bool) -> None:
    assert has_next({"Link": header}) is more


# --- conditions -----------------------------------------------------------------------------------


def test_ids_are_asked_for_in_chunks(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(CATALOG, json=[catalog_item(id=7), catalog_item(id=999, identifier="Not asked")])
    assert [item.id for item in connectwise.catalog_items(ids=range(1, 251))] == [7]
    asked = [query_of(call)["conditions"] for call in calls_to(net, CATALOG)]
    assert len(asked) == 3
    assert asked[0].startswith("id in (1,2,3,")
    assert all(condition.count(",") < 100 for condition in asked)


def test_nothing_asked_is_nothing_sent(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    assert connectwise.catalog_items(ids=[]) == []
    assert connectwise.catalog_items(identifiers=()) == []
    assert connectwise.companies(ids=set()) == []
    assert connectwise.agreements(company_ids=[]) == []
    assert len(net.calls) == 0


def test_only_one_way_of_choosing(connectwise: ConnectWiseClient) -> None:
    with pytest.raises(ValueError, match="one way"):
        connectwise.agreements(ids=[1], company_ids=[2])


@pytest.mark.parametrize(
    ("identifier", "condition"),
    [
        ("Sophos_CIXA", 'identifier="Sophos_CIXA"'),
        ('19" rack', "identifier='19\" rack'"),
        ("O'Brien", 'identifier="O\'Brien"'),
        ("a \"b\" and O'Brien's", 'identifier contains " and O"'),
        ("\"'", "id>0"),
    ],
)
def test_identifiers_are_quoted_or_searched_for_and_compared(
    identifier: str,
    condition: str,
    connectwise: ConnectWiseClient,
    net: responses.RequestsMock,
) -> None:
    found = [catalog_item(id=1, identifier=f"{identifier}x"), catalog_item(identifier=identifier)]
    net.get(CATALOG, json=found)
    assert [item.id for item in connectwise.catalog_items(identifiers=[identifier])] == [300]
    assert query_of(net.calls[-1])["conditions"] == condition


def test_the_case_of_an_identifier_does_not_count(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    found = [catalog_item(identifier="SOPHOS_cixa"), catalog_item(id=1, identifier="x")]
    net.get(CATALOG, json=found)
    assert [i.id for i in connectwise.catalog_items(identifiers=["Sophos_CIXA"])] == [300]


def test_records_found_twice_are_given_once(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(CATALOG, json=[catalog_item(id=n, identifier=f"I{n}") for n in range(1, 151)])
    found = connectwise.catalog_items(identifiers=[f"I{n}" for n in range(1, 151)])
    assert len(calls_to(net, CATALOG)) > 1
    assert len(found) == 150


def test_long_identifiers_keep_urls_short(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(CATALOG, json=[])
    connectwise.catalog_items(identifiers=[f"{n:02} {'é<' * 30}" for n in range(60)])
    urls = [call.request.url or "" for call in calls_to(net, CATALOG)]
    assert len(urls) > 5
    assert max(map(len, urls)) < 2000


@given(st.sets(st.text(st.characters(codec="utf-8"), min_size=1, max_size=75), max_size=40))
def test_every_text_is_asked_for_in_a_chunk_that_fits(texts: set[str]) -> None:
    chunks = list(by_texts("identifier", texts, 1500))
    clauses = sum(chunk.count("identifier=") + chunk.count("identifier ") for chunk in chunks)
    assert clauses + sum(chunk.count("id>0") for chunk in chunks) >= len(texts)
    for quote in "\"'":
        for text in texts:
            if "'" not in text and '"' not in text and quote == '"':
                assert any(f'identifier="{text}"' in chunk for chunk in chunks)


@given(st.sets(st.integers(1, 2**31 - 1), max_size=400))
def test_every_id_is_asked_for_once(ids: set[int]) -> None:
    chunks = list(by_ids("id", ids, 700))
    asked = [int(n) for chunk in chunks for n in chunk[len("id in (") : -1].split(",")]
    assert sorted(asked) == sorted(ids)


def test_changes_since_a_moment(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(CATALOG, json=[])
    zone = dt.timezone(dt.timedelta(hours=2))
    connectwise.catalog_items(updated_since=dt.datetime(2026, 11, 1, 2, 0, 1, 999, zone))
    assert query_of(net.calls[-1])["conditions"] == "lastUpdated>=[2026-11-01T00:00:01Z]"
    with pytest.raises(ValueError, match="time zone"):
        connectwise.catalog_items(updated_since=dt.datetime(2026, 11, 1))  # noqa: DTZ001


def test_a_selection_knows_whether_it_is_empty() -> None:
    assert Selection().is_everything
    assert not Selection().is_empty
    assert Selection(ids={"id": []}).is_empty
    assert not Selection(ids={"id": [1]}).is_empty
    assert list(Selection(conditions=("a=1",)).written(10)) == ["a=1"]


def test_all_companies_means_those_not_deleted(
    connectwise: ConnectWiseClient, net: responses.RequestsMock
) -> None:
    net.get(
        COMPANIES,
        json=[
            {"id": 1, "identifier": "A", "name": "Acme", "status": {"id": 9, "name": "Active"}},
            {"id": 2, "identifier": "B", "name": "Bin", "deletedFlag": True},
            {"id": 3, "identifier": "C", "deletedFlag": None, "status": None},
        ],
    )
    companies = connectwise.companies()
    assert [(c.id, c.name, c.deleted, c.status) for c in companies] == [
        (1, "Acme", False, "Active"),
        (3, "C", False, None),
    ]
    assert query_of(net.calls[-1])["conditions"] == "deletedFlag=false"
    assert [c.id for c in connectwise.companies(ids=[2, 3])] == [2, 3]
    assert [c.id for c in connectwise.companies(identifiers=["A", "b"])] == [1]
