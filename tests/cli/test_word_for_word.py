"""The command line as product.md writes it, in processes of its own: `flask --app app ...`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import Sandbox
from tests.cli.installation import FLASK, ROOT, RUNS, Answer, Installation, refused

RUN_KEYS = {"run", "month", "state", "changes", "findings", "calls"}
CHANGE_KEYS = {
    "id", "kind", "tenant_id", "agreement_id", "addition_id", "catalog_item_id", "before", "after",
    "held", "reason", "state", "error",
}  # fmt: skip
KINDS = {"create", "update", "cancel", "adopt", "create_product"}
STATES = {"planned", "applied", "held", "skipped", "failed"}


def document_of(answer: Answer) -> dict[str, Any]:
    """The run that an answer tells, after checking every key and word of product.md."""
    document: dict[str, Any] = answer.json
    assert document.keys() >= RUN_KEYS
    assert document["calls"].keys() == {"sophos", "connectwise"}
    for change in document["changes"]:
        assert change.keys() >= CHANGE_KEYS
        assert change["kind"] in KINDS
        assert change["state"] in STATES
        assert type(change["held"]) is bool
        for number in (change["before"], change["after"]):
            assert number is None or isinstance(number, int | float)
    for finding in document["findings"]:
        assert finding.keys() == {"kind", "subject", "message", "advice"}
    return document


def states(document: dict[str, Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for change in document["changes"]:
        found.setdefault(change["state"], []).append(change["id"])
    return found


def quantities(sandbox: Sandbox) -> dict[int, float]:
    return {
        row["id"]: row["quantity"] for rows in sandbox.state()["additions"].values() for row in rows
    }


def test_from_an_empty_directory_to_right_invoices_and_back(
    desk: Installation, sandbox: Sandbox
) -> None:
    """Import, plan, run, approve, run again, undo: each as its own process."""
    dry = desk.shell("config", "import", desk.write(sandbox.sample_config()), "--dry-run")
    assert dry.code == 0
    assert desk.rows().keys() <= {"alembic_version"}
    done = desk.shell("config", "import", desk.home / "mappings.yaml", "--json")
    assert done.code == 0
    assert done.json["dry_run"] is False
    assert len(done.json["changes"]) == len(desk.sample()["products"] + desk.sample()["tenants"])

    with desk.unchanged(*RUNS):
        planned = desk.shell("sync", "plan", "--json")
    plan = document_of(planned)
    assert (planned.code, planned.err, plan["state"]) == (0, "", "planned")
    assert states(plan).keys() == {"planned", "held"}
    assert [c["held"] for c in plan["changes"]] == [c["state"] == "held" for c in plan["changes"]]

    before = quantities(sandbox)
    ran = desk.shell("sync", "run", "--month", plan["month"], "--approve", "none", "--json")
    run = document_of(ran)
    assert (ran.code, run["state"]) == (0, "succeeded")
    assert states(run).keys() == {"applied", "held"}
    after = quantities(sandbox)
    made = {c["addition_id"]: c["after"] for c in run["changes"] if c["state"] == "applied"}
    assert {key: value for key, value in after.items() if key not in before} == made
    assert {key: value for key, value in after.items() if key in before} == before

    held = states(run)["held"]
    one = desk.shell("sync", "approve", run["run"], "--change", held[0], "--json")
    assert one.code == 0
    assert held[0] in states(document_of(one))["applied"]
    rest = desk.shell("sync", "approve", run["run"], "--all", "--json")
    assert rest.code == 0
    assert states(document_of(rest)).keys() == {"applied"}

    sandbox.log.clear()
    again = document_of(desk.shell("sync", "run", "--approve", "all", "--json"))
    assert again["changes"] == []
    assert {entry.method for entry in sandbox.log.entries() if entry.vendor == "connectwise"} == {
        "GET"
    }

    undone = desk.shell("sync", "undo", run["run"], "--json")
    assert undone.code == 0
    assert states(document_of(undone)).keys() == {"held"}, "cancelling 20 additions is held"
    back = desk.shell("sync", "approve", document_of(undone)["run"], "--all", "--json")
    assert back.code == 0
    for change in document_of(back)["changes"]:
        assert change["state"] == "applied"


def test_check_says_one_line_a_right(desk: Installation) -> None:
    plain, machine = desk.shell("check"), desk.call("check", "--json")
    assert plain.code == machine.code == 0
    checks = machine.json["checks"]
    assert machine.json["ok"] is True
    assert {c["vendor"] for c in checks} == {"Sophos", "ConnectWise"}
    assert len(checks) == len(plain.out.strip().splitlines())
    for check in checks:
        assert check["ok"] is True
        assert check["name"] in plain.out
    failed = desk.call("check", "--json", CONNECTWISE_COMPANY_ID="nobody")
    assert (failed.code, failed.json["ok"]) == (1, False)


def test_a_person_is_made_from_a_prompt(desk: Installation) -> None:
    """Where there is no terminal, the password comes from standard input."""
    password = "correct horse battery\n"
    asked = desk.shell("users", "create", "Ben Müller", "--role", "viewer", input=password)
    assert asked.code == 0
    assert "horse" not in asked.out + asked.err
    assert [row[1:3] for row in desk.rows()["users"]] == [("Ben Müller", "viewer")]


def test_backup_and_restore_bring_everything_back(desk: Installation) -> None:
    desk.configured()
    before = desk.rows()
    backed = desk.shell("backup", desk.home / "all.backup", "--json")
    changed = desk.call("config", "import", desk.write("settings: {usage_ended: zero}\n"))
    assert changed.code == 0
    restored = desk.shell("restore", desk.home / "all.backup", "--json")
    assert backed.code == restored.code == 0
    assert backed.json == restored.json
    assert desk.restored() == before


def test_bad_usage_is_exit_code_2(desk: Installation) -> None:
    answer = desk.shell("sync", "plan", "--month", "2026-13")
    refused(answer, "'2026-13' is not a month", code=2)
    assert answer.out == ""
    for arguments, words in (
        (("sync", "run", "--approve", "some"), "'some' is not one of 'all', 'none'"),
        (("nonsense",), "No such command 'nonsense'"),
        (("sync", "plan", "--force"), "No such option.*--force"),
        (("backup",), "Missing argument 'FILE'"),
    ):
        refused(desk.call(*arguments), words, code=2)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("READ_ONLY", "maybe", "TALLYBRIDGE_READ_ONLY: it is not true or false"),
        ("DATA_DIR", "/dev/null/data", "TALLYBRIDGE_DATA_DIR: .* cannot be made"),
        ("DATABASE_URL", "postgresql+psycopg2://host/db", "TALLYBRIDGE_DATABASE_URL: only"),
        ("SOPHOS_ID_URL", "nonsense", "TALLYBRIDGE_SOPHOS_ID_URL: it is not an address"),
    ],
)
def test_a_broken_environment_stops_the_start_with_one_line(
    desk: Installation, name: str, value: str, words: str
) -> None:
    changed = Installation(desk.home, {**desk.env, f"TALLYBRIDGE_{name}": value})
    answer = changed.shell("sync", "run")
    assert (answer.code, answer.out) == (2, "")
    assert len(answer.err.strip().splitlines()) == 1, answer.err
    refused(answer, words, code=2)


def test_the_sandbox_serves_both_vendors_until_told_to_stop(tmp_path: Path) -> None:
    """Its environment lines are all that `check` needs."""
    env = {"PATH": os.environ["PATH"], "TALLYBRIDGE_DATA_DIR": str(tmp_path / "data")}
    file = tmp_path / "sandbox.env"
    with subprocess.Popen(
        [*FLASK, "sandbox", "--tenants", "3", "--env-file", str(file), "--max-lifetime", "60"],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], 30)
            assert ready, "the sandbox did not start"
            assert process.stdout.readline().startswith("Sophos      http://127.0.0.1:")
            lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
            state = requests.get(
                lines["TALLYBRIDGE_CONNECTWISE_SITE"] + "/_sandbox/state?part=tenants", timeout=10
            )
            assert len(state.json()["tenants"]) == 3
            desk = Installation(tmp_path, {**env, **lines})
            assert desk.call("check").code == 0
        finally:
            process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + 20
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            process.kill()
    assert process.returncode == 0


def test_without_any_environment_it_says_what_is_missing(tmp_path: Path) -> None:
    desk = Installation(tmp_path, {"TALLYBRIDGE_DATA_DIR": str(tmp_path / "data")})
    refused(
        desk.shell("sync", "run"), "TALLYBRIDGE_SOPHOS_CLIENT_ID is not set. Nothing was changed"
    )


def test_json_failures_are_one_document_too(desk: Installation) -> None:
    answer = desk.call("sync", "undo", "7", "--json")
    assert answer.code == 1
    assert json.loads(answer.out) == {"error": answer.last.removeprefix("Error: ")}
