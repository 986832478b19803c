"""The Customers page: where each customer is billed, its switch, and how the last run went."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from sandbox import Sandbox
from services.tenants import company_directory
from tests.web.client import Client
from tests.web.dom import Element
from tests.web.world import installation_of

PAGE = "/customers"


@pytest.fixture
def refreshed(app: Flask) -> Flask:
    """The app after customers, companies and agreements were read."""
    refresh(app)
    return app


def refresh(app: Flask) -> models.DirectoryRefresh:
    thread = company_directory.start_refresh(installation_of(app), actor="operator")
    assert thread is not None
    thread.join(30)
    with installation_of(app).reading() as session:
        latest = company_directory.latest_refresh(session)
    assert latest is not None
    return latest


def rows(page: Element) -> dict[str, Element]:
    """The rows of the table by the customer's name."""
    found = [row for row in page.all("tr") if row.get("id").startswith("customer-")]
    return {row.all("th")[0].text: row for row in found}


def mapped(session: Session) -> models.TenantMapping:
    """A customer with an agreement and additions that we manage."""
    owned = session.scalars(sa.select(models.OwnedAddition)).first()
    assert owned is not None
    return session.get_one(models.TenantMapping, owned.sources[0][0])


def unmapped(session: Session) -> models.TenantMapping:
    row = session.scalars(
        sa.select(models.TenantMapping).where(models.TenantMapping.company_id.is_(None))
    ).first()
    assert row is not None
    return row


def events(session: Session, action: str) -> list[models.AuditEvent]:
    query = sa.select(models.AuditEvent).where(models.AuditEvent.action == action)
    return list(session.scalars(query.order_by(models.AuditEvent.id)))


def test_every_customer_has_a_row_and_a_status(viewer: Client, database: Session) -> None:
    page = viewer.page(PAGE)
    count = database.scalar(sa.select(sa.func.count()).select_from(models.TenantMapping))
    assert len([r for r in page.all("tr") if r.get("id").startswith("customer-")]) == count
    assert "Successful" in page.text
    assert "Held" in page.text


@pytest.mark.parametrize(
    "show",
    ["all", "available", "successful", "failed", "held", "not-billed", "unmapped", "rubbish"],
)
@pytest.mark.parametrize("sort", ["name", "company", "agreement", "sync", "status", "rubbish"])
def test_filters_and_sorting(viewer: Client, show: str, sort: str) -> None:
    viewer.page(f"{PAGE}?show={show}&sort={sort}&dir=desc")
    assert viewer.get(f"{PAGE}?show={show}", htmx=True).status_code == 200


def test_the_search_finds_names_that_look_like_markup(viewer: Client) -> None:
    page = viewer.page(f"{PAGE}?q=%3Cscript%3E")
    assert [name for name in rows(page) if "<script>" in name]
    assert not [s for s in page.all("script") if "alert" in s.text]


def test_nothing_found_says_how_to_go_on(viewer: Client) -> None:
    page = viewer.page(f"{PAGE}?q=no-such-customer")
    assert "Nothing fits" in page.text


def test_a_fresh_installation_says_what_to_do(empty_admin: Client) -> None:
    assert "No customers yet" in empty_admin.page(PAGE).text


def test_the_switch_posts_the_wanted_state(operator: Client, database: Session) -> None:
    row = mapped(database)
    path = f"{PAGE}/{row.tenant_id}/sync"
    for _ in range(2):
        answer = operator.post(path, data={"sync": "off"}, htmx=True)
        assert 'aria-checked="false"' in answer.text
    database.rollback()
    assert not mapped(database).sync
    (event,) = events(database, "customer.sync")
    assert event.actor == "operator"
    assert event.before
    assert event.after
    assert (event.before["sync"], event.after["sync"]) == (True, False)


def test_without_javascript_the_switch_returns_to_the_filtered_list(
    operator: Client, database: Session
) -> None:
    answer = operator.post(
        f"{PAGE}/{mapped(database).tenant_id}/sync?show=held&tenant_id=x", data={"sync": "on"}
    )
    assert answer.status_code == 303
    assert answer.location == f"{PAGE}?show=held"


@pytest.mark.parametrize("what", ["sync", "accept", "mapping", "products"])
def test_a_viewer_changes_nothing(viewer: Client, database: Session, what: str) -> None:
    path = f"{PAGE}/{mapped(database).tenant_id}/{what}"
    assert viewer.post(path, data={"sync": "off"}).status_code == 403
    assert viewer.post(f"{PAGE}/refresh").status_code == 403


@pytest.mark.parametrize("what", ["status", "mapping", "products"])
def test_an_unknown_customer_is_not_found(operator: Client, what: str) -> None:
    assert operator.get(f"{PAGE}/nobody/{what}").status_code == 404


def test_the_type_ahead_wants_two_characters(refreshed: Flask, operator: Client) -> None:
    assert not operator.get("/lookups/companies?q=b").text.strip()
    options = operator.get("/lookups/companies?q=be").text
    assert 'role="option"' in options
    assert "No company fits" in operator.get("/lookups/companies?q=zzzz").text


def test_deleted_companies_are_never_offered(
    app: Flask, operator: Client, sandbox: Sandbox, database: Session
) -> None:
    refresh(app)
    with installation_of(app).session() as session, session.begin():
        company = session.scalars(sa.select(models.Company)).first()
        assert company is not None
        company.gone = True
    assert company.identifier not in operator.get(f"/lookups/companies?q={company.identifier}").text


def test_mapping_by_hand(refreshed: Flask, operator: Client, database: Session) -> None:
    row = unmapped(database)
    agreement = active_agreement(database)
    path = f"{PAGE}/{row.tenant_id}/mapping"
    found = operator.page(f"{path}?q=managed")
    assert "Company" in found.text
    answer = operator.fill(
        f"{path}?company_id={agreement.company_id}",
        {"agreement_id": str(agreement.id)},
        button="Save",
    )
    assert answer.status_code == 303
    database.rollback()
    saved = database.get_one(models.TenantMapping, row.tenant_id)
    assert (saved.company_id, saved.agreement_id) == (agreement.company_id, agreement.id)
    after = events(database, "customer.map")[-1].after
    assert after
    assert after["agreement"] == agreement.id


def active_agreement(session: Session) -> models.Agreement:
    found = session.scalars(
        sa.select(models.Agreement).where(models.Agreement.status == "Active")
    ).first()
    assert found is not None
    return found


def test_another_company_clears_agreement_and_products(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    row = mapped(database)
    key = database.scalars(sa.select(models.ProductMapping.product_key)).first()
    with installation_of(refreshed).session() as session, session.begin():
        kept = session.get_one(models.TenantMapping, row.tenant_id)
        override = models.ProductAgreement(product_key=key, agreement_id=kept.agreement_id or 0)
        kept.overrides.append(override)
        version = kept.version
    other = database.scalars(
        sa.select(models.Company).where(models.Company.id != row.company_id)
    ).first()
    assert other is not None
    page = operator.page(f"{PAGE}/{row.tenant_id}/mapping?company_id={other.id}")
    assert "managed addition" in page.text
    data = {"version": str(version), "company_id": str(other.id), "agreement_id": ""}
    operator.post(f"{PAGE}/{row.tenant_id}/mapping", data=data)
    database.rollback()
    saved = database.get_one(models.TenantMapping, row.tenant_id)
    assert (saved.company_id, saved.agreement_id, saved.overrides) == (other.id, None, [])


def test_an_agreement_of_another_company_is_refused(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    row = mapped(database)
    foreign = database.scalars(
        sa.select(models.Agreement).where(models.Agreement.company_id != row.company_id)
    ).first()
    assert foreign is not None
    data = {
        "version": str(row.version),
        "company_id": str(row.company_id),
        "agreement_id": str(foreign.id),
    }
    answer = operator.post(f"{PAGE}/{row.tenant_id}/mapping", data=data, htmx=True)
    assert answer.status_code == 422
    assert "does not belong to the company" in answer.text
    assert not events(database, "customer.map")


def test_a_stale_form_shows_both_values_and_can_be_sent_again(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    row = unmapped(database)
    mine, theirs = list(database.scalars(sa.select(models.Company).limit(2)))
    path = f"{PAGE}/{row.tenant_id}/mapping"
    first = {"version": str(row.version), "agreement_id": ""}
    assert operator.post(path, data={**first, "company_id": str(theirs.id)}).status_code == 303
    answer = operator.post(path, data={**first, "company_id": str(mine.id)}, htmx=True)
    assert answer.status_code == 422
    for shown in (mine.identifier, theirs.identifier, "changed this customer meanwhile"):
        assert shown in answer.text
    database.rollback()
    now = database.get_one(models.TenantMapping, row.tenant_id)
    assert now.company_id == theirs.id
    again = {"version": str(now.version), "company_id": str(mine.id), "agreement_id": ""}
    assert operator.post(path, data=again).status_code == 303


@pytest.mark.parametrize("rubbish", ["", "x", "-1", "9" * 40, "1 OR 1", "\x00"])
def test_rubbish_in_the_form_is_no_server_error(
    refreshed: Flask, operator: Client, database: Session, rubbish: str
) -> None:
    row = mapped(database)
    for field in ("version", "company_id", "agreement_id"):
        good = {"version": str(row.version), "company_id": str(row.company_id), "agreement_id": ""}
        path = f"{PAGE}/{row.tenant_id}/mapping"
        assert operator.post(path, data={**good, field: rubbish}).status_code in (303, 422)
    accept = operator.post(f"{PAGE}/{row.tenant_id}/accept", data={"accept": rubbish}, htmx=True)
    assert accept.status_code == 200


def test_walking_through_the_dialog_does_not_hide_a_conflict(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    row, agreement = unmapped(database), active_agreement(database)
    path = f"{PAGE}/{row.tenant_id}/mapping"
    opened = operator.page(f"{path}?q=")
    link = next(a["href"] for a in opened.all("a") if "company_id=" in a.get("href"))
    first = {"version": str(row.version), "company_id": str(agreement.company_id)}
    operator.post(path, data={**first, "agreement_id": str(agreement.id)})
    answer = operator.fill(link, {"agreement_id": ""}, button="Save", htmx=True)
    assert answer.status_code == 422
    assert "changed this customer meanwhile" in answer.text


def test_the_mapping_can_be_cleared(refreshed: Flask, operator: Client, database: Session) -> None:
    row = mapped(database)
    answer = operator.fill(
        f"{PAGE}/{row.tenant_id}/mapping", {"version": str(row.version)}, button="Clear the mapping"
    )
    assert answer.status_code == 303
    database.rollback()
    assert database.get_one(models.TenantMapping, row.tenant_id).company_id is None


def test_single_products_go_to_another_agreement(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    second = database.scalars(
        sa.select(models.Agreement).where(models.Agreement.name == "Backup & Security")
    ).first()
    assert second is not None
    row = database.scalars(
        sa.select(models.TenantMapping).where(models.TenantMapping.company_id == second.company_id)
    ).first()
    assert row is not None
    key = database.scalars(sa.select(models.ProductMapping.product_key)).first()
    path = f"{PAGE}/{row.tenant_id}/products"
    for chosen in (second.id, ""):
        operator.fill(path, {f"agreement:{key}": str(chosen)}, button="Save")
        database.rollback()
        saved = database.get_one(models.TenantMapping, row.tenant_id)
        expected = {key: second.id} if chosen and second.id != row.agreement_id else {}
        assert {o.product_key: o.agreement_id for o in saved.overrides} == expected
    stale = {"version": "1", f"agreement:{key}": str(second.id)}
    assert operator.post(path, data=stale, htmx=True).status_code == 422


def test_a_suggestion_is_applied_only_by_its_click(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    page = operator.page(f"{PAGE}?show=unmapped")
    row = next(row for row in rows(page).values() if "exact name" in row.text)
    assert unmapped(database).company_id is None
    button = next(b for b in row.all("button") if b.get("name") == "accept")
    form = row.all("form")[0]
    answer = operator.post(form["action"], data={"accept": button["value"]}, htmx=True)
    assert answer.status_code == 200
    assert "exact name" not in answer.text
    # Pressing twice is no conflict; taking back by hand is.
    operator.post(form["action"], data={"accept": button["value"]}, htmx=True)
    database.rollback()
    assert len(events(database, "customer.map")) == 1
    tenant_id = form["action"].split("/")[2]
    operator.fill(f"{PAGE}/{tenant_id}/mapping", {"version": "2"}, button="Clear the mapping")
    again = operator.post(form["action"], data={"accept": button["value"]}, htmx=True)
    assert "changed meanwhile" in again.text


def test_all_exact_matches_after_a_preview(
    refreshed: Flask, operator: Client, database: Session
) -> None:
    page = operator.page(f"{PAGE}/exact-matches")
    offered = [box["value"] for box in page.all("input") if box.get("name") == "accept"]
    assert offered
    answer = operator.post(f"{PAGE}/exact-matches", data={"accept": offered})
    assert answer.status_code == 303
    assert len(events(database, "customer.map")) == len(offered)
    tenant_id = offered[0].split("|")[0]
    operator.fill(f"{PAGE}/{tenant_id}/mapping", {"version": "2"}, button="Clear the mapping")
    stale = operator.post(f"{PAGE}/exact-matches", data={"accept": offered[:1]}, htmx=True)
    assert stale.status_code == 422
    assert "changed meanwhile" in stale.text


def test_the_status_says_why_and_what_to_do(viewer: Client, database: Session) -> None:
    finding = database.scalars(
        sa.select(models.Finding).where(models.Finding.kind == "agreement_unusable")
    ).first()
    assert finding is not None
    page = viewer.page(f"{PAGE}/{finding.subject}/status")
    assert finding.message in page.text
    assert finding.advice in page.text


def test_a_failed_change_makes_its_customer_failed(
    app: Flask, viewer: Client, database: Session
) -> None:
    with installation_of(app).session() as session, session.begin():
        change = session.scalars(
            sa.select(models.Change).where(models.Change.state == "applied")
        ).first()
        assert change is not None
        change.state, change.error = models.ChangeState.FAILED, "ConnectWise said <b>no</b>"
        tenant_id = change.tenant_id
    page = viewer.page(f"{PAGE}/{tenant_id}/status")
    assert "ConnectWise said <b>no</b>" in page.text
    assert "Failed" in page.text


def test_refreshing_reads_both_vendors_and_changes_no_mapping(
    app: Flask, operator: Client, sandbox: Sandbox, database: Session
) -> None:
    before = {r.tenant_id: r.company_id for r in database.scalars(sa.select(models.TenantMapping))}
    latest = refresh(app)
    assert (latest.error, latest.done) == (None, 3)
    database.rollback()
    after = {r.tenant_id: r.company_id for r in database.scalars(sa.select(models.TenantMapping))}
    assert after == before
    assert database.scalar(sa.select(sa.func.count()).select_from(models.Agreement))
    assert "Refreshed" in operator.page(PAGE).text


def test_a_refresh_that_fails_says_so_and_changes_nothing(
    make: Callable[..., Flask], sign_in: Callable[[Flask, str], Client]
) -> None:
    app = make(vendors=False)
    latest = refresh(app)
    assert "is not set" in (latest.error or "")
    page = sign_in(app, "operator").page(PAGE)
    assert "The last refresh failed" in page.text


def test_the_refresh_shows_how_far_it_is(app: Flask, operator: Client) -> None:
    installation = installation_of(app)
    with installation.session() as session, session.begin():
        session.add(
            models.DirectoryRefresh(
                actor="operator",
                started_at=installation.now(),
                seen_at=installation.now(),
                stage="Reading companies from ConnectWise",
                done=1,
                total=3,
            )
        )
    answer = operator.get(f"{PAGE}/refresh", htmx=True)
    assert "1 of 3" in answer.text
    assert "every 1s" in answer.text
    assert operator.get(f"{PAGE}/refresh").status_code == 303
    # While one is under way another is not begun.
    assert company_directory.start_refresh(installation, actor="x") is None
