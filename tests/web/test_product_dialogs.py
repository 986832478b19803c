"""ConnectWise products made and edited from here: beside the field, never two, never blindly."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from sandbox import Sandbox
from sandbox.faults import Fault
from tests.web.client import Client, form_values
from tests.web.test_products import KEY, PAGE, client_of, copied, item, mapping, unsaved
from tests.web.world import installation_of

__all__ = ["copied"]

NEW = f"{PAGE}/new"


@pytest.fixture
def person(copied: Flask, operator: Client) -> Client:
    with installation_of(copied).session() as session, session.begin():
        row = session.get_one(models.ProductMapping, KEY)
        row.catalog_item_id = row.catalog_item_identifier = None
    return operator


def named(sandbox: Sandbox, identifier: str) -> list[dict[str, Any]]:
    return [row for row in sandbox.state()["catalog"] if row["identifier"] == identifier]


def test_a_product_is_made_prefilled_and_stands_unsaved_in_its_row(
    person: Client, sandbox: Sandbox
) -> None:
    answer = person.fill(f"{NEW}?product={KEY}", {"price": "3.25"}, button="Apply")
    assert answer.status_code == 303, answer.text
    made = named(sandbox, f"Sophos_{KEY}")
    assert len(made) == 1
    assert made[0]["price"] == 3.25
    assert mapping(person.application).catalog_item_id is None
    assert "1 unsaved change" in unsaved(person)
    person.post(f"{PAGE}/save")
    assert mapping(person.application).catalog_item_identifier == f"Sophos_{KEY}"


def test_sending_the_same_form_twice_makes_one(person: Client, sandbox: Sandbox) -> None:
    for _ in range(2):
        values = {"token": "once", "identifier": "Twice"}
        assert person.fill(f"{NEW}?product={KEY}", values, button="Apply").status_code == 303
    assert len(named(sandbox, "Twice")) == 1


def test_a_lost_answer_is_settled_by_looking(person: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault(
            "disconnect", "connectwise", when="after", method="POST", path="/procurement/catalog$"
        )
    )
    answer = person.fill(f"{NEW}?product={KEY}", {"identifier": "Lost"}, button="Apply")
    assert answer.status_code == 303, answer.text
    assert len(named(sandbox, "Lost")) == 1


def test_a_taken_identifier_is_offered_for_use(person: Client, sandbox: Sandbox) -> None:
    count = len(sandbox.state()["catalog"])
    values = {"identifier": "Sophos_Email_Advanced"}
    answer = person.fill(f"{NEW}?product={KEY}", values, button="Apply")
    assert answer.status_code == 422
    assert "Use it instead" in answer.text
    number = str(item(person.application).id)
    person.post(f"{PAGE}/use", data={"product": KEY, "id": number})
    assert "1 unsaved change" in unsaved(person)
    assert len(sandbox.state()["catalog"]) == count


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"identifier": " "}, "Enter an identifier."),
        ({"description": "x" * 61}, "At most 60 characters."),
        ({"price": "-1"}, "Enter an amount"),
        ({"price": "1.23456"}, "at most four decimal places"),
    ],
)
def test_wrong_values_are_told_beside_their_fields(
    person: Client, sandbox: Sandbox, values: dict[str, str], said: str
) -> None:
    count = len(sandbox.state()["catalog"])
    answer = person.fill(f"{NEW}?product={KEY}", values, button="Apply")
    assert answer.status_code == 422
    assert said in answer.text
    assert len(sandbox.state()["catalog"]) == count


def test_several_at_once_stand_in_their_rows(person: Client, sandbox: Sandbox) -> None:
    assert f"Sophos_{KEY}" in person.page(NEW).text
    answer = person.fill(NEW, {"product": [KEY]}, button="Apply")
    assert answer.status_code == 303, answer.text
    assert len(named(sandbox, f"Sophos_{KEY}")) == 1
    assert "1 unsaved change" in unsaved(person)


def test_several_need_at_least_one(person: Client) -> None:
    answer = person.fill(NEW, {"product": []}, button="Apply")
    assert answer.status_code == 422
    assert "Tick one to 25" in answer.text


def edit_page(app: Flask) -> str:
    return f"{PAGE}/item/edit?id={item(app).id}"


def test_an_edit_sends_only_what_changed(person: Client, sandbox: Sandbox) -> None:
    sandbox.log.clear()
    answer = person.fill(edit_page(person.application), {"price": "9.5"}, button="Apply")
    assert answer.status_code == 303, answer.text
    found = client_of(installation_of(person.application)).catalog_item(item(person.application).id)
    assert str(found.price) == "9.5"
    patches = [e for e in sandbox.log.entries() if e.method == "PATCH"]
    assert len(patches) == 1
    assert [op["path"] for op in patches[0].body] == ["price"]


def test_an_edit_that_changes_nothing_sends_nothing(person: Client, sandbox: Sandbox) -> None:
    sandbox.log.clear()
    assert (
        person.fill(edit_page(person.application), {"price": "2.64"}, button="Apply").status_code
        == 303
    )
    assert not [e for e in sandbox.log.entries() if e.method != "GET"]


def test_what_changed_in_connectwise_meanwhile_is_shown_and_nothing_sent(
    person: Client, sandbox: Sandbox
) -> None:
    app = person.application
    page = person.page(edit_page(app))
    form = next(f for f in page.all("form") if f.all("input", name="seen"))
    data = {**form_values(form), "price": "8.00"}
    number = item(app).id
    sandbox.edit({"action": "catalog", "number": number, "description": "Renamed over there"})
    answer = person.post(f"{PAGE}/item/edit", data=data, csrf=False)
    assert answer.status_code == 422
    assert "Renamed over there" in answer.text
    assert "Nothing was sent" in answer.text
    assert str(client_of(installation_of(app)).catalog_item(number).price) != "8.00"


def test_a_changed_identifier_is_known_to_the_mapping(person: Client) -> None:
    app = person.application
    number = item(app).id
    person.fill(edit_page(app), {"identifier": "Mail-1"}, button="Apply")
    with installation_of(app).reading() as session:
        names = set(
            session.scalars(
                sa.select(models.ProductMapping.catalog_item_identifier).filter_by(
                    catalog_item_id=number
                )
            )
        )
    assert names == {"Mail-1"}


def test_read_only_writes_nothing(make: Any, sign_in: Any, sandbox: Sandbox) -> None:
    client = sign_in(make(READ_ONLY="true"), "operator")
    count = len(sandbox.state()["catalog"])
    answer = client.fill(f"{NEW}?product={KEY}", {"identifier": "Never"}, button="Apply")
    assert answer.status_code == 422
    assert "read-only" in answer.text
    assert len(sandbox.state()["catalog"]) == count


def test_a_vendor_that_is_down_is_said_in_the_dialog(person: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(
        Fault("forbidden", "connectwise", method="POST", path="/procurement/catalog$")
    )
    answer = person.fill(f"{NEW}?product={KEY}", {"identifier": "Denied"}, button="Apply")
    assert answer.status_code == 422
    assert "Procurement" in answer.text
    assert not named(sandbox, "Denied")
