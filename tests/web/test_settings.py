"""The settings pages: what is shown, what is refused, what is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from sandbox import Fault, Sandbox
from services.upkeep.keys import new_key
from tests.web.client import Client, page_of
from tests.web.world import installation_of, make_app

Make = Callable[..., Flask]
SignIn = Callable[[Flask, str], Client]
PAGES = (
    "/settings",
    "/settings/psa",
    "/settings/sophos",
    "/settings/default-product",
    "/settings/safety",
    "/settings/schedule",
)
KEYS = {"connectwise_public_key": "new-public", "connectwise_private_key": "new-private"}


def events(app: Flask, action: str) -> list[models.AuditEvent]:
    with installation_of(app).reading() as session:
        query = sa.select(models.AuditEvent).where(models.AuditEvent.action == action)
        return list(session.scalars(query.order_by(models.AuditEvent.id)))


def settled(client: Client, page: str) -> str:
    """The text of a connection test that is over."""
    for thread in threading.enumerate():
        if thread.name.startswith("test "):
            thread.join(timeout=10)
    return client.page(f"/settings/{page}/test").one(id="test-result").text


@pytest.mark.parametrize("path", PAGES)
def test_a_viewer_reads_every_page_and_finds_no_button_to_save(viewer: Client, path: str) -> None:
    page = viewer.page(path)
    assert [b.text for b in page.all("button") if b.text in ("Save", "Test connection")] == []
    assert viewer.post(path).status_code in (403, 405)


@pytest.mark.parametrize("path", [*PAGES, "/settings/users"])
def test_an_administrator_reads_every_page(admin: Client, path: str) -> None:
    admin.page(path)


@pytest.mark.parametrize("path", [*PAGES, "/settings/users"])
def test_a_fresh_installation_shows_every_page(empty_admin: Client, path: str) -> None:
    empty_admin.page(path)


def test_the_overview_says_what_is_missing(empty_admin: Client) -> None:
    text = empty_admin.page("/settings").one("main").text
    assert "No site is set." in text
    assert text.count("not complete") == 2


# --- connections --------------------------------------------------------------------------------


def test_what_the_environment_sets_is_locked_and_its_secrets_are_not_shown(
    admin: Client, sandbox: Sandbox
) -> None:
    page = admin.page("/settings/psa")
    assert page.all(name="connectwise_site") == []
    assert "TALLYBRIDGE_CONNECTWISE_SITE" in page.one("main").text
    for secret in (sandbox.connectwise.public_key, sandbox.connectwise.private_key):
        assert secret not in admin.get("/settings/psa").text


def test_a_value_of_the_environment_cannot_be_posted(app: Flask, admin: Client) -> None:
    admin.post("/settings/psa", data={"connectwise_company_id": "other", **KEYS})
    with installation_of(app).reading() as session:
        assert session.scalars(sa.select(models.ConnectionValue)).all() == []


def test_a_stored_secret_never_leaves(make: Make, sign_in: SignIn, sandbox: Sandbox) -> None:
    app = make(stored=True)
    secrets = (
        sandbox.connectwise.public_key,
        sandbox.connectwise.private_key,
        sandbox.sophos.client_secret,
    )
    for role in ("admin", "viewer"):
        client = sign_in(app, role)
        for path in ("/settings/psa", "/settings/sophos", "/settings", "/audit"):
            html = client.get(path).text
            assert not [s for s in secrets if s in html], path
    with installation_of(app).reading() as session:
        stored = " ".join(session.scalars(sa.select(models.ConnectionValue.value)))
        audit = str([(e.before, e.after) for e in events(app, "connection.change")])
    assert not [s for s in secrets if s in stored + audit]


def test_an_empty_secret_keeps_the_stored_one(make: Make, sign_in: SignIn) -> None:
    app = make(stored=True)
    before = installation_of(app).effective_config()
    client = sign_in(app, "admin")
    answer = client.fill("/settings/psa", {"connectwise_private_key": "changed"}, button="Save")
    assert answer.status_code == 303
    after = installation_of(app).effective_config()
    assert after.connectwise_public_key == before.connectwise_public_key
    assert after.connectwise_private_key is not None
    assert after.connectwise_private_key.get_secret_value() == "changed"
    last = events(app, "connection.change")[-1]
    assert (last.subject, last.actor, last.after) == (
        "connectwise_private_key",
        "admin",
        {"value": "(secret)"},
    )


@pytest.mark.parametrize(
    "site",
    [
        "https://evil.example",
        "evil.example",
        "http://eu.myconnectwise.net",
        "https://eu.myconnectwise.net@evil.example",
        "https://eu.myconnectwise.net.evil.example",
        "http://169.254.169.254/latest",
        "javascript:alert(1)",
        "eu.myconnectwise.net/path?x",
    ],
)
def test_a_site_that_keys_may_not_go_to_is_refused(
    make: Make, sign_in: SignIn, sandbox: Sandbox, site: str
) -> None:
    app = make(stored=True)
    client = sign_in(app, "admin")
    calls = len(sandbox.log.entries())
    answer = client.fill("/settings/psa", {"connectwise_site": site, **KEYS}, button="Save")
    assert answer.status_code == 422
    page = page_of(answer)
    assert "Nothing was changed." in page.one(id="connectwise_site-error").text
    assert page.one("input", name="connectwise_site")["value"] == site
    assert installation_of(app).effective_config().connectwise_site == sandbox.connectwise_url
    assert "new-private" not in answer.text
    assert len(sandbox.log.entries()) == calls


def test_a_bare_host_of_the_cloud_is_kept_as_its_address(make: Make, sign_in: SignIn) -> None:
    app = make(full=False, vendors=False)
    client = sign_in(app, "admin")
    values = {"connectwise_site": " EU.myconnectwise.net ", "connectwise_company_id": "acme"}
    assert client.fill("/settings/psa", values, button="Save").status_code == 303
    assert installation_of(app).effective_config().connectwise_site == (
        "https://eu.myconnectwise.net"
    )


def test_another_company_has_to_be_confirmed_while_customers_are_mapped(
    make: Make, sign_in: SignIn
) -> None:
    app = make(stored=True)
    client = sign_in(app, "admin")
    values = {"connectwise_company_id": "another"}
    answer = client.fill("/settings/psa", values, button="Save")
    assert answer.status_code == 422
    said = page_of(answer).one(id="confirm-error").text
    assert "customers are mapped to agreements of examplemsp" in said
    assert installation_of(app).effective_config().connectwise_company_id == "examplemsp"
    answer = client.post("/settings/psa", data={**_stored(app), **values, "confirm": "y"})
    assert answer.status_code == 303
    assert installation_of(app).effective_config().connectwise_company_id == "another"


def _stored(app: Flask) -> dict[str, str]:
    config = installation_of(app).effective_config()
    return {
        "connectwise_site": config.connectwise_site or "",
        "connectwise_company_id": config.connectwise_company_id or "",
        "connectwise_client_id": config.connectwise_client_id or "",
    }


def test_the_way_to_the_products_is_one_click(admin: Client) -> None:
    page = admin.page("/settings/psa")
    assert [a.text for a in page.all("a", class_="button")] == ["Configure"]


# --- the test of a connection -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "lines"), [("psa", ["site and company", "additions"]), ("sophos", ["billing usage"])]
)
def test_a_test_says_a_line_for_each_right(operator: Client, page: str, lines: list[str]) -> None:
    assert "Not tested" in settled(operator, page)
    answer = operator.post(f"/settings/{page}/test", htmx=True)
    assert answer.status_code == 200
    text = settled(operator, page)
    assert "all good" in text
    assert not [line for line in lines if line not in text]


def test_without_javascript_the_test_has_a_page(operator: Client) -> None:
    answer = operator.fill("/settings/psa", {}, button="Test connection")
    assert (answer.status_code, answer.location) == (303, "/settings/psa/test")
    settled(operator, "psa")


def test_a_missing_right_is_named_with_what_to_do(operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("forbidden", "connectwise", path="/finance/agreements", times=None))
    operator.post("/settings/psa/test", htmx=True)
    text = settled(operator, "psa")
    assert "failed" in text
    assert "The API member needs Inquire All" in text
    assert "test failed" in operator.page("/settings").one("main").text


def test_a_connection_that_is_not_set_says_so(empty_admin: Client) -> None:
    empty_admin.post("/settings/sophos/test", htmx=True)
    assert "SOPHOS_CLIENT_ID is not set" in settled(empty_admin, "sophos")


def test_secrets_of_another_key_are_named_in_the_test(
    make: Make, sign_in: SignIn, tmp_path: Any
) -> None:
    app = make(stored=True)
    (installation_of(app).config.data_dir / "encryption_key").write_text(new_key())
    again = make_app(installation_of(app).config.data_dir, None)
    again.test_client_class = Client
    client = sign_in(again, "admin")
    client.page("/settings/psa")
    client.post("/settings/psa/test", htmx=True)
    assert "TALLYBRIDGE_ENCRYPTION_KEY is not the key" in settled(client, "psa")
    installation_of(again).engine.dispose()


def test_a_result_is_forgotten_when_what_it_tested_changes(make: Make, sign_in: SignIn) -> None:
    client = sign_in(make(stored=True), "admin")
    client.post("/settings/psa/test", htmx=True)
    assert "all good" in settled(client, "psa")
    client.fill("/settings/psa", {"connectwise_client_id": "other"}, button="Save")
    assert "Not tested" in settled(client, "psa")


# --- safety -------------------------------------------------------------------------------------


def test_safety_is_kept_and_recorded(app: Flask, admin: Client) -> None:
    values = {"usage_ended": "cancel", "price_effect": "", "decrease_percent": "12.5"}
    answer = admin.fill("/settings/safety", values, button="Save")
    assert (answer.status_code, answer.location) == (303, "/settings/safety")
    assert "Saved." in admin.page("/settings/safety").one("main").text
    settings = installation_of(app).settings()
    assert settings.usage_ended == "cancel"
    assert settings.guard_rails.price_effect is None
    assert str(settings.guard_rails.decrease_percent) == "12.5"
    assert settings.guard_rails.drop_to_zero
    (event,) = events(app, "settings.change")
    assert (event.actor, event.subject) == ("admin", "usage_ended, guard_rails")
    assert event.before is not None
    assert event.before["usage_ended"] == "hold"
    assert "1 of 5 guard rails are off" in admin.page("/settings").one("main").text


def test_saving_what_was_shown_changes_nothing(app: Flask, admin: Client) -> None:
    for path in ("/settings/safety", "/settings/schedule", "/settings/default-product"):
        assert admin.fill(path, {}, button="Save").status_code == 303
    assert events(app, "settings.change") == []


@pytest.mark.parametrize("value", ["-1", "101", "many", "NaN", "Infinity", "1e9"])
def test_a_percentage_that_is_none_is_refused(app: Flask, admin: Client, value: str) -> None:
    answer = admin.fill("/settings/safety", {"decrease_percent": value}, button="Save")
    assert answer.status_code == 422
    page = page_of(answer)
    assert page.one(id="decrease_percent-error").text
    assert page.one("input", name="decrease_percent")["value"] == value
    assert str(installation_of(app).settings().guard_rails.decrease_percent) == "30"


def test_two_people_do_not_overwrite_each_other_unseen(
    app: Flask, admin: Client, sign_in: SignIn
) -> None:
    old = admin.page("/settings/safety").one("input", name="seen")["value"]
    other = sign_in(app, "admin")
    other.fill("/settings/safety", {"usage_ended": "zero"}, button="Save")
    values = {
        "seen": old,
        "usage_ended": "cancel",
        "missing_mapping": "hold",
        "effective_date": "today",
    }
    answer = admin.post("/settings/safety", data=values)
    assert answer.status_code == 422
    page = page_of(answer)
    assert "Somebody else changed this page meanwhile. Nothing was saved." in page.text
    assert "Usage ended: Set the quantity to 0" in page.text
    assert installation_of(app).settings().usage_ended == "zero"
    again = {**values, "seen": page.one("input", name="seen")["value"]}
    assert admin.post("/settings/safety", data=again).status_code == 303
    assert installation_of(app).settings().usage_ended == "cancel"


def test_read_only_of_the_environment_is_locked(make: Make, sign_in: SignIn) -> None:
    app = make(READ_ONLY="true")
    client = sign_in(app, "admin")
    page = client.page("/settings/safety")
    assert page.all(name="read_only") == []
    assert "TALLYBRIDGE_READ_ONLY" in page.one("main").text
    assert client.fill("/settings/safety", {"usage_ended": "zero"}).status_code == 303
    assert installation_of(app).settings().read_only
    with installation_of(app).reading() as session:
        assert session.get(models.Setting, "read_only") is None


# --- schedule -----------------------------------------------------------------------------------


def test_the_schedule_is_kept_and_shown_in_words(app: Flask, admin: Client) -> None:
    values = {"when": "monthly", "day": "28", "time": "23:59", "timezone": "Europe/Berlin"}
    assert admin.fill("/settings/schedule", values, button="Save").status_code == 303
    text = admin.page("/settings").one("main").text
    assert "Once a month, on day 28 at 23:59 (Europe/Berlin)" in text
    assert "Next: Sat 28 Nov 2026 23:59 (Europe/Berlin)" in text
    page = admin.page("/settings/schedule").one("main").text
    assert "Sat 28 Nov 2026 23:59 (Europe/Berlin)" in page
    assert "The scheduler is not running" in page  # nor does it, in this test


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("day", "0"),
        ("day", "29"),
        ("day", ""),
        ("time", "24:00"),
        ("time", "6:00"),
        ("time", ""),
        ("timezone", "Mars/Base"),
        ("timezone", "../etc/passwd"),
        ("timezone", ""),
        ("when", "whenever"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_beside_its_field(
    app: Flask, admin: Client, field: str, value: str
) -> None:
    before = installation_of(app).settings()
    answer = admin.fill("/settings/schedule", {field: value}, button="Save")
    assert answer.status_code == 422
    assert page_of(answer).one(id=f"{field}-error").text
    assert installation_of(app).settings() == before


# --- the default product ------------------------------------------------------------------------


def test_names_that_connectwise_has_are_kept(app: Flask, admin: Client, sandbox: Sandbox) -> None:
    category = next(iter(sandbox.connectwise.categories.rows.values()))["name"]
    values = {"category": category, "taxable": "yes"}
    answer = admin.fill("/settings/default-product", values, button="Save")
    assert answer.status_code == 303
    product = installation_of(app).settings().default_product
    assert (product.category, product.taxable) == (category, True)


def test_a_name_that_connectwise_does_not_have_is_refused(app: Flask, admin: Client) -> None:
    values = {"category": "<b>None</b>", "unit": "Gallon of air"}
    answer = admin.fill("/settings/default-product", values, button="Save")
    assert answer.status_code == 422
    page = page_of(answer)
    assert "no active category named <b>None</b>" in page.one(id="category-error").text
    assert "Nothing was changed" in page.one(id="unit-error").text
    assert installation_of(app).settings().default_product.category is None


def test_names_are_kept_unchecked_when_connectwise_cannot_be_asked(
    make: Make, sign_in: SignIn
) -> None:
    app = make(full=False, vendors=False)
    client = sign_in(app, "admin")
    assert client.fill("/settings/default-product", {"type": "X"}).status_code == 303
    text = client.page("/settings/default-product").one("main").text
    assert "The names could not be compared with ConnectWise" in text
    assert "could not be read" in client.get("/settings/default-product/choices", htmx=True).text


def test_an_identifier_without_the_code_is_refused(app: Flask, admin: Client) -> None:
    answer = admin.fill("/settings/default-product", {"identifier": "Sophos-all"}, button="Save")
    assert answer.status_code == 422
    assert "{code}" in page_of(answer).one(id="identifier-error").text
    assert installation_of(app).settings().default_product.identifier == "Sophos_{code}"


def test_connectwise_names_are_offered(admin: Client) -> None:
    fragment = page_of(admin.get("/settings/default-product/choices", htmx=True))
    assert len(fragment.one("datalist", id="type-names").all("option")) > 1
    admin.page("/settings/default-product/choices")
