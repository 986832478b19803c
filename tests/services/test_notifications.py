"""Telling people: everything once, in one message, whatever is down."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.engine import Engine

import models
from config import load_config
from models import ChangeState, RunState, SlotState
from services.installation import Installation
from services.monitoring import notices, notifications
from services.monitoring.delivery import UnusableAddressError, check_address, deliver
from services.monitoring.notices import credential_expires, due, months_later, plain
from services.monitoring.notification_sender import may_connect, may_open
from services.monitoring.notifications import (
    TargetError,
    add_target,
    digest,
    notify_tick,
    remove_target,
    send_digest,
    targets,
    undelivered,
)
from services.secrets import Vault
from services.settings import AppSettings, Notifications, Schedule, store_settings
from services.sync.model import ChangeKind
from tests.databases import url_of

ROOT = Path(__file__).resolve().parents[2]
NOW = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
MINUTE, HOUR, DAY = (dt.timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
KEY = Fernet.generate_key().decode()


class Receiver:
    """A web hook on loopback: what came, and what it answers."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(json.loads(body))
                self.send_response(receiver.status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.place = f"127.0.0.1:{self.server.server_port}"
        self.url = f"json://user:hush-hush@{self.place}/hook"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.stop()


@pytest.fixture
def here(engine: Engine, receiver: Receiver, tmp_path: Path) -> Installation:
    environment = {
        "TALLYBRIDGE_DATA_DIR": str(tmp_path),
        "TALLYBRIDGE_ALLOWED_NOTIFICATION_HOSTS": receiver.place,
    }
    return Installation(load_config(environment), engine, Vault([KEY]))


def add(here: Installation, *rows: models.Base) -> None:
    with here.session() as session, session.begin():
        session.add_all(rows)


def target(here: Installation, url: str, name: str = "chat", at: dt.datetime | None = None) -> None:
    """As add_target, but without asking the library and at a moment of our own."""
    with here.session() as session, session.begin():
        row = models.NotificationTarget(name=name, sealed_url="", created_at=at or NOW - 20 * HOUR)
        session.add(row)
        session.flush()
        row.sealed_url = here.vault.seal(f"notification:{row.id}", url)


def run_row(**changes: Any) -> models.SyncRun:
    values = {"trigger": "schedule", "actor": "schedule", "month": "2026-11", "fingerprint": "f"}
    ended = changes.pop("ended_at", NOW)
    return models.SyncRun(
        **{**values, "state": RunState.SUCCEEDED, "started_at": ended, "ended_at": ended, **changes}
    )


def held(run_id: int, agreement_id: int, after: int = 5) -> models.Change:
    return models.Change(
        run_id=run_id, kind=ChangeKind.UPDATE, state=ChangeState.HELD, tenant_id="t",
        agreement_id=agreement_id, after=Decimal(after), reason="r", held="because",
    )  # fmt: skip


def settings(**changes: Any) -> AppSettings:
    return AppSettings(notifications=Notifications(**changes))


def told(here: Installation, now: dt.datetime = NOW, using: AppSettings | None = None) -> list[str]:
    """The messages that are due."""
    with here.reading() as session:
        return [each.message for each in due(session, using or settings(), now)]


def message(receiver: Receiver) -> str:
    (one,) = receiver.got
    return str(one["message"])


# --- what is told -------------------------------------------------------------------------------


def test_runs_that_failed_or_were_interrupted(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url, at=NOW - DAY)
    add(
        here,
        run_row(state=RunState.FAILED, message="ConnectWise said <b>no</b>"),
        run_row(state=RunState.INTERRUPTED, month=None, actor="anna"),
        run_row(state=RunState.FAILED, ended_at=NOW - 2 * DAY),  # before anybody wanted to know
        run_row(state=RunState.NOT_READY),
        run_row(),
    )
    assert told(here) == [
        "Run 1 for 2026-11, started by schedule, failed.",
        "Run 2, started by anna, was interrupted.",
    ]


def test_changes_that_wait_are_told_once_until_others_wait(
    here: Installation, receiver: Receiver
) -> None:
    target(here, receiver.url)
    add(here, run_row(), held(1, 10), held(1, 11))
    notify_tick(here, NOW)
    assert "Run 1: 2 changes wait for a decision." in message(receiver)
    add(here, run_row(), held(2, 11), held(2, 10))  # the same, planned again
    notify_tick(here, NOW + HOUR)
    assert len(receiver.got) == 1
    with here.session() as session, session.begin():  # one of them is decided
        session.execute(
            sa.update(models.Change).where(models.Change.id == 3).values(state=ChangeState.APPLIED)
        )
    add(here, run_row(), held(3, 10, after=6))
    notify_tick(here, NOW + 2 * HOUR)
    assert len(receiver.got) == 2
    assert "Run 3: 1 change waits" in receiver.got[1]["message"]


def usage(here: Installation) -> None:
    """Two products and two customers, one each that nobody mapped."""
    made = {"first_seen_at": NOW}
    add(
        here,
        models.UsageReport(month="2026-11", fingerprint="x", read_at=NOW, tenant_ids=[]),
        models.ProductMapping(
            product_key="A", product_name="Known", last_month="2026-11", catalog_item_id=1, **made
        ),
        models.ProductMapping(
            product_key="B", product_name="New @everyone", last_month="2026-11", **made
        ),
        models.TenantMapping(tenant_id="t1", tenant_name="Acme", agreement_id=1, **made),
        models.TenantMapping(tenant_id="t2", tenant_name="<!channel> Ltd\nx", **made),
    )
    lines = [("t1", "A", 5), ("t1", "B", 3), ("t2", "A", 1)]
    add(
        here,
        *(
            models.UsageLine(
                report_id=1, tenant_id=t, product_key=p, product_name="n", quantity=Decimal(q)
            )
            for t, p, q in lines
        ),
    )


def test_products_and_customers_without_a_mapping(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    usage(here)
    assert told(here) == [
        "New (at)everyone (B): 3 seats without a ConnectWise product.",
        "Ltd x: 1 seat without an agreement.",
    ]


def test_names_address_nobody_in_a_chat() -> None:
    assert plain("@here `x` <@U123> " + "y" * 200).startswith("(at)here 'x'")
    assert not set(plain("@a <b <c> `d`\n\x1b[2J")) & set("@<>`\n\x1b")
    assert len(plain("z" * 500)) <= 80


@pytest.mark.parametrize(
    ("schedule", "silent", "hours", "expected"),
    [
        ("daily", 35 * HOUR, None, False),
        ("daily", 36 * HOUR, None, True),
        ("invoice", 37 * HOUR, None, True),
        ("monthly", 32 * DAY, None, False),
        ("monthly", 33 * DAY, None, True),
        ("daily", 3 * HOUR, 2, True),
        ("daily", 37 * HOUR, 48, False),
        ("by_hand", 400 * DAY, None, False),
    ],
)
def test_no_good_run_for_long(
    here: Installation,
    receiver: Receiver,
    schedule: Any,
    silent: dt.timedelta,
    hours: int | None,
    expected: bool,
) -> None:
    target(here, receiver.url, at=NOW - 500 * DAY)
    add(here, run_row(ended_at=NOW - silent), run_row(state=RunState.PLANNED))
    using = AppSettings(
        schedule=Schedule(when=schedule), notifications=Notifications(no_good_run_hours=hours)
    )
    found = told(here, using=using)
    assert bool(found) is expected
    if expected:
        assert "the last one ended 2026-1" in found[0]


def test_a_look_that_found_nothing_new_is_good(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url, at=NOW - 90 * DAY)
    add(here, run_row(ended_at=NOW - 20 * DAY))
    assert len(told(here)) == 1
    add(
        here,
        models.ScheduledSlot(
            key="k", due_at=NOW, state=SlotState.DONE, started_at=NOW, ended_at=NOW - HOUR
        ),
    )
    assert told(here) == []


def test_read_only_a_plan_is_good(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url, at=NOW - 90 * DAY)
    add(here, run_row(state=RunState.PLANNED))
    assert told(here, using=AppSettings(read_only=True)) == []
    assert len(told(here)) == 1


def test_before_the_first_run_it_is_missed_from_the_first_target_on(
    here: Installation, receiver: Receiver
) -> None:
    target(here, receiver.url, at=NOW - 35 * HOUR)
    assert told(here) == []
    assert told(here, NOW + HOUR) == ["No run has ended well for 36 hours; there was none yet."]


@pytest.mark.parametrize(
    ("left", "key"),
    [(61, None), (60, "60"), (31, "60"), (30, "30"), (7, "7"), (1, "7"), (0, "0"), (-5, "0")],
)
def test_a_credential_about_to_expire(
    here: Installation, receiver: Receiver, left: int, key: str | None
) -> None:
    target(here, receiver.url)
    using = settings(
        no_good_run=False, sophos_credential_expires=NOW.date() + dt.timedelta(days=left)
    )
    with here.reading() as session:
        found = [each.key.rsplit(" ", 1)[1] for each in due(session, using, NOW)]
    assert found == ([key] if key else [])


def test_without_a_day_it_is_counted_from_when_the_secret_was_stored(here: Installation) -> None:
    with here.reading() as session:
        assert credential_expires(session, settings()) is None
    value = models.ConnectionValue(
        name="sophos_client_secret", value="x", secret=True, updated_at=NOW
    )
    add(here, value)
    with here.reading() as session:
        assert credential_expires(session, settings()) == dt.date(2029, 11, 22)
    assert months_later(dt.date(2024, 2, 29), 36) == dt.date(2027, 2, 28)
    assert months_later(dt.date(2026, 12, 31), 36) == dt.date(2029, 12, 31)


def test_what_is_switched_off_is_not_told(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    usage(here)
    add(here, run_row(state=RunState.FAILED), held(1, 10))
    off = dict.fromkeys((kind.setting for kind in notices.KINDS.values()), False)
    assert told(here, using=settings(**off)) == []
    assert len(told(here, using=settings(**{**off, "held": True}))) == 1


def test_without_a_target_nothing_is_kept(here: Installation) -> None:
    usage(here)
    notify_tick(here, NOW)
    with here.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(models.Notice)) == 0


# --- one message --------------------------------------------------------------------------------


def test_fifty_things_are_one_message(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    usage(here)
    add(here, *(run_row(state=RunState.FAILED) for _ in range(48)))
    notify_tick(here, NOW)
    (one,) = receiver.got
    assert one["title"] == "Tallybridge: 50 things to look at"
    text = one["message"]
    assert text.startswith("Runs that failed\n- Run 1 for 2026-11")
    assert "- and 38 more\n\nProducts that are not billed\n- New" in text
    notify_tick(here, NOW + 2 * HOUR)
    assert len(receiver.got) == 1


def test_a_run_in_progress_is_waited_for(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    usage(here)
    add(here, run_row(state=RunState.RUNNING, ended_at=None, started_at=NOW))
    notify_tick(here, NOW + MINUTE)
    assert receiver.got == []
    notify_tick(here, NOW + 3 * HOUR)  # nobody has such a long run: it has died
    assert len(receiver.got) == 1


def test_a_target_that_is_down_is_tried_again_ever_more_seldom(
    here: Installation, receiver: Receiver
) -> None:
    receiver.status = 503
    target(here, receiver.url)
    add(here, run_row(state=RunState.FAILED))
    tried = []
    for minute in range(0, 130):
        before = len(receiver.got)
        if minute in (0, 1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 30, 31, 62, 63, 121, 123):
            notify_tick(here, NOW + minute * MINUTE)
        if len(receiver.got) > before:
            tried.append(minute)
    assert tried == [0, 1, 3, 7, 15, 31, 63, 123]
    with here.reading() as session:
        (state,) = targets(session, here.vault)
        assert undelivered(session, NOW + 2 * HOUR) == 1
    assert state.last_error == "The service refused the message: 503 (Service Unavailable)."
    receiver.status, receiver.got = 200, []
    notify_tick(here, NOW + 5 * HOUR)
    assert "Run 1" in message(receiver)
    with here.reading() as session:
        assert targets(session, here.vault)[0].last_error is None
        assert undelivered(session, NOW + 9 * HOUR) == 0


def test_after_a_week_nobody_is_told_any_more(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    notice = models.Notice(at=NOW - 8 * DAY, kind="run_failed", key="run-failed 1", message="m")
    add(here, notice)
    assert not send_digest(here, NOW)
    assert receiver.got == []
    with here.reading() as session:
        assert undelivered(session, NOW) == 1


def test_one_target_that_works_is_enough(here: Installation, receiver: Receiver) -> None:
    target(here, "json://127.0.0.1:9/nobody", name="dead")
    target(here, receiver.url)
    add(here, run_row(state=RunState.FAILED))
    notify_tick(here, NOW)
    notify_tick(here, NOW + 2 * HOUR)
    assert len(receiver.got) == 1
    with here.reading() as session:
        chat, dead = targets(session, here.vault)
    assert (chat.last_sent_at, chat.last_error) == (NOW, None)
    assert dead.last_sent_at is None
    assert "TALLYBRIDGE_ALLOWED_NOTIFICATION_HOSTS" in str(dead.last_error)


def test_a_message_is_claimed_by_one(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    add(here, run_row(state=RunState.FAILED))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: notify_tick(here, NOW), range(4)))
    assert len(receiver.got) == 1


CHILD = """
import datetime as dt, sys, sqlalchemy as sa
from config import load_config
from services.database import configure
from services.installation import Installation
from services.monitoring.notifications import notify_tick
from services.secrets import Vault
import os
config = load_config(os.environ)
engine = sa.create_engine(config.sqlalchemy_url)
configure(engine)
here = Installation(config, engine, Vault([config.encryption_key[0].get_secret_value()]))
print("ready", flush=True)
sys.stdin.readline()
for minute in range(3):
    notify_tick(here, dt.datetime(2026, 11, 22, 9, 30 + minute, tzinfo=dt.UTC))
"""


@pytest.mark.slow
def test_two_processes_send_one_message(
    here: Installation, receiver: Receiver, tmp_path: Path
) -> None:
    target(here, receiver.url)
    usage(here)
    environment = {
        "PATH": os.environ["PATH"],
        "TALLYBRIDGE_DATA_DIR": str(tmp_path),
        "TALLYBRIDGE_DATABASE_URL": url_of(here.engine),
        "TALLYBRIDGE_ENCRYPTION_KEY": KEY,
        "TALLYBRIDGE_ALLOWED_NOTIFICATION_HOSTS": receiver.place,
    }
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD],
            cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for each in both:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in both:
        each.communicate("go\n", timeout=60)
    assert [each.returncode for each in both] == [0, 0]
    assert len(receiver.got) == 1


def test_nothing_that_fails_here_fails_its_caller(
    here: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    target(here, receiver.url)
    with here.session() as session, session.begin():
        session.execute(sa.text("DROP TABLE notices"))
    notify_tick(here, NOW)


def test_a_digest_names_one_thing_in_the_singular() -> None:
    row = models.Notice(kind="held", message="Run 1: 1 change waits.")
    assert digest([row]) == (
        "Tallybridge: 1 thing to look at",
        "Changes that wait for you\n- Run 1: 1 change waits.",
    )


# --- targets ------------------------------------------------------------------------------------


def test_an_address_is_kept_encrypted_and_never_shown(
    here: Installation, receiver: Receiver
) -> None:
    add_target(here, " Billing ", receiver.url, actor="anna")
    with here.reading() as session:
        (shown,) = targets(session, here.vault)
        row = session.scalars(sa.select(models.NotificationTarget)).one()
        event = session.scalars(sa.select(models.AuditEvent)).one()
        assert here.vault.open("notification:1", row.sealed_url) == receiver.url
    assert (shown.name, shown.service) == ("Billing", "json")
    assert "hush" not in row.sealed_url + repr(shown) + str(event.after)
    assert (event.action, event.after) == ("notification.add", {"service": "json"})
    assert notifications.test_target(here, 1).sent
    assert "This is a test" in message(receiver)
    assert remove_target(here, 1, actor="anna") == "Billing"
    with pytest.raises(TargetError, match="gone"):
        remove_target(here, 1, actor="anna")


def test_a_name_is_taken_once_and_there_is_a_bound(
    here: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "check_address", lambda url: None)
    add_target(here, "chat", receiver.url, actor="anna")
    with pytest.raises(TargetError, match="already") as caught:
        add_target(here, "chat", receiver.url, actor="anna")
    assert caught.value.field == "name"
    monkeypatch.setattr(notifications, "MOST_TARGETS", 1)
    with pytest.raises(TargetError, match="Remove one first"):
        add_target(here, "other", receiver.url, actor="anna")


def test_with_another_key_it_is_said_and_the_others_are_told(
    here: Installation, receiver: Receiver
) -> None:
    target(here, receiver.url)
    other = Installation(here.config, here.engine, Vault([Fernet.generate_key().decode()]))
    result = notifications.test_target(other, 1)
    assert "cannot be read with the present key" in result.problem
    with other.reading() as session:
        assert targets(session, other.vault)[0].service == "unreadable"


REFUSED = [
    "not an address", "https://hooks.example/x", "file:///etc/passwd", "syslog://", "dbus://",
    "windows://", "macosx://", "gnome://", "kde://", "glib://", "rsyslog://10.0.0.1", "mqtt://x",
    "JSON:// host", "json://", "slack://x", "tgram://1:a/2?template=/etc/passwd",
    "mailtos://u:p@example.com?pgpkey=/etc/passwd", "fcm://x/y?keyfile=/etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_what_is_no_service_of_the_network_is_refused(url: str) -> None:
    with pytest.raises(UnusableAddressError) as caught:
        check_address(url)
    assert url.partition("://")[2] not in str(caught.value) or not url.partition("://")[2]


# --- the sender is locked in --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        (("10.0.0.5", 443), True),
        (("192.168.1.9", 80), True),
        (("203.0.113.9", 443), True),
        (("127.0.0.1", 80), False),
        (("127.0.0.1", 8080), True),  # named below
        (("::1", 80, 0, 0), False),
        (("::ffff:127.0.0.1", 80, 0, 0), False),
        (("169.254.169.254", 80), False),
        (("fe80::1%eth0", 80, 0, 2), False),
        (("fd00:ec2::254", 80, 0, 0), False),
        (("100.100.100.200", 80), False),
        (("0.0.0.0", 80), False),
        (("224.0.0.1", 80), False),
        (("localhost", 80), False),
        ("/run/dbus.sock", False),
    ],
)
def test_where_it_may_connect(address: Any, allowed: bool) -> None:
    assert may_connect(address, frozenset({"127.0.0.1:8080"})) is allowed


def test_what_it_may_open() -> None:
    inside = ("/venv/",)
    assert may_open(("/venv/lib/cacert.pem", "r", 0), inside)
    assert may_open((5, "w", 0), inside)
    assert not may_open(("/venv/lib/x", "w", 0), inside)
    assert not may_open(("/venv/lib/x", None, os.O_WRONLY), inside)
    assert not may_open(("/venv/../etc/passwd", "r", 0), inside)
    assert not may_open(("/etc/passwd", "r", 0), inside)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.status = 302
    (result,) = deliver([f"{receiver.url}?redirect=yes"], "t", "b", allowed=[receiver.place])
    assert result.problem == "The service refused the message: 302 (Found)."


def test_a_service_that_is_silent_does_not_hold_up_for_long() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as deaf:  # never accepts
        place = f"127.0.0.1:{deaf.server_port}"
        (result,) = deliver([f"json://{place}/?rto=60"], "t", "b", allowed=[place], patience=4)
    assert result.problem == "The service did not answer within 4 seconds."


def test_settings_are_stored_like_all_others(here: Installation) -> None:
    chosen = settings(held=False, sophos_credential_expires=dt.date(2027, 1, 31))
    with here.session() as session, session.begin():
        store_settings(session, chosen)
    assert here.settings() == chosen
    assert notices.told_kinds(chosen) == set(notices.KINDS) - {"held"}
