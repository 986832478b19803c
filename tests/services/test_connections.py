"""The check of both connections: one line a right, and the missing one named."""

from __future__ import annotations

import datetime as dt
from itertools import combinations

import pytest

from config import Config, load_config
from sandbox import Fault, start
from sandbox.faults import FaultKind, Vendor
from sandbox.options import RIGHTS
from services.connections import (
    Check,
    NotConfiguredError,
    check_connections,
    connectwise_client,
    sophos_client,
)
from tests.services.workshop import config_of, options

TODAY = dt.date(2026, 11, 22)
NEEDED = {
    "company/companies:read": {"companies"},
    "finance/agreements:read": {"agreements", "additions"},
    "procurement/catalog:read": {"product catalog"},
    "system/tables:read": {"categories", "sub-categories", "product types", "units of measure"},
}


def checks(config: Config) -> list[Check]:
    return list(check_connections(config, today=TODAY))


def bad(config: Config) -> set[str]:
    return {check.name for check in checks(config) if not check.ok}


def test_everything_is_good_and_nothing_is_written() -> None:
    with start(options()) as sandbox:
        found = checks(config_of(sandbox))
        assert [c.name for c in found if not c.ok] == []
        assert {e.method for e in sandbox.log.entries() if e.vendor == "connectwise"} == {"GET"}
    assert len({(c.vendor, c.name) for c in found}) == len(found) == 13


def test_additions_are_really_looked_into() -> None:
    with start(options()) as sandbox:
        found = {c.name: c.message for c in checks(config_of(sandbox))}
        assert "can be read" in found["additions"]
        assert [e for e in sandbox.log.entries() if e.path.endswith("/additions")]


@pytest.mark.parametrize(
    "denied",
    [frozenset(pair) for size in (1, 2, 4) for pair in combinations(NEEDED, size)],
    ids=lambda rights: "+".join(sorted(rights)),
)
def test_each_missing_right_is_named(denied: frozenset[str]) -> None:
    with start(options(denied=denied)) as sandbox:
        found = checks(config_of(sandbox))
    assert {c.name for c in found if not c.ok} == set().union(*(NEEDED[r] for r in denied))
    for check in found:
        if not check.ok:
            assert "Its security role needs" in check.message
            assert check.advice


@pytest.mark.parametrize("right", RIGHTS)
def test_a_missing_right_to_write_cannot_be_seen_and_is_not_claimed(right: str) -> None:
    with start(options(denied=frozenset({f"{right}:write"}))) as sandbox:
        found = checks(config_of(sandbox))
    assert all(check.ok for check in found)
    [additions] = [check for check in found if check.name == "additions"]
    assert "cannot be tested without writing" in additions.message


@pytest.mark.parametrize("kind", ["organization", "tenant"])
def test_the_wrong_kind_of_credential_stops_sophos_only(kind: str) -> None:
    with start(options(credential_kind=kind)) as sandbox:
        found = checks(config_of(sandbox))
    assert [(c.vendor, c.name) for c in found if not c.ok] == [("Sophos", "partner credential")]
    assert [c.name for c in found if c.vendor == "Sophos"] == ["partner credential"]


def test_one_vendor_does_not_hide_the_other() -> None:
    with start(options()) as sandbox:
        good = sandbox.env()
        for prefix, vendor in (("SOPHOS", "Sophos"), ("CONNECTWISE", "ConnectWise")):
            env = {k: v for k, v in good.items() if not k.startswith(f"TALLYBRIDGE_{prefix}")}
            found = checks(load_config(env))
            assert {c.vendor for c in found if not c.ok} == {vendor}
            assert [c.name for c in found if c.vendor == vendor] == ["settings"]
            assert {c.vendor for c in found} == {"Sophos", "ConnectWise"}


def test_no_report_yet_is_good() -> None:
    with start(options(report_ready=False, months=1)) as sandbox:
        for month in sandbox.state()["ready"]:
            sandbox.edit({"action": "month_ready", "month": month, "ready": False})
        found = {c.name: c for c in checks(config_of(sandbox))}
    assert found["billing usage"].ok
    assert "no report yet" in found["billing usage"].message


@pytest.mark.parametrize("path", ["companyinfo", "catalog", "additions", "whoami", "billing"])
def test_a_web_page_is_told_at_its_line(path: str) -> None:
    with start(options()) as sandbox:
        vendor: Vendor = "sophos" if path in ("whoami", "billing") else "connectwise"
        sandbox.faults.add(Fault("html_200", vendor, path=path, times=None))
        found = [c for c in checks(config_of(sandbox)) if not c.ok]
    assert len(found) == 1
    assert "web page" in found[0].message


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"CONNECTWISE_COMPANY_ID": "nobody"}, "site and company", "Correct what is set"),
        ({"CONNECTWISE_SITE": "https://cw.example.com"}, "site and company", "allow its host"),
        ({"CONNECTWISE_PRIVATE_KEY": "wrong-key"}, "companies", "Correct what is set"),
        ({"SOPHOS_CLIENT_SECRET": "wrong-secret"}, "partner credential", "Correct what is set"),
    ],
)
def test_the_advice_fits_the_failure(changes: dict[str, str], name: str, words: str) -> None:
    with start(options()) as sandbox:
        env = sandbox.env() | {f"TALLYBRIDGE_{key}": value for key, value in changes.items()}
        [check] = [c for c in checks(load_config(env)) if c.name == name]
    assert not check.ok
    assert words in check.advice
    assert "Inquire" not in check.advice


@pytest.mark.parametrize(
    ("kind", "words"), [("error_503", "test again later"), ("html_200", "another server")]
)
def test_rights_are_no_advice_for_who_gets_no_answer(kind: FaultKind, words: str) -> None:
    with start(options()) as sandbox:
        sandbox.faults.add(Fault(kind, "sophos", path="tenants", times=None))
        [check] = [c for c in checks(config_of(sandbox)) if not c.ok]
    assert words in check.advice


def test_what_is_not_set_is_named() -> None:
    with pytest.raises(NotConfiguredError, match="TALLYBRIDGE_SOPHOS_CLIENT_ID is not set"):
        sophos_client(Config())
    with pytest.raises(NotConfiguredError, match="TALLYBRIDGE_CONNECTWISE_SITE is not set"):
        connectwise_client(Config())
