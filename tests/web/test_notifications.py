"""Notifications in the settings: targets whose address is never shown again, and what is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from tests.services.test_notifications import Receiver
from tests.web.client import Client, page_of
from tests.web.world import NOW, installation_of

Make = Callable[..., Flask]
PAGE = "/settings/notifications"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def app(make: Make, receiver: Receiver) -> Flask:
    return make(ALLOWED_NOTIFICATION_HOSTS=receiver.place)


def add(admin: Client, url: str, name: str = "Billing <b>") -> None:
    values = {"name": name, "url": url}
    answer = admin.fill(f"{PAGE}/targets/new", values, button="Add target")
    assert answer.status_code == 303


def last_event(app: Flask) -> models.AuditEvent:
    with installation_of(app).reading() as session:
        query = sa.select(models.AuditEvent).order_by(models.AuditEvent.id.desc()).limit(1)
        return session.scalars(query).one()


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_administrators_see_it(
    app: Flask, sign_in: Callable[[Flask, str], Client], role: str
) -> None:
    client = sign_in(app, role)
    assert client.get(PAGE).status_code == 403
    assert "Notifications" not in [a.text for a in client.page("/settings").all("a")]


def test_a_target_is_added_tested_and_removed(
    app: Flask, admin: Client, receiver: Receiver
) -> None:
    assert "Nobody is told anything yet" in admin.page(PAGE).text
    add(admin, receiver.url)
    page = admin.get(PAGE)
    assert "Billing <b>" in page_of(page).text
    assert "hush" not in page.text
    answer = admin.fill(PAGE, {}, button="Send a test to Billing <b>")
    assert answer.status_code == 303
    assert receiver.got[0]["title"] == "Tallybridge: test"
    assert "The test was sent" in admin.page(PAGE).text
    answer = admin.fill(f"{PAGE}/targets/1/remove", {}, button="Remove target")
    assert answer.status_code == 303
    assert "Billing <b> was removed." in admin.page(PAGE).text
    event = last_event(app)
    assert (event.action, event.before, event.after) == (
        "notification.remove", {"service": "json"}, None,
    )  # fmt: skip
    assert admin.post(f"{PAGE}/targets/1/test").status_code == 404


def test_a_refusal_keeps_the_name_and_never_the_address(admin: Client) -> None:
    for url, said in (
        ("file:///tmp/hush-hush", "those of this machine cannot"),
        ("slack://hush-hush", "does not understand"),
    ):
        values = {"name": "chat", "url": url}
        answer = admin.fill(f"{PAGE}/targets/new", values, button="Add target")
        page = page_of(answer)
        assert answer.status_code == 422
        assert said in page.text
        assert "Nothing was changed" in page.text
        assert page.all("input", name="name")[0]["value"] == "chat"
        assert "hush" not in answer.text


def test_a_test_that_fails_says_why(app: Flask, admin: Client, receiver: Receiver) -> None:
    receiver.status = 403
    add(admin, receiver.url)
    answer = admin.post(f"{PAGE}/targets/1/test", htmx=True)
    assert answer.status_code == 200
    assert "403 (Forbidden)" in page_of(answer).text
    assert "403 (Forbidden)" in answer.headers["HX-Trigger"]
    assert "hush" not in answer.text


def test_what_is_told_is_chosen_and_recorded(app: Flask, admin: Client) -> None:
    values: dict[str, str | list[str]] = {
        "held": [], "no_good_run_hours": "48", "sophos_credential_expires": "2027-01-31",
    }  # fmt: skip
    assert admin.fill(PAGE, values, button="Save").status_code == 303
    chosen = installation_of(app).settings().notifications
    assert (chosen.held, chosen.run_failed, chosen.no_good_run_hours) == (False, True, 48)
    assert str(chosen.sophos_credential_expires) == "2027-01-31"
    event = last_event(app)
    assert (event.action, event.subject) == ("settings.change", "notifications")
    cleared = {"no_good_run_hours": "", "sophos_credential_expires": ""}
    assert admin.fill(PAGE, cleared, button="Save").status_code == 303
    assert installation_of(app).settings().notifications.no_good_run_hours is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("no_good_run_hours", "0"), ("no_good_run_hours", "soon"), ("sophos_credential_expires", "x")],
)
def test_a_wrong_value_changes_nothing(app: Flask, admin: Client, field: str, value: str) -> None:
    answer = admin.fill(PAGE, {field: value}, button="Save")
    assert answer.status_code == 422
    assert "Nothing was saved" in page_of(answer).text
    assert installation_of(app).settings().notifications.no_good_run_hours is None


def test_somebody_elses_change_is_not_overwritten(app: Flask, admin: Client) -> None:
    admin.page(PAGE)
    stale = {"run_failed": "y", "seen": "0123456789abcdef"}
    answer = admin.post(PAGE, data=stale)
    assert answer.status_code == 422
    assert "Somebody else changed this page meanwhile" in page_of(answer).text


def test_what_nobody_could_be_told_stands_on_the_overview(app: Flask, admin: Client) -> None:
    assert "could not be delivered" not in admin.page("/").text
    with installation_of(app).session() as session, session.begin():
        session.add(models.Notice(at=NOW, kind="held", key="held x", message="m"))
    assert "could not be delivered" not in admin.page("/").text
    app.extensions["tallybridge"].clock.forward(hours=2)
    assert "1 notification could not be delivered" in admin.page("/").text
