"""Whatever is sent, the API says what is wrong with it: never a 500, and nothing begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from services.runs.sync_runs import RunRefusedError
from tests.web.api_client import Api
from tests.web.world import installation_of

FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

names = st.sampled_from(
    ["kind", "month", "changes", "all", "products", "tenants", "code", "id", "sync", "agreement",
     "agreements", "company", "catalog_item", "name", "settings", "__class__", ""]
)  # fmt: skip
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["plan", "run", "2026-10", "CIXA-MSP", "\ud800", "\x00", "9" * 400])
)
values = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("code", "id", "sync", "agreement", "company"), plain | values)
)
bodies = st.one_of(
    values,
    st.fixed_dictionaries({"kind": plain}, optional={"month": plain, "extra": plain}),
    st.fixed_dictionaries({}, optional={"changes": st.lists(plain) | plain, "all": plain}),
    st.fixed_dictionaries(
        {}, optional={"products": st.lists(entries), "tenants": st.lists(entries)}
    ),
)
WRITES = [
    ("POST", "/runs"),
    ("POST", "/runs/1/approve"),
    ("POST", "/runs/1/undo"),
    ("PATCH", "/mappings"),
]
READS = ["/runs", "/plans", "/mappings/products", "/mappings/tenants", "/status", "/findings"]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have begun; nothing does, so that a right guess costs no run."""
    asked: list[str] = []

    def refuse(_jobs: object, _work: Callable[..., Any], *, trigger: str, **_: Any) -> int:
        asked.append(trigger)
        raise RunRefusedError("Not in this test. Nothing was changed.")

    monkeypatch.setattr("services.runs.jobs.Jobs.start", refuse)
    return asked


def rows(app: Flask) -> list[int]:
    with installation_of(app).reading() as session:
        tables = (models.SyncRun, models.AuditEvent, models.ProductMapping, models.TenantMapping)
        counts = [session.scalar(sa.select(sa.func.count()).select_from(t)) for t in tables]
        return [count or 0 for count in counts]


@FUZZ
@given(body=bodies, where=st.sampled_from(WRITES))
def test_any_body_has_an_answer(
    app: Flask, caller: Api, begun: list[str], body: Any, where: tuple[str, str]
) -> None:
    before, count = rows(app), len(begun)
    response = caller(*where, data=json.dumps(body), content_type="application/json")
    allowed = {400, 409, 422} | ({200} if where[0] == "PATCH" else set())
    assert response.status_code in allowed, response.text
    if response.status_code in (400, 422):
        assert len(begun) == count
    assert rows(app) == before


@FUZZ
@given(body=st.binary(max_size=60), where=st.sampled_from(WRITES), kind=st.text(max_size=20))
def test_any_bytes_have_an_answer(
    caller: Api, begun: list[str], body: bytes, where: tuple[str, str], kind: str
) -> None:
    sent = "application/json" if "j" in kind or not kind.isprintable() else kind
    sent = sent if sent.isascii() else "text/plain"
    response = caller(*where, data=body, content_type=sent)
    assert response.status_code in (400, 409, 415, 422, 200)


@FUZZ
@given(
    path=st.sampled_from(READS),
    query=st.dictionaries(
        st.sampled_from(["page", "size", "state", "month", "dry_run"]) | st.text(max_size=6),
        st.integers().map(str) | st.text(max_size=12) | st.sampled_from(["planned", "2026-11"]),
        max_size=4,
    ),
)
def test_any_parameters_have_an_answer(reader: Api, path: str, query: dict[str, str]) -> None:
    encodable = {
        k.encode("utf-8", "ignore").decode(): v.encode("utf-8", "ignore").decode()
        for k, v in query.items()
    }
    assert reader("GET", path, query_string=encodable).status_code in (200, 422)


@FUZZ
@given(token=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=80))
def test_any_token_has_an_answer(app: Flask, token: str) -> None:
    from tests.web.api_client import api_of

    assert api_of(app, token)("GET", "/status").status_code in (401, 429)


@FUZZ
@given(key=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=120))
def test_any_key_has_an_answer(caller: Api, begun: list[str], key: str) -> None:
    response = caller.post("/runs", {"kind": "plan"}, Idempotency_Key=key)
    assert response.status_code in (409, 422)
