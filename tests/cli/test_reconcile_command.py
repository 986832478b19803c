"""`reconcile`: usage beside what is billed, at the command line."""

from __future__ import annotations

from decimal import Decimal

import pytest

from sandbox import Fault, Sandbox
from tests.cli.installation import Installation


def test_it_reads_only_and_says_what_is_lost(desk: Installation, sandbox: Sandbox) -> None:
    desk.configured()
    sandbox.log.clear()
    answer = desk.call("reconcile")
    assert answer.code == 0
    assert not sandbox.log.writes()
    for words in ("Sophos beside ConnectWise", "Not billed: ", "Overbilled: ", "lines agree."):
        assert words in answer.out


def test_without_any_mapping_everything_is_not_billed(desk: Installation) -> None:
    document = desk.call("reconcile", "--json").json
    assert document["total"] == document["not_billed"]["lines"] == len(document["items"]) > 0
    assert document["overbilled"]["lines"] == document["agree"] == 0
    assert {item["verdict"] for item in document["items"]} == {"not_billed"}


def test_after_a_sync_all_that_is_mapped_agrees(desk: Installation) -> None:
    desk.configured()
    desk.call("sync", "run", "--approve", "all")
    document = desk.call("reconcile", "--json").json
    ready = [item for item in document["items"] if not item["obstacles"] and item["sophos"] != "0"]
    assert ready
    assert {item["difference"] for item in ready} == {"0"}
    lost = sum(Decimal(item["money"] or 0) for item in document["items"] if item["sophos"] != "0")
    assert Decimal(document["not_billed"]["money"]) >= lost >= 0


def test_a_month_without_a_report_fails(desk: Installation) -> None:
    answer = desk.call("reconcile", "--month", "2020-01", "--json")
    assert answer.code == 1
    assert "no billing report for 2020-01" in answer.json["error"]


@pytest.mark.parametrize("arguments", [["--month", "soon"], ["--nonsense"], ["extra"]])
def test_bad_usage(desk: Installation, arguments: list[str]) -> None:
    assert desk.call("reconcile", *arguments).code == 2


def test_a_vendor_that_refuses_is_told_in_one_line(desk: Installation, sandbox: Sandbox) -> None:
    desk.configured()
    sandbox.faults.add(Fault("unauthorized", "sophos"))
    answer = desk.call("reconcile")
    assert answer.code == 1
    assert answer.err.startswith("Error: ")
    assert "Nothing was" in answer.err
