"""Findings: everything open by kind, each with its fix; devices that are given to a customer."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from services.monitoring import findings
from services.sync.model import FindingKind
from tests.web.client import Client
from tests.web.world import installation_of

PAGE = "/findings"


def device(session: Session) -> str:
    """A serial number that no customer has."""
    found = session.scalars(
        sa.select(models.Finding.subject).where(models.Finding.kind == FindingKind.UNASSIGNED_LINE)
    ).first()
    assert found is not None
    return found


def customer(session: Session) -> models.TenantMapping:
    found = session.scalars(sa.select(models.TenantMapping)).first()
    assert found is not None
    return found


def test_every_finding_and_held_change_is_there(viewer: Client, database: Session) -> None:
    page = viewer.page(PAGE)
    told = list(database.scalars(sa.select(models.Finding)))
    assert told
    for finding in told:
        assert " ".join(finding.message.split()) in " ".join(page.text.split())
    held = database.scalar(
        sa.select(sa.func.count()).select_from(models.Change).where(models.Change.state == "held")
    )
    found = findings.open_findings(database)
    assert {g.key: g.open for g in found.groups}["held_change"] == held
    assert found.open == held + len(told)


def test_every_kind_has_words(app: Flask) -> None:
    assert {kind.value for kind in FindingKind} <= set(findings.KINDS)


@pytest.mark.parametrize("show", ["held_change", "unmapped_tenant", "rubbish"])
def test_one_kind_alone(viewer: Client, show: str) -> None:
    page = viewer.page(f"{PAGE}?show={show}")
    assert page.all("h2")


def test_each_finding_leads_to_its_fix(operator: Client, database: Session) -> None:
    page = operator.page(PAGE)
    links = {a["href"] for a in page.all("a") if "href" in a}
    unmapped = database.scalars(
        sa.select(models.Finding.subject).where(models.Finding.kind == FindingKind.UNMAPPED_TENANT)
    )
    for tenant_id in unmapped:
        path = f"/customers/{tenant_id}/mapping"
        assert path in links
        operator.page(path)


def test_a_device_is_assigned_remembered_and_taken_back(
    operator: Client, database: Session
) -> None:
    serial, tenant = device(database), customer(database)
    answer = operator.fill(PAGE, {"serial": serial, "tenant_id": tenant.tenant_id})
    assert answer.status_code == 303
    database.rollback()
    assert database.get_one(models.SerialAssignment, serial).tenant_id == tenant.tenant_id
    page = operator.page(PAGE)
    assert f"Assigned to {tenant.tenant_name}" in page.text
    operator.fill(PAGE, {"serial": serial}, button=f"Remove the assignment of {serial}")
    database.rollback()
    assert database.get(models.SerialAssignment, serial) is None
    events = database.scalars(
        sa.select(models.AuditEvent).where(models.AuditEvent.action == "serial.assign")
    )
    first, second = events
    assert first.before is None
    assert first.after == {"customer": tenant.tenant_id, "name": tenant.tenant_name}
    assert (second.before, second.after) == ({"customer": tenant.tenant_id}, None)


@pytest.mark.parametrize(
    ("serial", "tenant"), [("", ""), ("S", "T"), (None, "nobody"), ("<b>x</b>", None)]
)
def test_what_does_not_exist_is_refused(
    operator: Client, database: Session, serial: str | None, tenant: str | None
) -> None:
    data = {
        "serial": device(database) if serial is None else serial,
        "tenant_id": customer(database).tenant_id if tenant is None else tenant,
    }
    for htmx in (True, False):
        answer = operator.post(PAGE, data=data, htmx=htmx)
        assert answer.status_code == 422
        assert "Nothing was saved" in answer.text


def test_a_viewer_assigns_nothing(viewer: Client, database: Session) -> None:
    data = {"serial": device(database), "tenant_id": customer(database).tenant_id}
    assert viewer.post(PAGE, data=data).status_code == 403
    assert viewer.post("/findings/remove", data=data).status_code == 403


def test_what_was_dealt_with_is_marked(app: Flask, viewer: Client, database: Session) -> None:
    tenant_id = database.scalars(
        sa.select(models.Finding.subject).where(models.Finding.kind == FindingKind.UNMAPPED_TENANT)
    ).first()
    before = findings.open_findings(database).open
    with installation_of(app).session() as session, session.begin():
        row = session.get_one(models.TenantMapping, tenant_id)
        row.agreement_id, row.sync = 1, True
    database.rollback()
    assert findings.open_findings(database).open == before - 1
    assert "The next run takes it over" in viewer.page(PAGE).text


def test_nothing_is_known_before_the_first_run(empty_admin: Client) -> None:
    assert "No run has made a plan yet" in empty_admin.page(PAGE).text


def test_when_all_is_well_it_says_so(app: Flask, viewer: Client) -> None:
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.Finding))
        session.execute(sa.update(models.Change).values(state=models.ChangeState.APPLIED))
    assert "Nothing needs your attention" in viewer.page(PAGE).text
    assert "no held changes" in viewer.page("/").text


def test_a_product_is_opened_alone(operator: Client) -> None:
    page = operator.page(f"{PAGE}?show=new_product")
    (link, *_) = [a["href"] for a in page.all("a", class_="button") if "/products" in a["href"]]
    rows = operator.page(link).one("tbody").all("tr")
    assert len(rows) == 1
