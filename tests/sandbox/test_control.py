"""The control endpoints, edits, the log, the environment and the command line."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import Sandbox
from tests.sandbox.callers import Caller, ConnectWise, Sophos, replacing

ROOT = Path(__file__).resolve().parents[2]
ADDITIONS = "/finance/agreements/201/additions"
ENV_NAMES = {
    "SOPHOS_CLIENT_ID", "SOPHOS_CLIENT_SECRET", "SOPHOS_ID_URL", "SOPHOS_API_URL",
    "CONNECTWISE_SITE", "CONNECTWISE_COMPANY_ID", "CONNECTWISE_PUBLIC_KEY",
    "CONNECTWISE_PRIVATE_KEY", "CONNECTWISE_CLIENT_ID", "ALLOWED_VENDOR_HOSTS",
}  # fmt: skip


@pytest.fixture(params=["sophos_url", "connectwise_url"])
def control(fresh: Sandbox, request: pytest.FixtureRequest) -> Iterator[Caller]:
    caller = Caller(f"{getattr(fresh, request.param)}/_sandbox")
    with caller.session:
        yield caller


# --- control endpoints ----------------------------------------------------------------


def test_faults_over_http(control: Caller, psa: ConnectWise) -> None:
    fault = {"kind": "error_503", "vendor": "connectwise", "path": "/catalog", "at": 2}
    assert control.post("/faults", fault).status_code == 200
    assert control.get("/faults").json()["pending"][0]["at"] == 2
    paths = ["/procurement/catalog"] * 2
    assert [psa.get(path).status_code for path in paths] == [200, 503]
    control.post("/faults", {"kind": "error_503", "vendor": "connectwise"})
    assert control.send("DELETE", "/faults").status_code == 200
    assert psa.get("/system/info").status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", {"kind": "nonsense", "vendor": "sophos"}),
        ("/faults", {"kind": "slow", "vendor": "sophos", "odd": 1}),
        ("/faults", {"kind": "slow", "vendor": "sophos", "path": "("}),
        ("/faults", []),
        ("/edit", {"action": "nonsense"}),
        ("/edit", {"action": "addition", "id": 1, "quantity": 5}),
        ("/edit", {"action": "month_ready", "month": "2031-01"}),
        ("/edit", {"action": "month_ready", "month": "x"}),
        ("/edit", {"action": "set_usage", "month": "2026-10"}),
        ("/options", {"latency_ms": "x"}),
        ("/options", {"odd": 1}),
    ],
)
def test_control_refuses_nonsense(control: Caller, path: str, body: Any) -> None:
    answer = control.post(path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_control_is_for_this_machine_only(control: Caller) -> None:
    answer = control.send("GET", "/state", headers={"Host": "example.com"})
    assert answer.status_code == 403
    assert control.get("/nothing").status_code == 404


def test_control_never_counts(control: Caller, fresh: Sandbox, psa: ConnectWise) -> None:
    control.post("/faults", {"kind": "error_500", "vendor": "connectwise"})
    control.post("/faults", {"kind": "error_500", "vendor": "sophos"})
    control.get("/state")
    assert len(fresh.log) == 0
    assert psa.get("/system/info").status_code == 500


def test_the_log_over_http(control: Caller, psa: ConnectWise) -> None:
    psa.get("/procurement/catalog", pageSize=1)
    entry = control.get("/log").json()["entries"][0]
    assert entry["path"].endswith("/procurement/catalog")
    assert entry["query"] == {"pageSize": "1"}
    assert (entry["vendor"], entry["status"], entry["effect"]) == ("connectwise", 200, False)
    control.send("DELETE", "/log")
    assert control.get("/log").json() == {"entries": []}


def test_the_state_over_http(control: Caller, psa: ConnectWise) -> None:
    number = psa.get(ADDITIONS).json()[0]["id"]
    psa.patch(f"{ADDITIONS}/{number}", replacing("quantity", 321))
    state = control.get("/state").json()
    assert set(state) == {
        "companies", "agreements", "additions", "catalog", "tenants", "usage", "ready",
    }  # fmt: skip
    row = next(row for row in state["additions"]["201"] if row["id"] == number)
    assert row["quantity"] == 321
    assert set(control.get("/state", part="additions,ready").json()) == {"additions", "ready"}


def test_latency_over_http(control: Caller, psa: ConnectWise) -> None:
    assert control.post("/options", {"latency_ms": 150}).json() == {"latency_ms": 150}
    begun = time.monotonic()
    psa.get("/system/info")
    assert time.monotonic() - begun > 0.14


def test_environment_and_sample_over_http(control: Caller, fresh: Sandbox) -> None:
    assert control.get("/env").json() == fresh.env()
    assert control.get("/config").json()["yaml"] == fresh.sample_config()


# --- edits ----------------------------------------------------------------------------


def test_a_person_edits_an_addition(fresh: Sandbox, psa: ConnectWise) -> None:
    number = psa.get(ADDITIONS).json()[0]["id"]
    path = f"{ADDITIONS}/{number}"
    before = psa.get(path, fields="_info").json()["_info"]
    ended = "2026-10-31T00:00:00Z"
    fresh.edit({"action": "addition", "id": number, "quantity": 7.0, "cancelledDate": ended})
    record = psa.get(path, fields="quantity,billedQuantity,cancelledDate,_info").json()
    assert (record["quantity"], record["billedQuantity"], record["cancelledDate"]) == (7, 7, ended)
    assert record["_info"]["updatedBy"] == "jdoe"
    assert record["_info"]["lastUpdated"] > before["lastUpdated"]
    fresh.edit({"action": "addition", "id": number, "cancelledDate": None})
    assert "cancelledDate" not in psa.get(path).json()
    fresh.edit({"action": "remove_addition", "id": number})
    assert psa.get(path).status_code == 404


def test_a_person_edits_other_records(fresh: Sandbox, psa: ConnectWise) -> None:
    fresh.edit({"action": "agreement", "id": 201, "agreementStatus": "Cancelled"})
    assert {row["agreementStatus"] for row in psa.get(ADDITIONS).json()} == {"Cancelled"}
    fresh.edit({"action": "catalog", "id": 1001, "identifier": "Renamed", "price": 9.0})
    assert psa.get("/procurement/catalog/1001").json()["calculatedPrice"] == 9
    fresh.edit({"action": "company", "id": 19300, "deletedFlag": True})
    assert psa.get("/company/companies/19300").json()["deletedFlag"] is True


def test_usage_is_edited(fresh: Sandbox, fresh_sophos: Sophos) -> None:
    tenant = fresh.sophos.tenants[0]["id"]

    def lines(product: str) -> list[int]:
        found = fresh_sophos.usage(accountId=tenant, pageSize=100).json()["items"]
        return [row["billableQuantity"] for row in found if row.get("productCode") == product]

    change = {"action": "set_usage", "month": "2026-10", "tenant": tenant, "product": "NDR-MSP"}
    fresh.edit({**change, "quantity": 17})
    assert lines("NDR-MSP") == [17]
    line = {**fresh.sophos.usage[2026, 10][0], "productCode": "NEW", "billableQuantity": 3}
    fresh.edit({"action": "add_usage_line", "month": "2026-10", "line": line})
    assert lines("NEW") == [3]
    removed = {"action": "remove_usage_lines", "month": "2026-10", "tenant": tenant}
    assert fresh.edit(removed) >= 2
    assert lines("NEW") == lines("NDR-MSP") == []
    fresh.edit({**change, "quantity": 0})
    assert lines("NDR-MSP") == []


def test_a_month_becomes_ready(fresh: Sandbox, fresh_sophos: Sophos) -> None:
    assert fresh_sophos.usage("2026/11").status_code == 404
    fresh.edit({"action": "month_ready", "month": "2026-11"})
    assert fresh_sophos.usage("2026/11").json()["items"]
    fresh.edit({"action": "month_ready", "month": "2026-11", "ready": False})
    assert fresh_sophos.usage("2026/11").status_code == 404


# --- the log and the environment ------------------------------------------------------------


def test_the_log_keeps_no_secrets(fresh: Sandbox, fresh_sophos: Sophos, psa: ConnectWise) -> None:
    psa.get("/system/info")
    fresh_sophos.usage()
    text = str(fresh.log.as_json())
    basic = str(fresh.log.entries("connectwise")[0].headers["authorization"])
    secrets = [
        fresh.sophos.client_secret,
        fresh.connectwise.private_key,
        fresh_sophos.session.headers["Authorization"],
    ]
    assert basic == "***"
    assert not [secret for secret in secrets if str(secret) in text]
    assert fresh.log.entries("sophos")[0].body["client_id"] == fresh.sophos.client_id


def test_the_log_tells_writes_and_effects_apart(fresh: Sandbox, psa: ConnectWise) -> None:
    row = psa.get(ADDITIONS).json()[0]
    path = f"{ADDITIONS}/{row['id']}"
    psa.patch(path, replacing("quantity", row["quantity"]))
    psa.patch(path, replacing("quantity", row["quantity"] + 1))
    psa.patch(path, replacing("quantity", -1))
    assert [entry.effect for entry in fresh.log.writes()] == [False, True, False]
    assert [entry.body[0]["value"] for entry in fresh.log.effects()] == [row["quantity"] + 1]
    assert len(fresh.log.entries("connectwise", "GET", "additions$")) == 1
    assert [entry.number for entry in fresh.log] == [1, 2, 3, 4]
    fresh.log.clear()
    assert len(fresh.log) == 0


def test_the_environment(fresh: Sandbox) -> None:
    env = fresh.env()
    assert set(env) == {f"TALLYBRIDGE_{name}" for name in ENV_NAMES}
    assert all(env.values())
    hosts = f"{fresh.sophos_url},{fresh.connectwise_url}"
    assert env["TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"] == hosts
    assert all(re.fullmatch(r"http://127\.0\.0\.1:\d+", url) for url in hosts.split(","))


def test_connections_are_kept_open(fresh: Sandbox) -> None:
    with requests.Session() as session:
        session.trust_env = False
        ports = set()
        for _ in range(3):
            answer = session.get(f"{fresh.sophos_url}/whoami/v1", stream=True, timeout=5)
            connection: Any = answer.raw.connection
            ports.add(connection.sock.getsockname())
            assert answer.headers["Content-Length"] == str(len(answer.content))
        assert len(ports) == 1


def test_many_at_once_lose_nothing(fresh: Sandbox) -> None:
    body = {"product": {"id": 1001}, "billCustomer": "Billable", "quantity": 1}

    def work() -> None:
        caller = ConnectWise(fresh)
        with caller.session:
            for _ in range(20):
                caller.post(ADDITIONS, body)

    before = len(fresh.connectwise.additions_of(201).rows)
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fresh.connectwise.additions_of(201).rows) == before + 100
    assert len(fresh.log.effects()) == 100


# --- the command line ---------------------------------------------------------------------


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--tenants", "2", "--catalog", "1", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_lines(process: subprocess.Popen[str], number: int) -> list[str]:
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(number)]


@pytest.mark.parametrize("ending", ["signal", "stdin"])
def test_the_command_serves_and_stops(tmp_path: Path, ending: str) -> None:
    env_file, config_file = tmp_path / "sandbox.env", tmp_path / "sandbox.yaml"
    process = command(
        "--env-file", str(env_file), "--config-file", str(config_file),
        "--stop-with-stdin", "--max-lifetime", "20",
    )  # fmt: skip
    with process:
        lines = first_lines(process, 12)
        url = lines[0].split()[1]
        assert requests.get(f"{url}/nowhere", timeout=5).status_code == 401
        assert env_file.read_text().splitlines() == lines[2:]
        assert env_file.stat().st_mode & 0o777 == 0o600
        assert "products:" in config_file.read_text()
        if ending == "signal":
            process.send_signal(signal.SIGTERM)
        elif process.stdin:
            process.stdin.close()
            process.stdin = None
        assert process.wait(timeout=5) == 0
        assert set(tmp_path.iterdir()) == {env_file, config_file}


def test_the_command_ends_by_itself() -> None:
    with command("--max-lifetime", "0.1") as process:
        assert process.wait(timeout=5) == 0


def test_the_command_says_when_a_port_is_taken(fresh: Sandbox) -> None:
    port = fresh.sophos_url.rpartition(":")[2]
    with command("--sophos-port", port) as process:
        assert process.stderr
        message = process.stderr.read()
        assert process.wait(timeout=5) == 1
    assert message.startswith("The sandbox cannot start")
    assert "Traceback" not in message
