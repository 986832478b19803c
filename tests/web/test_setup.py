"""The first account: who may make it, how often, and what is shown before there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

import models
from models import Role
from services.first_run import setup_code
from services.installation import Installation
from tests.web.client import Client, page_of
from tests.web.first_run import ACCOUNT, CODE, PASSWORD, current, users
from tests.web.world import clock_of, installation_of

Make = Callable[..., Flask]


# --- the first account --------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/sign-in", "/settings/psa", "/runs", "/set-up/products"])
def test_before_there_is_an_account_every_page_leads_to_the_set_up(
    browser: Client, path: str
) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.location) == (303, "/set-up")


def test_what_needs_no_account_answers_as_ever(browser: Client) -> None:
    assert browser.get("/icons.svg").status_code == 200
    answer = browser.get("/static/app.css")
    answer.close()
    assert answer.status_code == 200
    assert browser.get("/no-such-page").status_code == 404
    assert browser.get("/api/v1/runs").status_code == 401
    assert browser.get("/healthz").location is None


def test_the_code_makes_the_first_administrator_and_signs_in(fresh: Flask, browser: Client) -> None:
    answer = browser.fill("/set-up", ACCOUNT)
    assert (answer.status_code, answer.location) == (303, "/set-up/sophos")
    (user,) = users(fresh)
    assert (user.name, user.role) == ("anna", Role.ADMIN)
    assert current(browser.page("/set-up/sophos")).endswith("Sophos")
    with installation_of(fresh).reading() as session:
        (event,) = session.scalars(sa.select(models.AuditEvent))
    assert (event.actor, event.action, event.subject) == ("set-up", "user.create", "user anna")


@pytest.mark.parametrize("typed", ["7k2m q0zd 4xwn", "7K2MQOZD4XWN", " 7k2m-qozd-4xwn "])
def test_a_code_may_be_typed_as_it_was_heard(fresh: Flask, browser: Client, typed: str) -> None:
    assert browser.fill("/set-up", {**ACCOUNT, "code": typed}).status_code == 303
    assert len(users(fresh)) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"code": "AAAA-AAAA-AAAA"}, "This is not the code"),
        ({"code": ""}, "Enter the code."),
        ({"code": "none"}, "This is not the code"),
        ({"name": ""}, "Enter a name."),
        ({"name": "   "}, "The name must have"),
        ({"password": "passwordpassword", "again": "passwordpassword"}, "password"),
        ({"password": "short", "again": "short"}, "at least 12 characters"),
        ({"again": "another password"}, "The two passwords are not the same."),
    ],
)
def test_what_is_wrong_is_said_and_kept(
    fresh: Flask, browser: Client, change: dict[str, str], said: str
) -> None:
    answer = browser.fill("/set-up", {**ACCOUNT, **change})
    assert answer.status_code == 422
    page = page_of(answer)
    assert said in page.text
    assert PASSWORD not in answer.text
    assert users(fresh) == []
    assert browser.fill("/set-up", ACCOUNT).status_code == 303


def test_guessing_the_code_is_slowed_down_even_for_the_right_one(
    fresh: Flask, browser: Client
) -> None:
    wrong = {**ACCOUNT, "code": "0000-0000-0000"}
    for _ in range(setup_code.LIMITS[0].attempts):
        assert browser.fill("/set-up", wrong).status_code == 422
    assert browser.fill("/set-up", ACCOUNT).status_code == 429
    assert users(fresh) == []
    clock_of(fresh).forward(minutes=16)
    assert browser.fill("/set-up", ACCOUNT).status_code == 303


def test_many_addresses_guess_no_faster(fresh: Flask, browser: Client) -> None:
    now = installation_of(fresh).now()
    with installation_of(fresh).session() as session, session.begin():
        for number in range(setup_code.LIMITS[1].attempts):
            session.add(
                models.LoginAttempt(at=now, account="set-up code", address=f"192.0.2.{number}")
            )
    assert browser.fill("/set-up", ACCOUNT).status_code == 429


def test_a_new_start_says_a_new_code_and_the_old_one_is_worthless(
    fresh: Flask, browser: Client
) -> None:
    here = installation_of(fresh)
    line = setup_code.welcome(here, "1111-2222-3333", "http://0.0.0.0:8000")
    assert line == "Set-up code: 1111-2222-3333 (open http://localhost:8000/set-up)"
    assert browser.fill("/set-up", ACCOUNT).status_code == 422
    assert browser.fill("/set-up", {**ACCOUNT, "code": "1111-2222-3333"}).status_code == 303


def test_another_worker_of_the_same_start_says_nothing_and_changes_nothing(
    fresh: Flask, browser: Client
) -> None:
    assert setup_code.welcome(installation_of(fresh), CODE, "http://127.0.0.1:8000") is None
    assert browser.fill("/set-up", ACCOUNT).status_code == 303


def test_only_a_hash_of_the_code_is_kept_and_for_us_alone(fresh: Flask) -> None:
    file = installation_of(fresh).config.data_dir / setup_code.FILE
    assert file.stat().st_mode & 0o077 == 0
    assert CODE not in file.read_text(encoding="ascii")
    assert CODE.replace("-", "") not in file.read_text(encoding="ascii")


def test_without_a_code_the_page_says_what_to_do(fresh: Flask, browser: Client) -> None:
    setup_code.forget_code(installation_of(fresh).config)
    assert "The server has said no set-up code" in browser.page("/set-up").text
    for code in (CODE, "none", "0"):
        assert browser.fill("/set-up", {**ACCOUNT, "code": code}).status_code == 422
    assert users(fresh) == []


def gone(client: Client) -> None:
    """The route takes nothing and shows nothing any more."""
    for answer in (client.get("/set-up"), client.post("/set-up", data=ACCOUNT)):
        assert answer.status_code == 303
        assert answer.location == "/"
    assert client.get("/").location.startswith("/sign-in")


def test_once_there_is_an_administrator_the_page_is_gone(fresh: Flask, anna: Client) -> None:
    other = fresh.test_client()
    assert isinstance(other, Client)
    gone(other)
    assert len(users(fresh)) == 1
    file = installation_of(fresh).config.data_dir / setup_code.FILE
    assert not file.exists()


def test_an_account_made_on_the_command_line_ends_it_too(fresh: Flask, browser: Client) -> None:
    done = fresh.test_cli_runner().invoke(
        args=["users", "create", "ben", "--role", "viewer"], input=f"{PASSWORD}\n"
    )
    assert done.exit_code == 0, done.output
    gone(browser)
    assert [user.name for user in users(fresh)] == ["ben"]
    assert setup_code.welcome(installation_of(fresh), "1111-2222-3333", "") is None
    assert not (installation_of(fresh).config.data_dir / setup_code.FILE).exists()


def test_of_two_browsers_at_the_same_moment_one_makes_the_administrator(fresh: Flask) -> None:
    clients = [fresh.test_client() for _ in range(6)]
    pages = [client.page("/set-up") for client in clients if isinstance(client, Client)]
    tokens = [page.all("input", name="csrf_token")[0]["value"] for page in pages]
    answers: list[TestResponse] = []
    start = threading.Barrier(len(clients))

    def send(number: int) -> None:
        data = {**ACCOUNT, "name": f"anna{number}", "csrf_token": tokens[number]}
        start.wait()
        client = clients[number]
        assert isinstance(client, Client)
        answers.append(client.post("/set-up", data=data, csrf=False))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(users(fresh)) == 1
    assert sorted(answer.status_code for answer in answers).count(303) >= 1
    led_on = [answer for answer in answers if answer.location == "/set-up/sophos"]
    assert len(led_on) == 1


def test_the_service_itself_lets_only_one_of_them_through(fresh: Flask) -> None:
    here, outcomes, start = installation_of(fresh), [], threading.Barrier(6)

    def make_one(number: int) -> None:
        attempt = setup_code.check_code(
            here.session, here.config, code=CODE, address="192.0.2.1", now=here.now()
        )
        start.wait()
        try:
            with here.session() as session, session.begin():
                setup_code.make_first_administrator(
                    session, attempt or 0, name=f"anna{number}", password=PASSWORD, now=here.now()
                )
            outcomes.append("made")
        except setup_code.AlreadySetUpError:
            outcomes.append("too late")

    threads = [threading.Thread(target=make_one, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["made", *["too late"] * 5]
    assert len(users(fresh)) == 1


def test_the_code_stands_in_no_address_and_in_no_page(browser: Client) -> None:
    assert CODE not in browser.get("/set-up").text
    assert browser.get("/set-up", query_string={"code": CODE}).text.count(CODE) == 0


# --- from the environment -----------------------------------------------------------------------


def named(make: Make, **changes: str) -> Installation:
    app = make(full=False, vendors=False, **changes)
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.User))
    return installation_of(app)


def names(here: Installation) -> list[str]:
    with here.reading() as session:
        return list(session.scalars(sa.select(models.User.name)))


def test_the_environment_can_name_the_first_administrator(make: Make) -> None:
    here = named(make, ADMIN_NAME="root", ADMIN_PASSWORD=PASSWORD)
    assert setup_code.welcome(here, CODE, "http://127.0.0.1:8000") is None
    assert names(here) == ["root"]
    assert setup_code.welcome(here, CODE, "http://127.0.0.1:8000") is None
    assert names(here) == ["root"]


def test_it_never_changes_an_account_that_is_there(make: Make) -> None:
    here = installation_of(make(full=False, ADMIN_NAME="admin", ADMIN_PASSWORD=PASSWORD))
    before = names(here)
    assert setup_code.welcome(here, CODE, "") is None
    assert names(here) == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "http://127.0.0.1:8000/set-up"),
        ({"TRUSTED_HOSTS": "tally.example"}, "http://tally.example/set-up"),
        ({"TRUSTED_HOSTS": "tally.example", "PROXY_HOPS": "1"}, "https://tally.example/set-up"),
    ],
)
def test_the_server_says_where_the_page_is(make: Make, changes: dict[str, str], said: str) -> None:
    line = setup_code.welcome(named(make, **changes), CODE, "http://127.0.0.1:8000")
    assert line == f"Set-up code: {CODE} (open {said})"


def test_a_code_is_twelve_letters_of_sixty_bits() -> None:
    assert setup_code.code_from(bytes(8)) == "0000-0000-0000"
    assert setup_code.code_from(b"\xff" * 8) == "ZZZZ-ZZZZ-ZZZZ"
    codes = {setup_code.code_from((1 << bit).to_bytes(8)) for bit in range(60)}
    assert len(codes) == 60


def test_without_passwords_there_is_no_set_up_by_code(make: Make) -> None:
    proxy = {"SIGN_IN_HEADER": "X-Remote-User", "SIGN_IN_PROXIES": "127.0.0.1"}
    app = make(full=False, vendors=False, LOCAL_LOGIN="false", **proxy)
    with installation_of(app).session() as session, session.begin():
        session.execute(sa.delete(models.User))
    assert setup_code.welcome(installation_of(app), CODE, "") is None
    client = app.test_client()
    assert client.get("/").location.startswith("/sign-in")
    assert client.get("/set-up").location == "/"
