"""Configure usage sync: staging, saving, conflicts, filters, and what a viewer may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from services.clients.connectwise import ConnectWiseClient
from services.connections import connectwise_client
from services.installation import Installation
from services.products import catalog_copy
from services.runs import sync_runs
from tests.web.client import Client
from tests.web.dom import Element
from tests.web.world import installation_of

PAGE = "/settings/psa/products"
KEY = "CDE-MSP"
OTHER = "Sophos_Email_Advanced"


def client_of(installation: Installation) -> ConnectWiseClient:
    return connectwise_client(installation.effective_config())


@pytest.fixture
def copied(app: Flask) -> Flask:
    """The app with a copy of the catalog, so that no page starts to make one."""
    installation = installation_of(app)
    catalog_copy.refresh(installation, client_of(installation))
    return app


@pytest.fixture
def person(copied: Flask, operator: Client) -> Client:
    return operator


def mapping(app: Flask, key: str = KEY) -> models.ProductMapping:
    with installation_of(app).session() as session:
        return session.get_one(models.ProductMapping, key)


def item(app: Flask, identifier: str = OTHER) -> models.CatalogItem:
    with installation_of(app).session() as session:
        found = session.scalar(sa.select(models.CatalogItem).filter_by(identifier=identifier))
        assert found is not None
        return found


def stage(client: Client, key: str = KEY, **values: Any) -> Any:
    version = mapping(client.application, key).version
    data = {"product": key, "version": str(version), **values}
    return client.post(f"{PAGE}/stage", data=data, htmx=True)


def unsaved(client: Client) -> str:
    return " ".join(client.page(PAGE).all("div", id="unsaved")[0].text.split())


def test_a_chosen_product_is_staged_and_only_saving_changes_the_mapping(person: Client) -> None:
    app, before = person.application, mapping(person.application)
    answer = stage(person, q=OTHER, item_id=str(item(app).id))
    assert answer.status_code == 200
    assert "Unsaved" in answer.text
    assert mapping(app).catalog_item_id == before.catalog_item_id
    assert "1 unsaved change" in unsaved(person)
    assert "moves" in unsaved(person)
    assert person.post(f"{PAGE}/save").status_code == 303
    assert mapping(app).catalog_item_identifier == OTHER
    assert unsaved(person) == ""


def test_saving_tells_the_audit_who_and_what(person: Client, database: Session) -> None:
    stage(person, sync="off")
    person.post(f"{PAGE}/save")
    event = database.scalars(
        sa.select(models.AuditEvent).order_by(models.AuditEvent.id.desc())
    ).first()
    assert event is not None
    assert (event.actor, event.action, event.subject) == (
        "operator",
        "product.change",
        f"product {KEY}",
    )
    assert (event.before or {})["sync"] is True
    assert (event.after or {})["sync"] is False


def test_a_typed_identifier_is_taken_whatever_its_case(person: Client) -> None:
    answer = stage(person, q=OTHER.upper())
    assert answer.status_code == 200
    assert OTHER in answer.text


def test_text_that_names_nothing_is_refused_beside_its_field(person: Client) -> None:
    answer = stage(person, q="no such <b>thing</b>")
    assert answer.status_code == 422
    assert "Nothing was changed" in answer.text
    assert "<b>thing" not in answer.text
    assert unsaved(person) == ""


def test_without_javascript_such_text_leads_to_the_choices(person: Client) -> None:
    data = {"product": KEY, "version": "1", "q": "email"}
    answer = person.post(f"{PAGE}/stage", data=data)
    assert answer.status_code == 303
    page = person.page(answer.location)
    assert OTHER in page.text


def test_staging_what_is_saved_already_is_no_change(person: Client) -> None:
    stage(person, sync="off")
    stage(person, sync="on")
    assert unsaved(person) == ""


def test_undo_takes_back_one_row_and_discard_all(person: Client) -> None:
    stage(person, sync="off")
    stage(person, "CEMA-MSP", clear="1", q="")
    person.post(f"{PAGE}/undo", data={"product": KEY})
    assert "1 unsaved change" in unsaved(person)
    person.post(f"{PAGE}/discard")
    assert unsaved(person) == ""
    assert mapping(person.application, "CEMA-MSP").catalog_item_id is not None


def test_clearing_while_sync_is_on_says_what_happens_next(person: Client) -> None:
    answer = stage(person, clear="1", q="whatever")
    assert "At the next usage a default product is made and mapped" in answer.text
    person.post(f"{PAGE}/save")
    row = mapping(person.application)
    assert row.catalog_item_id is None
    assert row.sync is True
    assert "Paused" in person.page(f"{PAGE}?filter=attention").text


def test_unsaved_edits_are_of_one_person(
    person: Client, sign_in: Callable[[Flask, str], Client]
) -> None:
    stage(person, sync="off")
    assert unsaved(sign_in(person.application, "admin")) == ""


def test_a_conflict_saves_nothing_and_loses_nothing(
    person: Client, sign_in: Callable[[Flask, str], Client]
) -> None:
    app, admin = person.application, sign_in(person.application, "admin")
    stage(person, q=OTHER)
    stage(person, "CEMA-MSP", sync="off")
    stage(admin, clear="1")
    admin.post(f"{PAGE}/save")
    answer = person.post(f"{PAGE}/save", htmx=True)
    assert answer.status_code == 422
    assert "Nothing was saved" in answer.text
    assert mapping(app).catalog_item_id is None
    assert mapping(app, "CEMA-MSP").sync is True
    page = person.page(PAGE).text
    assert "Conflict" in page
    assert OTHER in page


def test_two_who_want_the_same_have_no_conflict(
    person: Client, sign_in: Callable[[Flask, str], Client]
) -> None:
    admin = sign_in(person.application, "admin")
    for each in (person, admin):
        stage(each, q=OTHER)
        stage(each, "CEMA-MSP", sync="off")
    admin.post(f"{PAGE}/save")
    assert "Conflict" not in person.page(PAGE).text
    assert unsaved(person) == ""


@pytest.mark.parametrize(("choice", "expected"), [("keep", OTHER), ("undo", None)])
def test_a_conflict_is_settled_by_a_choice(
    person: Client, sign_in: Callable[[Flask, str], Client], choice: str, expected: str | None
) -> None:
    admin = sign_in(person.application, "admin")
    stage(person, q=OTHER)
    stage(admin, clear="1")
    admin.post(f"{PAGE}/save")
    person.post(f"{PAGE}/{choice}", data={"product": KEY})
    assert person.post(f"{PAGE}/save").status_code == 303
    assert mapping(person.application).catalog_item_identifier == expected


def test_an_item_that_became_inactive_cannot_be_saved(person: Client) -> None:
    app = person.application
    stage(person, q=OTHER)
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.CatalogItem, item(app).id).inactive = True
    answer = person.post(f"{PAGE}/save", htmx=True)
    assert answer.status_code == 422
    assert "is inactive in ConnectWise" in answer.text
    assert mapping(app).catalog_item_identifier != OTHER


def test_a_mapped_item_that_is_gone_needs_attention(person: Client) -> None:
    app = person.application
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.CatalogItem, mapping(app).catalog_item_id).gone = True
    text = person.page(f"{PAGE}?filter=attention").text
    assert "is no longer in the ConnectWise catalog" in text


def rows(page: Element) -> list[str]:
    return [row.text for body in page.all("tbody") for row in body.all("tr")]


def test_filters_text_and_sorting(person: Client) -> None:
    everything = rows(person.page(PAGE))
    mapped, open_ones = (rows(person.page(f"{PAGE}?filter={f}")) for f in ("mapped", "unmapped"))
    assert len(mapped) + len(open_ones) == len(everything)
    assert any(KEY in row for row in rows(person.page(f"{PAGE}?text=cde-msp")))
    assert rows(person.page(f"{PAGE}?order=desc")) == everything[::-1]
    assert "No product matches" in person.page(f"{PAGE}?text=zzzz").text
    heads = person.page(f"{PAGE}?sort=usage&order=desc").all("th", scope="col")
    assert [h.get("aria-sort") for h in heads if h.get("aria-sort")] == ["descending"]


def test_nonsense_in_the_address_is_left_out(person: Client) -> None:
    assert rows(person.page(f"{PAGE}?filter=x&sort=y&order=z")) == rows(person.page(PAGE))


def test_a_viewer_sees_but_changes_nothing(copied: Flask, viewer: Client) -> None:
    page = viewer.page(PAGE)
    assert rows(page)
    assert not page.all("input", role="combobox")
    assert stage(viewer, sync="off").status_code == 403
    for path in ("save", "discard", "undo", "keep", "catalog", "new", "item/edit"):
        assert viewer.post(f"{PAGE}/{path}").status_code == 403


def test_an_unknown_product_changes_nothing(person: Client) -> None:
    data = {"product": "nope", "version": "1", "sync": "on"}
    assert person.post(f"{PAGE}/stage", data=data, htmx=True).status_code == 404


def test_empty_says_what_to_do(empty_admin: Client) -> None:
    text = empty_admin.page(PAGE).text
    assert "No Sophos products yet" in text
    assert "sync" in text


def test_hostile_names_stay_text(person: Client) -> None:
    nasty = "<img src=x onerror=alert(1)> '\" =1+1 " + "x" * 200
    with installation_of(person.application).session() as session, session.begin():
        row = session.get_one(models.ProductMapping, KEY)
        row.product_name, row.earlier_names = nasty, [nasty]
    assert "<img" not in person.get(PAGE).text
    assert "formerly" in person.get(PAGE).text
    assert "<img" not in stage(person, sync="off").text
    assert "<img" not in person.get(f"{PAGE}/new?product={KEY}").text


def test_a_cleared_mapping_with_sync_on_is_filled_by_the_next_run(person: Client) -> None:
    stage(person, clear="1")
    person.post(f"{PAGE}/save")
    context = installation_of(person.application).context(actor="operator", trigger="manual")
    sync_runs.run(context)
    row = mapping(person.application)
    assert row.catalog_item_identifier == f"Sophos_{KEY}"
    assert row.sync is True
    assert "Paused" not in person.page(PAGE).text
