"""`sync plan`, `run`, `approve` and `undo` with every option, in this process."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox import Fault, Sandbox
from tests.cli.installation import RUNS, Answer, Installation, refused
from tests.databases import make_engine
from tests.purging import remove_details

CODE = "CIXAXDR"
SEATS = 60


@pytest.fixture
def ready(desk: Installation, sandbox: Sandbox) -> Installation:
    """Everything is mapped, what people made by hand is adopted; one customer has 60 seats."""
    desk.configured()
    use(sandbox, seats_of(desk), SEATS)
    answer = desk.call("sync", "run", "--approve", "all", "--json")
    assert answer.code == 0
    assert {change["state"] for change in answer.json["changes"]} == {"applied"}
    return desk


def seats_of(desk: Installation) -> str:
    """The customer with the 60 seats."""
    tenant: str = desk.sample()["tenants"][1]["id"]
    return tenant


def use(sandbox: Sandbox, tenant: str, quantity: int) -> None:
    month = sandbox.state()["ready"][-1]
    usage = {"month": month, "tenant": tenant, "product": CODE, "quantity": quantity}
    sandbox.edit({"action": "set_usage", **usage})


def only(answer: Answer) -> dict[str, Any]:
    changes: list[dict[str, Any]] = answer.json["changes"]
    assert len(changes) == 1, changes
    return changes[0]


# --- plan and run -------------------------------------------------------------------------------


def test_a_plan_writes_nothing_and_says_what_a_run_then_does(desk: Installation) -> None:
    desk.configured()
    with desk.unchanged(*RUNS):
        planned = desk.call("sync", "plan", "--json").json
    run = desk.call("sync", "run", "--json").json
    ignored = ("id", "state", "addition_id")
    assert [
        {k: v for k, v in change.items() if k not in ignored} for change in planned["changes"]
    ] == [{k: v for k, v in change.items() if k not in ignored} for change in run["changes"]]
    assert planned["month"] == run["month"]
    assert planned["findings"] == run["findings"]
    assert planned["calls"]["connectwise"] > 0


def test_without_approval_what_is_held_waits_and_is_no_failure(desk: Installation) -> None:
    desk.configured()
    answer = desk.call("sync", "run", "--approve", "none", "--json")
    held = [change for change in answer.json["changes"] if change["held"]]
    assert answer.code == 0
    assert held
    for change in held:
        assert change["kind"] == "adopt"
        assert "approve once" in change["reason"]


def test_a_second_run_writes_nothing(ready: Installation, sandbox: Sandbox) -> None:
    sandbox.log.clear()
    with ready.unchanged(*RUNS):
        answer = ready.call("sync", "run", "--json")
    assert answer.json["changes"] == []
    assert not [e for e in sandbox.log.entries() if e.vendor == "connectwise" and e.method != "GET"]


def test_every_month_that_cannot_be_is_bad_usage(module_desk: Installation) -> None:
    for month in ("2026-13", "2026-00", "26-10", "2026-1", "2026/10", "October", "", "2026-10-01"):
        for command in ("plan", "run"):
            with module_desk.unchanged():
                answer = module_desk.call("sync", command, "--month", month)
            refused(answer, "is not a month: write it as YYYY-MM, for example", code=2)


def test_the_year_nought_is_bad_usage(module_desk: Installation) -> None:
    answer = module_desk.call("sync", "plan", "--month", "0000-01")
    refused(answer, "is not a month", code=2)


@pytest.mark.parametrize(
    ("month", "advice"),
    [("2019-01", "choose another month."), ("2199-12", "run again later.")],
)
def test_a_month_without_a_report_is_not_ready(
    module_desk: Installation, month: str, advice: str
) -> None:
    with module_desk.unchanged("sync_runs"):
        answer = module_desk.call("sync", "run", "--month", month, "--json")
    assert answer.code == 1
    assert answer.json["state"] == "not_ready"
    assert answer.json["month"] == month
    assert answer.last == answer.json["message"]
    assert f"no billing report for {month}" in answer.last
    assert answer.last.endswith(f"Nothing was written; {advice}")


def test_an_older_month_can_be_planned(ready: Installation, sandbox: Sandbox) -> None:
    older = sandbox.state()["ready"][-2]
    answer = ready.call("sync", "plan", "--month", older, "--json")
    assert answer.code == 0
    assert answer.json["month"] == older


@pytest.mark.parametrize("command", ["run", "approve", "undo"])
def test_read_only_writes_nothing_at_all(desk: Installation, command: str) -> None:
    desk.configured()
    run = desk.call("sync", "run", "--json").json
    arguments = {"run": (), "approve": (run["run"], "--all"), "undo": (run["run"],)}[command]
    with desk.unchanged(*RUNS):
        answer = desk.call("sync", command, *arguments, "--json", READ_ONLY="true")
    if command == "approve":
        refused(answer, "Read-only is switched on. Nothing was written; switch it off.$")
        return
    assert answer.code == 0
    assert answer.json["state"] == "planned"
    assert answer.last == "Read-only is switched on: the plan was made, nothing was written."


def test_a_big_decrease_is_held_with_both_numbers(ready: Installation, sandbox: Sandbox) -> None:
    use(sandbox, seats_of(ready), 2)
    change = only(ready.call("sync", "run", "--json"))
    assert (change["kind"], change["state"]) == ("update", "held")
    assert (change["before"], change["after"]) == (SEATS, 2)


def test_a_refused_change_is_exit_code_1_and_the_others_are_done(
    desk: Installation, sandbox: Sandbox
) -> None:
    desk.configured()
    sandbox.faults.add(Fault("error_500", "connectwise", method="POST", path="additions", times=3))
    answer = desk.call("sync", "run", "--json")
    found = {change["state"] for change in answer.json["changes"]}
    assert answer.code == 1
    assert answer.json["state"] == "failed"
    assert found == {"failed", "applied", "held"}
    for change in answer.json["changes"]:
        assert bool(change["error"]) is (change["state"] == "failed")
    again = desk.call("sync", "run", "--json")
    assert again.code == 0
    assert {change["state"] for change in again.json["changes"]} <= {"applied", "held"}
    places = [
        (number, row["product"]["id"])
        for number, rows in sandbox.state()["additions"].items()
        for row in rows
        if row["_info"]["updatedBy"] != "jdoe"  # not one of those made by hand
    ]
    assert len(places) == len(set(places)), "nothing is billed twice"


# --- approve ------------------------------------------------------------------------------------


def test_approve_needs_to_know_what(ready: Installation) -> None:
    for arguments in ((), ("--all", "--change", "1")):
        with ready.unchanged():
            refused(
                ready.call("sync", "approve", "1", *arguments),
                "Name changes with --change ID, or take all with --all",
                code=2,
            )
    refused(ready.call("sync", "approve", "one", "--all"), "'one' is not a valid integer", code=2)
    refused(ready.call("sync", "approve"), "Missing argument 'RUN'", code=2)


def test_what_cannot_be_approved_is_said(ready: Installation) -> None:
    for arguments, words in (
        (("99", "--all"), "There is no run 99. Nothing was changed."),
        (("1", "--all"), "Run 1 has no change that waits for approval. Nothing was changed."),
        (("1", "--change", "7777"), "Run 1 has no change 7777 that waits for approval. Nothing"),
        (("1", "--change", "1", "--change", "8888"), "Run 1 has no change 1, 8888 that waits"),
    ):
        with ready.unchanged():
            refused(ready.call("sync", "approve", *arguments), words)
        with ready.unchanged():
            answer = ready.call("sync", "approve", *arguments, "--json")
        assert answer.json == {"error": answer.last.removeprefix("Error: ")}


def test_several_changes_are_approved_by_id(desk: Installation) -> None:
    desk.configured()
    run = desk.call("sync", "run", "--json").json
    held = [change["id"] for change in run["changes"] if change["held"]]
    options = [part for number in held[:2] for part in ("--change", str(number))]
    answer = desk.call("sync", "approve", run["run"], *options, "--json")
    assert answer.code == 0
    assert answer.json["run"] == run["run"]
    after = {change["id"]: change["state"] for change in answer.json["changes"]}
    assert [after[number] for number in held[:2]] == ["applied", "applied"]
    assert {after[number] for number in held[2:]} <= {"held"}


def test_a_preview_can_be_applied_as_it_was_reviewed(desk: Installation) -> None:
    desk.configured()
    plan = desk.call("sync", "plan", "--json").json
    answer = desk.call("sync", "approve", plan["run"], "--all", "--json")
    assert answer.code == 0
    assert {change["state"] for change in answer.json["changes"]} == {"applied"}
    assert desk.call("sync", "run", "--json").json["changes"] == []


def test_what_was_edited_since_the_review_is_left_alone(
    desk: Installation, sandbox: Sandbox
) -> None:
    desk.configured()
    run = desk.call("sync", "run", "--json").json
    change = next(c for c in run["changes"] if c["held"])
    sandbox.edit({"action": "addition", "id": change["addition_id"], "quantity": 777.0})
    answer = desk.call("sync", "approve", run["run"], "--change", change["id"], "--json")
    row = next(c for c in answer.json["changes"] if c["id"] == change["id"])
    assert row["state"] == "skipped"
    assert "777" in row["error"]
    assert "Nothing was written" in row["error"]


# --- undo ---------------------------------------------------------------------------------------


def test_undo_puts_the_numbers_back(ready: Installation, sandbox: Sandbox) -> None:
    use(sandbox, seats_of(ready), SEATS + 3)
    changed = only(ready.call("sync", "run", "--json"))
    assert changed["after"] == SEATS + 3
    answer = ready.call("sync", "undo", "2", "--json")
    assert answer.code == 0
    assert (only(answer)["before"], only(answer)["after"]) == (SEATS + 3, SEATS)
    assert only(answer)["state"] == "applied"
    rows = [r for rows in sandbox.state()["additions"].values() for r in rows]
    assert {r["id"]: r["quantity"] for r in rows}[changed["addition_id"]] == SEATS


def test_undo_of_what_is_not_there(ready: Installation) -> None:
    with ready.unchanged():
        refused(ready.call("sync", "undo", "99"), "There is no run 99. Nothing was changed.")
    with ready.unchanged():
        refused(ready.call("sync", "undo", "-1"), "No such option", code=2)


def test_undo_of_what_is_not_kept_any_more_is_refused(ready: Installation) -> None:
    engine = make_engine(ready.url)
    remove_details(engine, 1)
    engine.dispose()
    with ready.unchanged():
        refused(ready.call("sync", "undo", "1"), "its changes were removed as the retention")
    with ready.unchanged():
        answer = ready.call("sync", "undo", "1", "--json")
    assert answer.code == 1
    assert "Nothing was changed." in answer.json["error"]


def test_undo_of_a_run_that_wrote_nothing_is_refused(ready: Installation) -> None:
    assert ready.call("sync", "plan").code == 0
    with ready.unchanged():
        refused(ready.call("sync", "undo", "2"), "Run 2 wrote nothing, so there is nothing to undo")


def test_undo_says_what_it_cannot_undo(ready: Installation, sandbox: Sandbox) -> None:
    use(sandbox, seats_of(ready), SEATS + 1)
    changed = only(ready.call("sync", "run", "--json"))
    sandbox.edit({"action": "addition", "id": changed["addition_id"], "quantity": 1.0})
    answer = ready.call("sync", "undo", "2", "--json")
    assert answer.code == 0
    assert answer.json["changes"] == []
    assert [f["kind"] for f in answer.json["findings"]] == ["left_alone"]
    assert "it says 1 now" in answer.json["findings"][0]["message"]


# --- one at a time ------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("plan",), ("run",), ("approve", "1", "--all"), ("undo", "1")])
def test_only_one_run_at_a_time(ready: Installation, command: tuple[str, ...]) -> None:
    import sqlalchemy as sa

    from services.database import exclusive

    engine = sa.create_engine(ready.url)
    with exclusive(engine, "sync"), ready.unchanged():
        answer = ready.call("sync", *command)
    engine.dispose()
    refused(answer, "running already, .* Nothing was changed; wait for it to end and try again")


def test_the_table_for_people_says_the_same(desk: Installation) -> None:
    desk.configured()
    answer = desk.call("sync", "run")
    assert answer.code == 0
    assert answer.err == ""
    for words in ("Run 1, ", "adopt", "create", "held", "applied", "approve once", "calls: Sophos"):
        assert words in answer.out
