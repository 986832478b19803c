"""Misbehaviour comes when it was asked for, with or without the effect."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from sandbox import FAULT_KINDS, Fault, FaultKind, Sandbox
from tests.sandbox.callers import ConnectWise, Sophos, replacing

ADDITIONS = "/finance/agreements/203/additions"
CATALOG = "/procurement/catalog"
NEW = {"product": {"id": 1001}, "billCustomer": "Billable", "quantity": 12}
NO_ANSWER = 0
STATUSES: dict[FaultKind, int] = {
    "error_500": 500,
    "error_500_timeout": 500,
    "error_502_html": 502,
    "error_503": 503,
    "rate_limited": 429,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "html_200": 200,
    "redirect": 302,
    "timeout": NO_ANSWER,
    "disconnect": NO_ANSWER,
    "reset_mid_body": NO_ANSWER,
}


def status(send: Any, *arguments: Any) -> int:
    try:
        return int(send(*arguments).status_code)
    except requests.RequestException:
        return NO_ANSWER


def count(sandbox: Sandbox) -> int:
    return len(sandbox.connectwise.additions_of(203).rows)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", sorted({*STATUSES, "bad_json", "wrong_shape"}))
def test_a_create_with_and_without_effect(
    psa: ConnectWise, fresh: Sandbox, kind: FaultKind, when: Any
) -> None:
    before = count(fresh)
    fresh.faults.add(Fault(kind, "connectwise", when=when, method="POST", seconds=0.2))
    usual = 201 if when == "after" else 200
    assert status(psa.post, ADDITIONS, NEW) == STATUSES.get(kind, usual)
    assert count(fresh) == before + (when == "after")
    entry = fresh.log.entries(method="POST")[0]
    assert (entry.effect, entry.fault) == (when == "after", kind)
    assert psa.post(ADDITIONS, NEW).status_code == 201


@pytest.mark.parametrize("kind", sorted(STATUSES))
def test_reads_fail_too(fresh_sophos: Sophos, fresh: Sandbox, kind: FaultKind) -> None:
    fresh.faults.add(Fault(kind, "sophos", path="/tenants$", seconds=0.1))
    assert status(fresh_sophos.get, "/partner/v1/tenants") == STATUSES[kind]
    assert fresh_sophos.get("/partner/v1/tenants").status_code == 200


def test_every_kind_is_known_and_can_be_added(fresh: Sandbox) -> None:
    for kind in FAULT_KINDS:
        fresh.faults.add(Fault(kind, "sophos"))
    assert len(fresh.faults.pending()) == len(FAULT_KINDS) == 22
    fresh.faults.clear()
    assert fresh.faults.pending() == []


@pytest.mark.parametrize(
    "wrong",
    [{"kind": "nonsense"}, {"vendor": "other"}, {"at": 0}, {"times": 0}, {"when": "later"}],
)
def test_a_fault_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Fault(**{"kind": "slow", "vendor": "sophos", **wrong})


def test_the_kth_matching_request_counts(psa: ConnectWise, fresh: Sandbox) -> None:
    fault = Fault("error_503", "connectwise", at=2, times=2, method="GET", path="/catalog")
    fresh.faults.add(fault)
    others = [psa.get("/procurement/types").status_code for _ in range(3)]
    assert others == [200] * 3
    assert [psa.get(CATALOG).status_code for _ in range(5)] == [200, 503, 503, 200, 200]
    assert fresh.faults.pending() == []


def test_for_ever(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("forbidden", "connectwise", times=None))
    assert {psa.get(CATALOG).status_code for _ in range(5)} == {403}
    assert len(fresh.faults.pending()) == 1


def test_a_path_may_look_at_the_query(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("error_500", "connectwise", path=r"page=2\b"))
    assert psa.get(CATALOG, page=1).status_code == 200
    assert psa.get(CATALOG, page=2).status_code == 500


def test_the_words_of_a_timeout(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("error_500_timeout", "connectwise"))
    assert psa.get(CATALOG).json() == {
        "code": "ConnectWiseApi",
        "message": "A timeout has occured. Please try again.",
    }


def test_rate_limited_says_how_long(psa: ConnectWise, fresh_sophos: Sophos, fresh: Sandbox) -> None:
    for vendor in ("connectwise", "sophos"):
        fresh.faults.add(Fault("rate_limited", vendor, seconds=7))
    answer = psa.get(CATALOG)
    assert (answer.headers["Retry-After"], answer.json()["error"]) == ("7", "ConnectWiseAPI")
    assert fresh_sophos.usage().headers["Retry-After"] == "7"


def test_token_faults_have_the_token_shape(fresh_sophos: Sophos, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("unauthorized", "sophos", path="oauth2"))
    assert "errorCode" in fresh_sophos.token().json()


def test_a_timeout_outlasts_the_client(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("timeout", "connectwise", when="after", method="PATCH"))
    number = psa.get(ADDITIONS).json()[0]["id"]
    operation = [replacing("quantity", 991)]
    with pytest.raises(requests.ReadTimeout):
        psa.send("PATCH", f"{ADDITIONS}/{number}", json=operation, timeout=0.2)
    assert psa.get(f"{ADDITIONS}/{number}").json()["quantity"] == 991
    assert fresh.log.entries(method="PATCH")[0].status == 0


def test_slow_answers_in_the_end(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("slow", "connectwise", seconds=0.2))
    begun = time.monotonic()
    assert psa.get(CATALOG).status_code == 200
    assert time.monotonic() - begun > 0.19


def test_pages_that_are_no_json(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("html_200", "connectwise"))
    fresh.faults.add(Fault("bad_json", "connectwise", at=2))
    assert psa.get(CATALOG).headers["Content-Type"].startswith("text/html")
    with pytest.raises(requests.JSONDecodeError):
        psa.get(CATALOG).json()


def test_wrong_shapes(psa: ConnectWise, fresh_sophos: Sophos, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("wrong_shape", "connectwise"))
    fresh.faults.add(Fault("wrong_shape", "sophos"))
    assert isinstance(psa.get(CATALOG).json(), dict)
    assert isinstance(fresh_sophos.usage().json(), list)


def test_a_redirect_leads_to_the_other_vendor(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("redirect", "connectwise"))
    assert psa.get(CATALOG).headers["Location"].startswith(fresh.sophos_url)


def test_empty_lists(psa: ConnectWise, fresh_sophos: Sophos, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("empty_list", "connectwise"))
    fresh.faults.add(Fault("empty_list", "sophos"))
    answer = psa.get(CATALOG)
    assert answer.json() == []
    assert not answer.links
    page = fresh_sophos.usage(pageTotal="true").json()
    assert page["items"] == []
    assert page["pages"]["items"] == 0
    assert "nextKey" not in page["pages"]


def test_short_lists(psa: ConnectWise, fresh_sophos: Sophos, fresh: Sandbox) -> None:
    whole = fresh_sophos.usage(pageTotal="true").json()
    rows = psa.get(CATALOG).json()
    fresh.faults.add(Fault("short_list", "connectwise"))
    fresh.faults.add(Fault("short_list", "sophos"))
    short = fresh_sophos.usage(pageTotal="true").json()
    assert 0 < len(short["items"]) < len(whole["items"])
    assert short["pages"] == whole["pages"]
    answer = psa.get(CATALOG)
    assert 0 < len(answer.json()) < len(rows)
    assert answer.json()[-1] == rows[-1]
    assert "next" in answer.links


def test_a_key_that_repeats(fresh_sophos: Sophos, fresh: Sandbox) -> None:
    first = fresh_sophos.usage().json()
    key = first["pages"]["nextKey"]
    fresh.faults.add(Fault("repeated_key", "sophos", path="billing", times=2))
    assert fresh_sophos.usage(pageFromKey=key).json()["pages"]["nextKey"] == key
    start_key = fresh_sophos.usage().json()["pages"]["nextKey"]
    assert fresh_sophos.usage(pageFromKey=start_key).json()["items"] == first["items"]


def test_page_one_again(psa: ConnectWise, fresh_sophos: Sophos, fresh: Sandbox) -> None:
    first = fresh_sophos.usage().json()
    key = first["pages"]["nextKey"]
    second = fresh_sophos.usage(pageFromKey=key).json()
    fresh.faults.add(Fault("repeated_page", "sophos"))
    fresh.faults.add(Fault("repeated_page", "connectwise", at=3))
    again = fresh_sophos.usage(pageFromKey=key).json()
    assert (again["items"], again["pages"]) == (first["items"], second["pages"])
    pages = [psa.get(CATALOG, page=number) for number in (1, 2, 2)]
    assert pages[2].json() == pages[0].json() != pages[1].json()
    assert pages[2].headers["Link"] == pages[1].headers["Link"]


def test_a_list_that_lags(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("lagging_list", "connectwise", times=None, method="GET", seconds=0.4))
    number = psa.post(ADDITIONS, NEW).json()["id"]
    assert number not in [row["id"] for row in psa.get(ADDITIONS).json()]
    assert psa.get(f"{ADDITIONS}/{number}").status_code == 200
    time.sleep(0.45)
    assert number in [row["id"] for row in psa.get(ADDITIONS).json()]


def test_a_false_200(psa: ConnectWise, fresh: Sandbox) -> None:
    before = psa.get(ADDITIONS).json()[0]
    path = f"{ADDITIONS}/{before['id']}"
    fresh.faults.add(Fault("false_200", "connectwise", method="PATCH"))
    answer = psa.patch(path, replacing("quantity", 991))
    assert (answer.status_code, answer.json()) == (200, before)
    assert psa.get(path).json() == before
    assert psa.patch(path, replacing("quantity", 991)).json()["quantity"] == 991


def test_stopping_ends_waiting_faults(psa: ConnectWise, fresh: Sandbox) -> None:
    fresh.faults.add(Fault("timeout", "connectwise"))
    with pytest.raises(requests.ReadTimeout):
        psa.send("GET", CATALOG, timeout=0.1)
    begun = time.monotonic()
    fresh.stop()
    assert time.monotonic() - begun < 2
    assert status(psa.get, CATALOG) == NO_ANSWER
