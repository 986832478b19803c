"""The JSON API: runs and plans listed, begun, approved and taken back; findings and status."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from sandbox import Fault, Sandbox
from services.monitoring.findings import open_findings
from services.runs.documents import load_run, run_document
from tests.purging import remove_details
from tests.web.api_client import PREFIX, Api, api_of, token_of
from tests.web.client import Client
from tests.web.test_sync_runs import change, count_runs, held, run, wait
from tests.web.world import NOW, installation_of

Make = Callable[..., Flask]


@pytest.fixture(autouse=True)
def _runs_end(app: Flask, sandbox: Sandbox) -> Iterator[None]:
    sandbox.log.clear()
    yield
    wait(app)


def begun(response: Any) -> int:
    """The run that an answer tells of, by its address and its document."""
    assert response.status_code == 202, response.text
    number: int = response.json["run"]
    assert response.headers["Location"] == f"{PREFIX}/runs/{number}"
    return number


def add_runs(app: Flask, count: int) -> None:
    with installation_of(app).session() as session, session.begin():
        for _ in range(count):
            session.add(
                models.SyncRun(
                    month="2026-09", trigger="t", actor="a", state=RunState.FAILED,
                    started_at=NOW, ended_at=NOW,
                )
            )  # fmt: skip


# --- looking ------------------------------------------------------------------------------------


def test_a_run_is_the_document_of_the_command_line(reader: Api, database: Session) -> None:
    given = reader.get("/runs/1")
    assert given == json.loads(json.dumps(run_document(load_run(database, 1))))
    assert list(given)[:3] == ["run", "month", "state"], "in the order of the command line"
    assert {c["state"] for c in given["changes"]} == {"applied", "held"}
    assert any(c["explanation"] for c in given["changes"])
    assert all(isinstance(c["after"], int | float) for c in given["changes"])


def test_runs_are_listed_in_pages(app: Flask, reader: Api) -> None:
    add_runs(app, 6)
    first = reader.get("/runs", size=3)
    assert [line["run"] for line in first["items"]] == [7, 6, 5]
    assert (first["page"], first["size"], first["pages"], first["total"]) == (1, 3, 3, 7)
    assert [line["run"] for line in reader.get("/runs", size=3, page=3)["items"]] == [1]
    beyond = reader.get("/runs", size=3, page=4)
    assert (beyond["items"], beyond["page"], beyond["pages"]) == ([], 4, 3)


def test_the_counts_of_a_run_in_the_list(reader: Api, database: Session) -> None:
    (line,) = reader.get("/runs")["items"]
    assert line["changes"]["held"] == len(held(database)) > 0
    assert line["changes"]["applied"] > 0
    assert (line["state"], line["undo_of"], line["findings"] > 0) == ("succeeded", None, True)
    assert line["started_at"] == "2026-11-26T12:00:00Z"


def test_runs_are_filtered_by_state_and_month(app: Flask, reader: Api) -> None:
    add_runs(app, 2)
    assert reader.get("/runs", state="failed")["total"] == 2
    assert reader.get("/runs", state="failed", month="2026-11")["total"] == 0
    assert reader.get("/runs", month="2026-11")["total"] == 1
    assert reader.get("/plans")["items"] == []
    assert reader.get("/runs", state="interrupted") == {
        "items": [], "page": 1, "size": 25, "pages": 1, "total": 0
    }  # fmt: skip


@pytest.mark.parametrize("number", [0, 2, 2**31 - 1, 2**31, 10**30])
def test_there_is_no_such_run(caller: Api, number: int) -> None:
    said = f"There is no run {number}." if number < 2**31 else "There is nothing at this address."
    for response in (
        caller("GET", f"/runs/{number}"),
        caller.post(f"/runs/{number}/approve", {"all": True}),
        caller.post(f"/runs/{number}/undo"),
    ):
        assert response.status_code == 404
        assert response.json["detail"] == f"{said} Nothing was changed."


def test_findings_are_those_of_the_page(reader: Api, database: Session) -> None:
    given, found = reader.get("/findings"), open_findings(database)
    assert given["open"] == found.open > 0
    assert given["run"] == 1
    told = [each.message for group in found.groups for each in group.findings]
    assert [each["message"] for each in given["findings"]] == told
    assert all(each["advice"] for each in given["findings"])


def test_status_at_a_glance(reader: Api, sandbox: Sandbox) -> None:
    given = reader.get("/status")
    assert [each["vendor"] for each in given["connections"]] == ["Sophos", "ConnectWise"]
    assert all(each["healthy"] for each in given["connections"])
    assert given["last_run"]["run"] == 1
    assert (given["running"], given["read_only"]) == (None, False)
    assert given["open_findings"] == reader.get("/findings")["open"]
    assert not sandbox.log.entries(), "nobody was called"


def test_an_empty_installation_has_answers_too(make: Make) -> None:
    app = make(full=False, vendors=False)
    call = api_of(app, token_of(app, "viewer", "read"))
    assert call.get("/status")["last_run"] is None
    assert not call.get("/status")["connections"][0]["configured"]
    assert call.get("/findings") == {"run": None, "open": 0, "findings": []}
    assert call.get("/runs")["total"] == 0
    assert call.get("/mappings") == {"products": [], "tenants": []}
    assert call.get("/mappings/tenants")["items"] == []


def test_a_run_that_died_is_told(app: Flask, reader: Api) -> None:
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.SyncRun, 1).state = RunState.RUNNING
    assert reader.get("/runs/1")["state"] == "interrupted"


# --- beginning ----------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_is_listed(app: Flask, caller: Api, sandbox: Sandbox) -> None:
    number = begun(caller.post("/runs", {"kind": "plan"}))
    wait(app)
    assert not sandbox.log.writes()
    assert caller.get(f"/runs/{number}")["state"] == "planned"
    (line,) = caller.get("/plans")["items"]
    assert (line["run"], line["trigger"]) == (number, "preview")
    assert line["actor"] == "operator (API token sync 90)"


def test_a_run_writes_what_is_not_held(app: Flask, caller: Api) -> None:
    number = begun(caller.post("/runs", {"kind": "run", "month": "2026-10"}))
    wait(app)
    given = caller.get(f"/runs/{number}")
    assert given["month"] == "2026-10"
    assert run(app, number).trigger == "API"


def test_the_same_key_is_one_run(app: Flask, caller: Api, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.3))
    body = {"kind": "run", "month": None}
    first = begun(caller.post("/runs", body, Idempotency_Key="november"))
    assert begun(caller.post("/runs", body, Idempotency_Key="november")) == first
    wait(app)
    assert begun(caller.post("/runs", body, Idempotency_Key="november")) == first, "later too"
    assert count_runs(app) == 2
    again = begun(caller.post("/runs", body, Idempotency_Key="december"))
    assert again != first


def test_a_key_is_a_token_s_own(app: Flask, caller: Api) -> None:
    first = begun(caller.post("/runs", {"kind": "plan"}, Idempotency_Key="1"))
    wait(app)
    other = api_of(app, token_of(app, "admin"))
    assert begun(other.post("/runs", {"kind": "plan"}, Idempotency_Key="1")) != first


def test_a_key_is_not_inherited_with_the_number_of_a_token(app: Flask, caller: Api) -> None:
    """SQLite gives the highest number anew once its row is gone."""
    first = begun(caller.post("/runs", {"kind": "plan"}, Idempotency_Key="1"))
    wait(app)
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.ApiToken))
    other = api_of(app, token_of(app, "admin"))
    assert begun(other.post("/runs", {"kind": "plan"}, Idempotency_Key="1")) != first


def test_a_key_with_another_request_is_refused(app: Flask, caller: Api) -> None:
    begun(caller.post("/runs", {"kind": "plan"}, Idempotency_Key="1"))
    wait(app)
    for path, body in (("/runs", {"kind": "run"}), ("/runs/1/undo", None)):
        response = caller.post(path, body, Idempotency_Key="1")
        assert response.status_code == 422
        (error,) = response.json["errors"]
        assert error["parameter"] == "Idempotency-Key"
        assert "another request before" in error["detail"]
    assert count_runs(app) == 2


def test_a_refusal_does_not_use_up_the_key(app: Flask, caller: Api, sandbox: Sandbox) -> None:
    """A program that tries again with its key must come through once the way is free."""
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.5))
    begun(caller.post("/runs", {"kind": "plan"}))
    refused = caller.post("/runs", {"kind": "run"}, Idempotency_Key="mine")
    assert refused.status_code == 409
    assert "running already" in refused.json["detail"]
    wait(app)
    assert begun(caller.post("/runs", {"kind": "run"}, Idempotency_Key="mine")) == 3


@pytest.mark.parametrize("key", ["", "x" * 101, "with space", "umlaut-ü"])
def test_a_key_that_is_none_begins_nothing(app: Flask, caller: Api, key: str) -> None:
    response = caller.post("/runs", {"kind": "plan"}, Idempotency_Key=key)
    assert response.status_code == 422
    assert "visible ASCII" in response.json["errors"][0]["detail"]
    assert count_runs(app) == 1


def test_without_vendors_nothing_begins(make: Make) -> None:
    app = make(full=False, vendors=False)
    response = api_of(app, token_of(app, "operator")).post("/runs", {"kind": "plan"})
    assert response.status_code == 409
    assert "is not set" in response.json["detail"]
    assert "Nothing was changed" in response.json["detail"]


# --- approving and taking back ------------------------------------------------------------------


def test_chosen_changes_are_approved(
    app: Flask, caller: Api, database: Session, sandbox: Sandbox
) -> None:
    chosen, other = [c.id for c in held(database) if c.before != c.after][:2]
    assert begun(caller.post("/runs/1/approve", {"changes": [chosen]})) == 1
    wait(app)
    assert change(app, chosen).state is ChangeState.APPLIED
    assert change(app, chosen).approved_by == "operator (API token sync 90)"
    assert change(app, other).state is ChangeState.HELD
    assert len(sandbox.log.writes()) == 1


def test_all_are_approved(app: Flask, caller: Api) -> None:
    begun(caller.post("/runs/1/approve", {"all": True}))
    wait(app)
    assert not [c for c in caller.get("/runs/1")["changes"] if c["held"]]
    again = caller.post("/runs/1/approve", {"all": True})
    assert again.status_code == 409
    assert "waits for approval" in again.json["detail"]


def test_what_is_not_held_is_not_approved(
    app: Flask, caller: Api, database: Session, sandbox: Sandbox
) -> None:
    good = held(database)[0].id
    response = caller.post("/runs/1/approve", {"changes": [good, 999_999]})
    assert response.status_code == 409
    assert "no change 999999 that waits" in response.json["detail"]
    assert change(app, good).state is ChangeState.HELD
    assert not sandbox.log.writes()


def test_read_only_writes_nothing(make: Make, sandbox: Sandbox) -> None:
    app = make(READ_ONLY="true")
    call = api_of(app, token_of(app, "operator"))
    assert call.get("/status")["read_only"] is True
    sandbox.log.clear()
    response = call.post("/runs/1/approve", {"all": True})
    assert response.status_code == 409
    assert "Read-only is switched on" in response.json["detail"]
    number = begun(call.post("/runs", {"kind": "run"}))
    wait(app)
    assert call.get(f"/runs/{number}")["state"] == "planned"
    assert not sandbox.log.writes()


def test_undo_plans_the_way_back(app: Flask, caller: Api, sandbox: Sandbox) -> None:
    number = begun(caller.post("/runs/1/undo"))
    wait(app)
    given = caller.get(f"/runs/{number}")
    assert given["state"] == "planned"
    assert given["changes"]
    assert caller.get("/plans")["items"][0]["undo_of"] == 1
    assert not sandbox.log.writes(), "a person or program approves it first"
    assert begun(caller("POST", "/runs/1/undo", json={})) == number + 1, "an empty object is none"


def test_undo_of_what_is_not_kept_any_more_is_a_problem(app: Flask, caller: Api) -> None:
    remove_details(installation_of(app).engine, 1)
    before = count_runs(app)
    response = caller.post("/runs/1/undo")
    assert response.status_code == 409
    assert response.mimetype == "application/problem+json"
    assert "its changes were removed as the retention settings say" in response.json["detail"]
    assert count_runs(app) == before


def test_undo_takes_no_body(caller: Api) -> None:
    response = caller.post("/runs/1/undo", {"apply": True})
    assert response.status_code == 400
    assert "takes no body" in response.json["detail"]


# --- what is wrong with a request ---------------------------------------------------------------

WRONG_BODIES: dict[str, tuple[str, Any, str, str]] = {
    "nothing": ("/runs", {}, "#/kind", "it is missing"),
    "a list": ("/runs", [], "#", "names"),
    "a text": ("/runs", "plan", "#", "names"),
    "null": ("/runs", None, "#", "names"),
    "another kind": ("/runs", {"kind": "both"}, "#/kind", "'plan' or 'run'"),
    "an unknown name": ("/runs", {"kind": "plan", "dry": 1}, "#/dry", "unknown name"),
    "a name like a path": ("/runs", {"kind": "plan", "a/b~c": 1}, "#/a~1b~0c", "unknown name"),
    "a month that is none": ("/runs", {"kind": "plan", "month": "2026-13"}, "#/month", "written"),
    "month zero": ("/runs", {"kind": "plan", "month": "0000-01"}, "#/month", "written"),
    "digits of another script": (
        "/runs", {"kind": "plan", "month": "٢٠٢٦-01"}, "#/month", "written",
    ),
    "a month as a number": ("/runs", {"kind": "plan", "month": 202610}, "#/month", "text"),
    "neither": ("/runs/1/approve", {}, "#", "write either changes"),
    "both": ("/runs/1/approve", {"changes": [1], "all": True}, "#", "write either changes"),
    "both, one null": ("/runs/1/approve", {"changes": None, "all": True}, "#", "write either"),
    "all: false": ("/runs/1/approve", {"all": False}, "#/all", "write true"),
    "no change": ("/runs/1/approve", {"changes": []}, "#/changes", "1 or more"),
    "a change as text": ("/runs/1/approve", {"changes": [1, "2"]}, "#/changes/1", "whole number"),
    "true for a change": ("/runs/1/approve", {"changes": [True]}, "#/changes/0", "whole number"),
    "half a change": ("/runs/1/approve", {"changes": [1.5]}, "#/changes/0", "whole number"),
    "a change beyond all": ("/runs/1/approve", {"changes": [2**31]}, "#/changes/0", "or less"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_a_wrong_body_begins_nothing_and_says_where(app: Flask, caller: Api, name: str) -> None:
    path, body, pointer, words = WRONG_BODIES[name]
    response = caller("POST", path, data=json.dumps(body), content_type="application/json")
    assert response.status_code == 422
    assert response.json["detail"].startswith("Nothing was changed.")
    (error,) = response.json["errors"]
    assert (error["pointer"], error["parameter"]) == (pointer, None)
    assert words in error["detail"]
    assert count_runs(app) == 1
    assert run(app, 1).state is RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Expecting value in line 1"),
        (b"{", "in line 1, column 2"),
        (b"{'kind': 'plan'}", "double quotes"),
        (b'{"kind": "plan"} x', "Extra data"),
        (b'{"kind": "plan", "kind": "run"}', "a name stands twice"),
        (b'{"kind": "plan", "month": NaN}', "NaN is no number"),
        (b'{"kind": "pl\xe4n"}', "not UTF-8"),
        ('{"kind": "plan"}'.encode("utf-16"), "not UTF-8"),
        (b'{"kind": "plan\\u0000"}', "NUL"),
        (b'{"kind": "\\ud800"}', "not UTF-8"),
        (b"[" * 50_000, "nested too deeply"),
        (b"9" * 5_000, "too long"),
    ],
)
def test_what_is_no_json_is_not_understood(
    app: Flask, caller: Api, body: bytes, words: str
) -> None:
    response = caller("POST", "/runs", data=body, content_type="application/json")
    assert response.status_code == 400
    assert words in response.json["detail"]
    assert response.json["detail"].endswith("Nothing was changed.")
    assert count_runs(app) == 1


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "text/json"]
)
def test_only_json_is_taken(caller: Api, content_type: str) -> None:
    """What a form of another site could send is not even read."""
    response = caller("POST", "/runs", data=b'{"kind": "plan"}', content_type=content_type)
    assert response.status_code == 415
    assert "application/json" in response.json["detail"]


def test_a_charset_may_stand_there(app: Flask, caller: Api) -> None:
    kind = "application/json; charset=utf-8"
    begun(caller("POST", "/runs", data=b'{"kind": "plan"}', content_type=kind))


def test_too_much_is_not_read(caller: Api) -> None:
    body = b'{"kind": "plan"' + b" " * 100_000 + b"}"
    response = caller("POST", "/runs", data=body, content_type="application/json")
    assert response.status_code == 413
    assert "send less" in response.json["detail"]


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        ("/runs", "page=0", "page"),
        ("/runs", "page=x", "page"),
        ("/runs", "page=", "page"),
        ("/runs", "page=99999999999999999999", "page"),
        ("/runs", "size=201", "size"),
        ("/runs", "state=done", "state"),
        ("/runs", "month=soon", "month"),
        ("/runs", "sort=up", "sort"),
        ("/runs", "page=1&page=2", "page"),
        ("/plans", "state=planned", "state"),
        ("/mappings/products", "month=2026-10", "month"),
        ("/status", "verbose=1", "verbose"),
        ("/runs/1", "fields=state", "fields"),
    ],
)
def test_a_wrong_parameter_is_named(reader: Api, path: str, query: str, parameter: str) -> None:
    response = reader("GET", path, query_string=query)
    assert response.status_code == 422
    (error,) = response.json["errors"]
    assert (error["pointer"], error["parameter"]) == (None, parameter)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/run", 404),
        ("GET", "/runs/", 404),
        ("GET", "/runs/x", 404),
        ("GET", "/runs/-1", 404),
        ("GET", "/runs/1/approve", 405),
        ("DELETE", "/runs/1", 405),
        ("PUT", "/mappings", 405),
        ("OPTIONS", "/runs", 405),
    ],
)
def test_an_address_that_is_none_is_told_in_json(
    caller: Api, method: str, path: str, status: int
) -> None:
    response = caller(method, path)
    assert response.status_code == status
    assert response.json["detail"].endswith("Nothing was changed.")
    assert ("Allow" in response.headers) is (status == 405)


def test_a_failure_tells_nothing_of_its_inside(
    reader: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("the secret is 1234")

    monkeypatch.setattr("services.formats.json_documents.status", explode)
    reader.client.expects_500 = True
    response = reader("GET", "/status")
    assert response.status_code == 500
    assert "1234" not in response.text
    assert "It is in the log" in response.json["detail"]


def test_other_sites_may_not_read_answers(reader: Api) -> None:
    response = reader("GET", "/status", headers={"Origin": "https://evil.example"})
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_head_has_the_headers_only(reader: Api) -> None:
    response = reader.client.head(
        f"{PREFIX}/runs/1", headers={"Authorization": f"Bearer {reader.token}"}
    )
    assert (response.status_code, response.data) == (200, b"")
    assert reader.client.head(f"{PREFIX}/runs/1").status_code == 401


def test_the_audit_names_person_and_token(
    app: Flask, caller: Api, database: Session, viewer: Client
) -> None:
    chosen = held(database)[0].id
    begun(caller.post("/runs/1/approve", {"changes": [chosen]}))
    wait(app)
    with installation_of(app).reading() as session:
        query = sa.select(models.AuditEvent).where(models.AuditEvent.action == "change.approve")
        (event,) = session.scalars(query.where(models.AuditEvent.subject == f"change {chosen}"))
    assert event.actor == "operator (API token sync 90)"
    assert "API token sync 90" in viewer.page("/audit").text
