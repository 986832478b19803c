"""The steps of the first run, as a browser without JavaScript goes through them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from blueprints.setup import progress_now
from models import Role
from sandbox import Fault, Sandbox
from services.first_run import setup
from services.people.accounts import create_user
from tests.web.client import Client, page_of
from tests.web.first_run import ACCOUNT, PASSWORD, current, settle, ticked, values, without_users
from tests.web.world import installation_of

Make = Callable[..., Flask]


# --- the steps ----------------------------------------------------------------------------------


STEPS = ("sophos", "connectwise", "default-product", "products", "customers", "preview")


def done(app: Flask) -> int:
    """How many steps the overview says are done."""
    with app.test_request_context():
        return progress_now().done


def connect(app: Flask, client: Client, sandbox: Sandbox) -> None:
    for vendor in ("sophos", "connectwise"):
        answer = client.fill(f"/set-up/{vendor}", values(sandbox, vendor), button="Save and test")
        assert answer.location == f"/set-up/{vendor}"
    settle(app)


def test_the_whole_way_from_nothing_to_a_preview(
    fresh: Flask, anna: Client, sandbox: Sandbox
) -> None:
    assert done(fresh) == 1
    connect(fresh, anna, sandbox)
    assert "all good" in anna.page("/set-up/connectwise").text
    assert done(fresh) == 3

    answer = anna.fill("/set-up/default-product", {}, button="Save and go on")
    assert answer.location == "/set-up/products"
    settle(fresh)
    page = anna.page("/set-up/products")
    assert "suggestions" in page.text
    answer = anna.fill("/set-up/products", ticked(page), button="Accept and switch sync on")
    assert answer.location == "/set-up/products"
    assert "mapped." in anna.page("/set-up/products").text
    assert done(fresh) == 5

    answer = anna.fill("/set-up/customers", {}, button="Accept and switch sync on")
    assert answer.location == "/set-up/customers"
    assert done(fresh) == 6

    assert anna.fill("/set-up/preview", {}, button="Make a preview").location == "/set-up/preview"
    settle(fresh)
    page = anna.page("/set-up/preview")
    assert "planned only" in page.text
    assert done(fresh) == 7
    assert anna.fill("/set-up/preview", {}, button="Finish the set-up").location == "/"
    assert "Set-up:" not in anna.page("/").text
    writes = [e for e in sandbox.log.effects() if e.method != "GET"]
    assert [e.path for e in writes if "token" not in e.path] == []


def test_a_secret_is_never_shown_again(fresh: Flask, anna: Client, sandbox: Sandbox) -> None:
    connect(fresh, anna, sandbox)
    typed = values(sandbox, "sophos") | values(sandbox, "connectwise")
    for step in STEPS:
        text = anna.get(f"/set-up/{step}").text
        for name in ("sophos_client_secret", "connectwise_public_key", "connectwise_private_key"):
            assert typed[name] not in text, step


def test_wrong_keys_keep_the_step_open_and_say_why(
    fresh: Flask, anna: Client, sandbox: Sandbox
) -> None:
    wrong = values(sandbox, "sophos") | {"sophos_client_secret": "wrong"}
    anna.fill("/set-up/sophos", wrong, button="Save and test")
    settle(fresh)
    page = anna.page("/set-up/sophos")
    assert "1 of 1 failed" in page.text
    assert "Skip for now" in page.text
    assert done(fresh) == 1
    anna.fill("/set-up/sophos", values(sandbox, "sophos"), button="Save and test")
    settle(fresh)
    page = anna.page("/set-up/sophos")
    assert "all good" in page.text
    assert "Next" in page.text


def test_missing_rights_and_a_vendor_that_is_down_are_told_in_the_step(
    fresh: Flask, anna: Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("forbidden", "connectwise", path="/finance/agreements", times=None))
    anna.fill("/set-up/connectwise", values(sandbox, "connectwise"), button="Save and test")
    settle(fresh)
    page = anna.page("/set-up/connectwise")
    assert "The API member needs" in page.text
    assert "Skip for now" in page.text
    sandbox.faults.clear()
    sandbox.faults.add(Fault("error_503", "sophos", times=None))
    anna.fill("/set-up/sophos", values(sandbox, "sophos"), button="Save and test")
    settle(fresh)
    assert "failed" in anna.page("/set-up/sophos").text
    assert done(fresh) == 1


def test_a_site_that_is_not_allowed_is_refused_in_the_frame(anna: Client, sandbox: Sandbox) -> None:
    wrong = values(sandbox, "connectwise") | {"connectwise_site": "evil.example"}
    answer = anna.fill("/set-up/connectwise", wrong, button="Save and test")
    assert answer.status_code == 422
    page = page_of(answer)
    assert "no credentials are sent there" in page.text
    assert current(page).endswith("ConnectWise")
    assert page.all("input", name="connectwise_site")[0]["value"] == "evil.example"


def test_a_wrong_default_product_stays_in_the_frame(fresh: Flask, anna: Client) -> None:
    answer = anna.fill(
        "/set-up/default-product", {"identifier": "without"}, button="Save and go on"
    )
    assert answer.status_code == 422
    page = page_of(answer)
    assert "it must contain {code}" in page.text
    assert current(page).endswith("Default product")
    assert done(fresh) == 1


def test_reading_without_a_connection_says_so(anna: Client) -> None:
    answer = anna.fill("/set-up/products", {}, button="Read products and customers")
    assert answer.status_code == 409
    assert "is not set" in page_of(answer).text
    answer = anna.fill("/set-up/customers", {}, button="Read products and customers")
    assert current(page_of(answer)).endswith("Customers")
    answer = anna.fill("/set-up/preview", {}, button="Make a preview")
    assert answer.status_code == 409


def test_a_month_without_a_report_is_told(fresh: Flask, anna: Client, sandbox: Sandbox) -> None:
    connect(fresh, anna, sandbox)
    sandbox.faults.add(Fault("not_found", "sophos", path="/billing", times=None))
    anna.fill("/set-up/products", {}, button="Read products and customers")
    settle(fresh)
    page = anna.page("/set-up/products")
    assert "has no billing report for" in page.text
    assert "Usage of" not in page.text
    sandbox.faults.clear()
    assert "customers" in anna.page("/set-up/customers").text


def test_what_the_environment_sets_is_done(make: Make, sandbox: Sandbox) -> None:
    app = without_users(make(full=False))
    client = app.test_client()
    assert isinstance(client, Client)
    assert client.fill("/set-up", ACCOUNT).status_code == 303
    assert done(app) == 3
    for step in ("sophos", "connectwise"):
        page = client.page(f"/set-up/{step}")
        assert "set by the environment" in page.text
        assert "Save and test" not in page.text
        assert "Next" in page.text
    text = client.page("/").text
    assert text.count("Set by the environment.") == 2
    assert "Set-up: 3 of 7 done" in text
    assert "Go on: Default product" in text


def test_it_is_taken_up_where_it_was_left(fresh: Flask, anna: Client, sandbox: Sandbox) -> None:
    anna.page("/set-up/sophos")
    assert "Back to the set-up" in anna.page("/customers").text
    assert "Back to the set-up" not in anna.page("/").text
    assert anna.get("/set-up").location == "/set-up/sophos"
    connect(fresh, anna, sandbox)
    assert anna.get("/set-up").location == "/set-up/default_product".replace("_", "-")
    anna.post("/sign-out")
    assert anna.sign_in("anna", PASSWORD).status_code == 303
    assert "Go on: Default product" in anna.page("/").text


def test_dismissed_is_dismissed_for_everybody(fresh: Flask, anna: Client) -> None:
    anna.page("/set-up/sophos")
    assert anna.fill("/", {}, button="Dismiss").location == "/"
    assert "Set-up:" not in anna.page("/").text
    assert "Back to the set-up" not in anna.page("/customers").text
    assert anna.page("/set-up/sophos").text
    with installation_of(fresh).reading() as session:
        actions = list(session.scalars(sa.select(models.AuditEvent.action)))
    assert actions.count("setup.finish") == 1


def test_others_see_it_and_cannot_go_there(fresh: Flask, anna: Client) -> None:
    here = installation_of(fresh)
    with here.session() as session, session.begin():
        create_user(
            session, name="ben", password=PASSWORD, role=Role.OPERATOR, actor="x", now=here.now()
        )
    anna.post("/sign-out")
    anna.sign_in("ben", PASSWORD)
    page = anna.page("/")
    assert "An administrator can go on with it." in page.text
    assert not [a for a in page.all("a") if "/set-up" in a.get("href")]
    assert anna.get("/set-up").location == "/"
    for step in STEPS:
        assert anna.get(f"/set-up/{step}").status_code == 403
        assert anna.post(f"/set-up/{step}").status_code in (403, 405)
    assert anna.post("/set-up/finish").status_code == 403


# --- accepting suggestions ----------------------------------------------------------------------


@pytest.fixture
def read(fresh: Flask, anna: Client, sandbox: Sandbox) -> Client:
    """Everything connected and read, nothing mapped."""
    connect(fresh, anna, sandbox)
    anna.fill("/set-up/default-product", {}, button="Save and go on")
    settle(fresh)
    return anna


def mapped(app: Flask) -> tuple[set[str], set[str]]:
    """The Sophos products that are mapped, and the customers that have an agreement."""
    product, tenant = models.ProductMapping, models.TenantMapping
    with installation_of(app).reading() as session:
        return (
            set(session.scalars(sa.select(product.product_key).where(product.catalog_item_id > 0))),
            set(session.scalars(sa.select(tenant.tenant_id).where(tenant.agreement_id > 0))),
        )


def test_accepting_leaves_the_sync_off_unless_it_is_asked_for(fresh: Flask, read: Client) -> None:
    page = read.page("/set-up/products")
    read.fill("/set-up/products", ticked(page), button="Accept, sync stays off")
    read.fill("/set-up/customers", {}, button="Accept, sync stays off")
    assert all(mapped(fresh))
    with installation_of(fresh).reading() as session:
        assert setup.count_products(session).syncing == 0
        assert setup.count_customers(session).syncing == 0
    assert "will be empty" in read.page("/set-up/preview").text


def test_what_starts_by_itself_is_said_before_the_sync_is_switched_on(
    fresh: Flask, read: Client
) -> None:
    for step in ("products", "customers"):
        assert "with the monthly Sophos invoice" in read.page(f"/set-up/{step}").text
    assert "also if you do not, runs start by themselves" in read.page("/set-up/preview").text
    read.fill("/settings/schedule", {"when": "by_hand"}, button="Save")
    assert "Sync now writes that plan" in read.page("/set-up/products").text
    assert "Nothing starts by itself" in read.page("/set-up/preview").text


def test_only_what_is_ticked_is_accepted(fresh: Flask, read: Client) -> None:
    boxes = read.page("/set-up/products").all("input", name="accept")
    assert len(boxes) > 1
    chosen = [boxes[0]["value"]]
    read.fill("/set-up/products", {"accept": chosen}, button="Accept and switch sync on")
    assert mapped(fresh)[0] == {chosen[0].split("|", 2)[2]}
    boxes = read.page("/set-up/customers").all("input", name="accept")
    read.fill("/set-up/customers", {"accept": []}, button="Accept and switch sync on")
    assert mapped(fresh)[1] == set()


def test_what_changed_meanwhile_is_left_and_named(fresh: Flask, read: Client) -> None:
    boxes = read.page("/set-up/products").all("input", name="accept")
    version, item_id, key = boxes[0]["value"].split("|", 2)
    with installation_of(fresh).session() as session, session.begin():
        row = session.get_one(models.ProductMapping, key)
        row.sync = True
        name = row.product_name
    values = [f"{version}|{item_id}|{key}", "1|5|no such product", "rubbish"]
    answer = read.post("/set-up/products", data={"accept": values, "sync": "on"})
    assert answer.status_code == 303
    text = read.page("/set-up/products").text
    assert "Nothing was mapped." in text
    assert f"changed meanwhile: {name}" in text
    assert mapped(fresh)[0] == set()


def test_an_item_that_cannot_be_billed_is_left(fresh: Flask, read: Client) -> None:
    box = read.page("/set-up/products").all("input", name="accept")[0]
    _, item_id, _ = box["value"].split("|", 2)
    with installation_of(fresh).session() as session, session.begin():
        session.get_one(models.CatalogItem, int(item_id)).inactive = True
    read.post("/set-up/products", data={"accept": [box["value"]], "sync": "on"})
    assert mapped(fresh)[0] == set()


def test_an_unknown_customer_changes_nothing(fresh: Flask, read: Client) -> None:
    good = read.page("/set-up/customers").all("input", name="accept")[0]["value"]
    answer = read.post("/set-up/customers", data={"accept": [good, "no-such|1|2|3"]})
    assert answer.status_code == 422
    assert "Nothing was changed" in page_of(answer).text
    assert mapped(fresh)[1] == set()


def test_pressing_read_twice_is_one_run(fresh: Flask, anna: Client, sandbox: Sandbox) -> None:
    connect(fresh, anna, sandbox)
    for _ in range(2):
        anna.post("/set-up/read", data={"key": "the same", "step": "products"})
    settle(fresh)
    with installation_of(fresh).reading() as session:
        runs = session.scalars(sa.select(models.SyncRun)).all()
    assert [run.trigger for run in runs] == ["set-up"]


# --- pure progress ------------------------------------------------------------------------------


def test_progress_counts_and_names_what_is_next() -> None:
    facts = setup.Facts(connected=frozenset({"Sophos"}), products=True)
    progress = setup.progress_of(facts)
    assert (progress.done, progress.over) == (3, False)
    assert progress.next is not None
    assert progress.next.key == "connectwise"


def test_when_all_is_done_nobody_is_reminded() -> None:
    everything = setup.Facts(
        connected=frozenset({"Sophos", "ConnectWise"}),
        default_product=True,
        products=True,
        customers=True,
        previewed=True,
    )
    assert setup.progress_of(everything).over
    assert setup.progress_of(everything).next is None
    assert setup.progress_of(setup.Facts(over=True)).over
