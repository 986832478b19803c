"""Vendors that refuse us, or are not who they should be: one sentence, and nothing is lost."""

from __future__ import annotations

import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import Fault, Options, Sandbox, start
from sandbox.faults import FaultKind, Vendor
from tests.certificates import https, written
from tests.cli.installation import RUNS, Answer, Installation, refused, small


def no_run(answer: Answer, *words: str) -> None:
    """A run that failed before it had a plan: exit code 1, and one sentence that says so."""
    assert answer.code == 1, answer
    assert len(answer.err.strip().splitlines()) == 1, answer.err
    for word in words:
        assert word in answer.err, answer.err
    assert answer.last.endswith("Nothing was written.")
    assert answer.json["state"] == "failed"
    assert answer.json["changes"] == []
    assert answer.json["message"] == answer.last


def with_other_vendors(desk: Installation, options: Options) -> Iterator[Installation]:
    """The same installation, whose vendors now have other manners; mappings stay."""
    with start(options) as other:
        yield Installation(desk.home, {**desk.env, **other.env()}, other)


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an https server on loopback whose certificate nobody signed."""
    with https(written(tmp_path_factory.mktemp("tls") / "both.pem"), Listener) as address:
        yield address


class Listener(http.server.BaseHTTPRequestHandler):
    """Remembers whoever spoke to it in spite of the certificate."""

    heard: list[str] = []  # noqa: RUF012  (one list for all connections is the point)

    def do_GET(self) -> None:
        self.heard.append(self.path)

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@pytest.mark.parametrize(
    ("vendor", "variables"),
    [("Sophos", ("SOPHOS_ID_URL", "SOPHOS_API_URL")), ("ConnectWise", ("CONNECTWISE_SITE",))],
)
def test_a_certificate_that_nobody_signed(
    module_desk: Installation, self_signed: str, vendor: str, variables: tuple[str, ...]
) -> None:
    hosts = module_desk.env["TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"]
    env = dict.fromkeys(variables, self_signed)
    env["ALLOWED_VENDOR_HOSTS"] = f"{hosts},{self_signed}"
    with module_desk.unchanged("sync_runs", "usage_reports", "usage_lines"):
        planned = module_desk.call("sync", "plan", "--json", **env)
    no_run(planned, vendor, "certificate")
    checked = module_desk.call("check", "--json", **env)
    assert checked.code == 1
    bad = [c for c in checked.json["checks"] if not c["ok"]]
    assert [c["vendor"] for c in bad] == [vendor]
    assert "certificate" in bad[0]["message"]
    assert Listener.heard == []


# --- answers that are none ----------------------------------------------------------------------


@pytest.mark.parametrize("vendor", ["sophos", "connectwise"])
@pytest.mark.parametrize("kind", ["html_200", "bad_json", "wrong_shape", "redirect", "not_found"])
@pytest.mark.parametrize("at", [1, 3])
def test_answers_that_are_none(
    module_desk: Installation, vendor: Vendor, kind: FaultKind, at: int
) -> None:
    """At the first request and later; `not_found` alone may mean that there is no report yet."""
    sandbox = module_desk.sandbox
    assert sandbox is not None
    sandbox.faults.add(Fault(kind, vendor, at=at, times=None))
    try:
        with module_desk.unchanged("sync_runs", "usage_reports", "usage_lines"):
            answer = module_desk.call("sync", "run", "--json")
    finally:
        sandbox.faults.clear()
    assert answer.json["changes"] == []
    if kind == "not_found" and vendor == "sophos" and answer.json["state"] == "not_ready":
        assert answer.code == 1
        return
    no_run(answer, "Sophos" if vendor == "sophos" else "ConnectWise")
    if kind == "html_200":
        assert "web page" in answer.err


def test_an_import_that_gets_a_web_page_says_that_nothing_was_changed(
    module_desk: Installation,
) -> None:
    sandbox = module_desk.sandbox
    assert sandbox is not None
    sandbox.faults.add(Fault("html_200", "connectwise", times=None))
    file = module_desk.write(sandbox.sample_config())
    try:
        with module_desk.unchanged():
            answer = module_desk.call("config", "import", file)
    finally:
        sandbox.faults.clear()
    refused(answer, "web page", "Nothing was changed")


# --- who we are ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["organization", "tenant"])
def test_a_credential_of_the_wrong_sophos_kind(tmp_path: Path, kind: str) -> None:
    options = small(credential_kind=kind)
    with start(options) as sandbox:
        desk = Installation.at(sandbox, tmp_path / "home")
        no_run(desk.call("sync", "run", "--json"), f"of the kind '{kind}'", "'partner'")
        with desk.unchanged():
            imported = desk.call("config", "import", desk.write(sandbox.sample_config()))
        refused(
            imported,
            f"of the kind '{kind}', and a 'partner' credential is needed",
            "Nothing was changed",
        )
        checked = desk.call("check", "--json")
        assert checked.code == 1
        assert [c["name"] for c in checked.json["checks"] if not c["ok"]] == ["partner credential"]


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"SOPHOS_CLIENT_SECRET": "canary-not-it"}, "client secret is wrong"),
        ({"SOPHOS_CLIENT_ID": "00000000-0000-4000-8000-000000000000"}, "Sophos did not accept"),
        ({"CONNECTWISE_COMPANY_ID": "nobody"}, "does not know the company id 'nobody'"),
        ({"CONNECTWISE_PRIVATE_KEY": "canary-not-it"}, "did not accept the API keys"),
        ({"CONNECTWISE_PUBLIC_KEY": "canary-not-it"}, "did not accept the API keys"),
        ({"CONNECTWISE_CLIENT_ID": "canary-not-it"}, "did not accept the client id"),
        ({"CONNECTWISE_SITE": "https://cw.example.com"}, "cw.example.com is not a known address"),
        ({"SOPHOS_API_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1 is not a known address"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_names_and_keys(module_desk: Installation, env: dict[str, str], words: str) -> None:
    with module_desk.unchanged("sync_runs", "usage_reports", "usage_lines"):
        answer = module_desk.call("sync", "run", "--json", **env)
    no_run(answer, words)
    assert "canary" not in answer.out + answer.err
    checked = module_desk.call("check", "--json", **env)
    assert checked.code == 1
    assert words in checked.out
    assert "canary" not in checked.out + checked.err


@pytest.mark.parametrize(
    "name",
    [
        "SOPHOS_CLIENT_ID", "SOPHOS_CLIENT_SECRET", "CONNECTWISE_SITE", "CONNECTWISE_COMPANY_ID",
        "CONNECTWISE_PUBLIC_KEY", "CONNECTWISE_PRIVATE_KEY", "CONNECTWISE_CLIENT_ID",
    ],
)  # fmt: skip
def test_what_is_not_set_is_named(module_desk: Installation, name: str) -> None:
    with module_desk.unchanged():
        refused(
            module_desk.call("sync", "run", **{name: ""}),
            f"TALLYBRIDGE_{name} is not set. Nothing was changed; set it and try again.$",
        )


# --- what we may do -----------------------------------------------------------------------------

READS = {
    "company/companies:read": {"companies"},
    "finance/agreements:read": {"agreements", "additions"},
    "procurement/catalog:read": {"product catalog"},
    "system/tables:read": {"categories", "sub-categories", "product types", "units of measure"},
}


@pytest.mark.parametrize("right", READS)
def test_check_names_each_right_that_is_missing(module_desk: Installation, right: str) -> None:
    for desk in with_other_vendors(module_desk, small(denied=frozenset({right}))):
        with desk.unchanged():
            answer = desk.call("check", "--json")
        assert answer.code == 1
        bad = {c["name"]: c for c in answer.json["checks"] if not c["ok"]}
        assert bad.keys() == READS[right]
        for check in bad.values():
            assert "no right" in check["message"]
            assert "Its security role needs" in check["message"]
            assert check["advice"]


@pytest.mark.parametrize("right", ["finance/agreements:read", "procurement/catalog:read"])
def test_a_run_without_the_right_to_read_writes_nothing(
    module_desk: Installation, right: str
) -> None:
    for desk in with_other_vendors(module_desk, small(denied=frozenset({right}))):
        with desk.unchanged("sync_runs", "usage_reports", "usage_lines"):
            no_run(desk.call("sync", "run", "--json"), "The API member has no right for reading")


@pytest.mark.parametrize(
    "right", ["company/companies:read", "finance/agreements:read", "procurement/catalog:read"]
)
def test_an_import_without_the_right_to_look_up_changes_nothing(
    module_desk: Installation, right: str
) -> None:
    for desk in with_other_vendors(module_desk, small(denied=frozenset({right}))):
        file = desk.write(
            "settings: {usage_ended: zero}\n" + (desk.home / "sample.yaml").read_text()
        )
        with desk.unchanged():
            refused(desk.call("config", "import", file), "has no right for reading")


def test_a_run_without_the_right_to_write_ends_at_the_first_refusal(
    desk: Installation, sandbox: Sandbox
) -> None:
    desk.configured()
    for refusing in with_other_vendors(desk, small(denied=frozenset({"finance/agreements:write"}))):
        with refusing.unchanged(*RUNS):
            answer = refusing.call("sync", "run", "--json")
        assert answer.code == 1
        assert answer.json["state"] == "failed"
        found = {change["state"] for change in answer.json["changes"]}
        assert found <= {"failed", "skipped", "held"}
        assert len(answer.err.strip().splitlines()) == 1
        assert "no right" in answer.err
        assert refusing.sandbox is not None
        tried = [e for e in refusing.sandbox.log.entries() if e.method in ("POST", "PATCH")]
        vendors = [e for e in tried if e.vendor == "connectwise"]
        assert 1 <= len(vendors) <= 4, "at most one a worker"
    # With the right back, the next run does it all.
    assert desk.call("sync", "run", "--json").code == 0


def test_a_default_product_that_may_not_be_made_is_told(
    desk: Installation, sandbox: Sandbox
) -> None:
    code = desk.sample()["products"][0]["code"]
    document = f"products:\n- {{code: {code}, catalog_item: null, sync: true}}\n"
    assert desk.configured().call("config", "import", desk.write(document)).code == 0
    settings = "settings: {default_product: {identifier: 'Made_{code}'}}\n"
    assert desk.call("config", "import", desk.write(settings)).code == 0
    options = small(denied=frozenset({"procurement/catalog:write"}))
    for refusing in with_other_vendors(desk, options):
        assert refusing.sandbox is not None
        usage = {"month": refusing.sandbox.state()["ready"][-1], "product": code, "quantity": 3}
        tenant = desk.sample()["tenants"][1]["id"]
        refusing.sandbox.edit({"action": "set_usage", "tenant": tenant, **usage})
        answer = refusing.call("sync", "run", "--json")
        made = [c for c in answer.json["changes"] if c["kind"] == "create_product"]
        assert answer.code == 1
        assert [c["state"] for c in made] == ["failed"]
        assert "Procurement > Product Catalog: Add" in made[0]["error"]
    row = next(r for r in desk.rows()["product_mappings"] if r[0] == code)
    assert row[6] is None
