"""Every request has an id that a person can tell, and one line in the log."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.web.client import Client, page_of
from tests.web.world import installation_of

Make = Callable[..., Flask]


def lines(app: Flask, logger: str = "tallybridge.access") -> list[dict[str, Any]]:
    file = installation_of(app).config.data_dir / "tallybridge.log"
    found = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in found if line["logger"] == logger]


def test_every_request_has_its_line(app: Flask, viewer: Client) -> None:
    answer = viewer.get("/runs?q=what+somebody+typed")
    line = lines(app)[-1]
    assert line["request"] == answer.headers["X-Request-Id"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/runs", 200)
    assert (line["user"], line["level"]) == ("viewer", "info")
    assert line["ms"] >= 0
    assert "typed" not in json.dumps(line)


def test_who_is_not_signed_in_has_no_name(app: Flask, anonymous: Client) -> None:
    anonymous.get("/sign-in")
    assert lines(app)[-1]["user"] is None


def test_what_is_asked_all_the_time_is_only_logged_when_it_fails(
    app: Flask, anonymous: Client
) -> None:
    for path in ("/healthz", "/static/app.css", "/icons.svg"):
        anonymous.get(path).close()
    assert lines(app) == []
    anonymous.get("/static/no-such-file")
    assert [line["status"] for line in lines(app)] == [404]


def test_a_container_that_asks_itself_is_not_logged(make: Make) -> None:
    app = make(TRUSTED_HOSTS="billing.example")
    assert app.test_client().get("/healthz", base_url="http://127.0.0.1").status_code == 200
    assert lines(app) == []


def test_each_request_has_another_id(anonymous: Client) -> None:
    ids = {anonymous.get("/sign-in").headers["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", each) for each in ids)


@pytest.mark.parametrize(
    ("hops", "given", "kept"),
    [
        ("1", "abc-12345.x_Y", True),
        ("0", "abc-12345.x_Y", False),
        ("1", "short", False),
        ("1", "x" * 65, False),
        ("1", "a b c d e f g", False),
        ("1", '12345678"}', False),
        ("1", "<script>alert</script>", False),
    ],
)
def test_an_id_is_only_taken_from_a_proxy_and_only_if_it_is_plain(
    make: Make, hops: str, given: str, kept: bool
) -> None:
    client = make(PROXY_HOPS=hops).test_client()
    answer = client.get("/sign-in", headers={"X-Request-Id": given})
    assert (answer.headers["X-Request-Id"] == given) is kept


def explode() -> str:
    raise RuntimeError("inside")


explode.required_role = "public"  # type: ignore[attr-defined]


def test_an_error_page_names_the_id_under_which_the_log_has_it(
    app: Flask, anonymous: Client
) -> None:
    app.add_url_rule("/explode", "explode", explode)
    anonymous.expects_500 = True
    for htmx in (False, True):
        answer = anonymous.get("/explode", htmx=htmx)
        told = page_of(answer).all("code")[0].text
        assert told == answer.headers["X-Request-Id"]
        (line,) = [x for x in lines(app, "tallybridge.web") if x["request"] == told]
        assert "RuntimeError: inside" in line["exception"]
        assert lines(app)[-1]["level"] == "warning"


def test_a_refused_host_has_its_line_too(make: Make) -> None:
    app = make(TRUSTED_HOSTS="billing.example")
    app.test_client().get("/", base_url="http://evil.example")
    assert lines(app)[-1]["status"] == 400


def test_lines_of_a_run_carry_its_number(app: Flask, operator: Client) -> None:
    earlier = len(lines(app, "tallybridge.vendor"))
    answer = operator.fill("/runs", {"month": ""}, button="Preview")
    number = int(answer.location.rsplit("/", maxsplit=1)[-1])
    app.extensions["tallybridge_jobs"].join()
    calls = lines(app, "tallybridge.vendor")[earlier:]
    assert sum("/additions" in line["event"] for line in calls) > 10  # by threads of a pool
    assert {line.get("run") for line in calls} == {number}
