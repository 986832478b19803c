"""Backup and restore on the page: two steps, nothing replaced unseen, nobody signed in after."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

import models
from models import Role
from services.database import exclusive, head
from services.installation import Installation
from services.upkeep.archive import BackupError
from services.upkeep.backup_files import Kind, automatic, kept
from services.upkeep.housekeeping import housekeeping
from services.upkeep.keys import new_key
from tests.web.client import PASSWORD, Client, page_of
from tests.web.world import NOW, Clock, installation_of

PAGE = "/settings/backup"
Make = Callable[..., Flask]
SignIn = Callable[[Flask, str], Client]


@pytest.fixture
def here(app: Flask) -> Installation:
    return installation_of(app)


def count(here: Installation, model: type[models.Base]) -> int:
    with here.reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def actions(here: Installation) -> list[str]:
    with here.reading() as session:
        return list(session.scalars(sa.select(models.AuditEvent.action)))


def taken(admin: Client) -> bytes:
    """A backup as a browser gets it."""
    answer = admin.post(f"{PAGE}/new")
    assert answer.status_code == 200
    assert answer.mimetype == "application/zip"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert answer.content_length == len(answer.data)
    data: bytes = answer.data
    return data


def send(admin: Client, data: bytes, name: str = "b.zip") -> Any:
    return admin.post(PAGE, data={"file": (io.BytesIO(data), name)})


def send_large(client: Client, data: bytes) -> Any:
    """The same by hand, without the temporary file that the test client would make of it."""
    head = 'Content-Disposition: form-data; name="csrf_token"\r\n\r\n' + client.token()
    file = 'Content-Disposition: form-data; name="file"; filename="b.zip"\r\n\r\n'
    body = f"--x\r\n{head}\r\n--x\r\n{file}".encode() + data + b"\r\n--x--\r\n"
    kind = "multipart/form-data; boundary=x"
    return client.post(PAGE, data=body, content_type=kind, csrf=False)


def restored(admin: Client, address: str, word: str = "restore") -> Any:
    return admin.fill(address, {"word": word}, button="Replace everything")


def test_a_backup_is_taken_away_and_nothing_of_it_stays(admin: Client, here: Installation) -> None:
    with zipfile.ZipFile(io.BytesIO(taken(admin))) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["revision"] == head()
    assert manifest["tables"]["users"]["rows"] == len(Role)
    assert list(here.backups.iterdir()) == []
    assert "backup.download" in actions(here)


def test_the_whole_way_back(admin: Client, here: Installation, app: Flask) -> None:
    data = taken(admin)
    with here.session() as session, session.begin():
        session.add(models.Setting(name="usage_ended", value={"value": "zero"}))
        late = models.User(name="late", role=Role.ADMIN, password_hash="x", created_at=NOW)
        session.add(late)
    answer = send(admin, data)
    assert answer.status_code == 303
    text = admin.page(answer.location).one("main").text
    assert "admin (admin), operator (operator), viewer (viewer)" in text.replace("\n", " ")
    assert count(here, models.User) == len(Role) + 1, "only looked at so far"
    answer = restored(admin, answer.location)
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert count(here, models.User) == len(Role)
    assert here.settings().usage_ended == "hold"
    assert count(here, models.LoginSession) == 0
    text = page_of(admin.get("/sign-in")).one("main").text
    assert "The backup was restored" in text
    assert "What was there before is kept as tallybridge-before-restore-" in text
    assert admin.get(PAGE).status_code == 302, "signed out"
    assert admin.sign_in("admin", PASSWORD).status_code == 303
    [saved] = kept(here.backups)
    assert saved.kind is Kind.RESTORE
    assert not list(here.backups.glob("upload-*"))
    assert "backup.restore" in actions(here)
    assert restored(admin, f"{PAGE}/restore/{saved.file.name}").status_code == 303
    assert count(here, models.User) == len(Role) + 1, "and back again"


def test_the_word_has_to_be_typed(admin: Client, here: Installation) -> None:
    address = send(admin, taken(admin)).location
    before = count(here, models.LoginSession)
    for word in ("", "yes", "restored"):
        answer = restored(admin, address, word)
        assert answer.status_code == 422
        assert "Nothing was changed" in answer.text
    assert count(here, models.LoginSession) == before
    assert kept(here.backups) == []


def test_an_upload_that_is_cancelled_is_removed(admin: Client, here: Installation) -> None:
    address = send(admin, taken(admin)).location
    answer = admin.fill(address, {}, button="Cancel and remove the file")
    assert (answer.status_code, answer.location) == (303, PAGE)
    assert list(here.backups.iterdir()) == []
    assert admin.get(address).status_code == 404


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"hello", "not a backup of Tallybridge"),
        (b"", "not a backup of Tallybridge"),
        (None, "Choose a file"),
    ],
)
def test_what_is_no_backup_is_refused_at_the_first_step(
    admin: Client, here: Installation, data: bytes | None, words: str
) -> None:
    answer = send(admin, data) if data is not None else admin.post(PAGE, data={})
    assert answer.status_code == 422
    assert words in answer.text
    assert "Nothing was changed" in answer.text
    assert not here.backups.exists() or list(here.backups.iterdir()) == []


def test_a_bomb_is_not_unpacked(admin: Client, here: Installation) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * 100_000_000)
    answer = send(admin, packed.getvalue())
    assert answer.status_code == 422
    assert "would unpack to 100,000,000 bytes" in answer.text
    assert list(here.backups.iterdir()) == []


def test_large_files_are_let_in_for_administrators_only(
    admin: Client, operator: Client, anonymous: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = b"x" * 3_000_000  # more than everything else may send
    assert send_large(admin, large).status_code == 422
    assert send_large(operator, large).status_code == 413
    assert send_large(anonymous, large).status_code == 413
    assert admin.post("/settings/safety", data={"x": large.decode()}).status_code == 413
    monkeypatch.setattr("blueprints.backup.LARGEST_UPLOAD", 2_500_000)
    assert send_large(admin, large).status_code == 413


def test_no_restore_while_a_run_goes_on(admin: Client, here: Installation) -> None:
    address = send(admin, taken(admin)).location
    with exclusive(here.engine, "sync"):
        answer = restored(admin, address)
    assert answer.status_code == 409
    assert "A sync run is going on. Nothing was changed" in answer.text
    assert count(here, models.LoginSession) > 0


def test_without_room_for_the_safety_backup_nothing_is_replaced(
    admin: Client, here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = send(admin, taken(admin)).location

    def full(*_: Any, **__: Any) -> Path:
        raise BackupError("the folder cannot be made: No space left on device.")

    monkeypatch.setattr("blueprints.backup.place", full)
    answer = restored(admin, address)
    assert answer.status_code == 409
    assert "No space left on device" in answer.text
    assert count(here, models.LoginSession) > 0


def test_other_files_are_not_reached(admin: Client, here: Installation) -> None:
    here.backups.mkdir()
    (here.backups / "other.zip").write_bytes(b"secret")
    (here.backups / "upload-0123456789abcdef.zip").symlink_to(here.config.data_dir / "secret_key")
    for name in ("other.zip", "upload-0123456789abcdef.zip", "..%2fsecret_key", "%2e%2e"):
        for verb in ("files", "restore"):
            assert admin.get(f"{PAGE}/{verb}/{name}").status_code in (404, 308), name


def test_automatic_backups_are_listed(admin: Client, here: Installation, clock: Clock) -> None:
    assert "There is none yet" in admin.page(PAGE).one("main").text
    file = automatic(here.engine, here.backups, Kind.DAILY, schema="0005", now=here.now())
    assert "daily" in admin.page(PAGE).one("tbody").text
    answer = admin.get(f"{PAGE}/files/{file.name}")
    assert answer.data == file.read_bytes()
    clock.forward(days=3)
    admin.sign_in("admin")
    assert "The last daily backup is of" in admin.page(PAGE).one("main").text


def test_secrets_of_another_key_are_told_before_and_after(make: Make, sign_in: SignIn) -> None:
    data = taken(sign_in(make(stored=True), "admin"))
    admin = sign_in(make(ENCRYPTION_KEY=new_key()), "admin")
    address = send(admin, data).location
    text = admin.page(address).one("main").text
    assert "3 cannot be read with the encryption key of this installation" in text
    assert restored(admin, address).status_code == 303
    assert "3 stored secrets cannot be read" in page_of(admin.get("/sign-in")).one("main").text


def test_tokens_and_codes_that_are_over_stay_so(admin: Client, here: Installation) -> None:
    with here.session() as session, session.begin():
        one = session.scalars(sa.select(models.User).where(models.User.name == "viewer")).one()
        one.totp_secret, one.totp_last_step = "sealed", 1
        for name in ("kept", "withdrawn"):
            session.add(
                models.ApiToken(
                    user_id=one.id, name=name, token_hash=name, scope=models.TokenScope.READ,
                    created_at=here.now(), expires_at=here.now(),
                )
            )  # fmt: skip
        session.add(models.RecoveryCode(user_id=one.id, code_hash="unused"))
        session.add(models.RecoveryCode(user_id=one.id, code_hash="used"))
    data = taken(admin)
    with here.session() as session, session.begin():
        session.execute(sa.delete(models.ApiToken).where(models.ApiToken.name == "withdrawn"))
        session.execute(
            sa.delete(models.RecoveryCode).where(models.RecoveryCode.code_hash == "used")
        )
    restored(admin, send(admin, data).location)
    with here.reading() as session:
        assert session.scalars(sa.select(models.ApiToken.name)).all() == ["kept"]
        assert session.scalars(sa.select(models.RecoveryCode.code_hash)).all() == ["unused"]
        step = session.scalar(sa.select(sa.func.max(models.User.totp_last_step)))
        assert step == int(here.now().timestamp()) // 30


# --- retention ----------------------------------------------------------------------------------


def test_retention_is_set_by_an_administrator(
    admin: Client, viewer: Client, here: Installation
) -> None:
    form = "/settings/retention"
    good: dict[str, str | list[str]] = {
        "runs_months": "36",
        "usage_months": "",
        "daily": [],
        "keep": "30",
    }
    assert admin.fill(form, good, button="Save").status_code == 303
    settings = here.settings()
    assert (settings.retention.runs_months, settings.retention.usage_months) == (36, None)
    assert (settings.backups.daily, settings.backups.keep) == (False, 30)
    assert "settings.change" in actions(here)
    for wrong in (
        {"runs_months": "2"},
        {"usage_months": "12"},
        {"keep": "0"},
        {"runs_months": "x"},
    ):
        answer = admin.fill(form, wrong, button="Save")
        assert answer.status_code == 422
        assert "Nothing was saved" in answer.text
    assert here.settings() == settings
    assert "36" in viewer.page(form).one("main").text
    assert "The daily backup is switched off" in admin.page(PAGE).one("main").text


def test_a_backup_that_fails_is_said_on_the_overview_and_here(
    admin: Client, viewer: Client, here: Installation, clock: Clock
) -> None:
    housekeeping(here, here.now())
    clock.forward(days=1)
    good = here.backups.rename(here.backups.with_name("good"))
    here.backups.write_text("in the way")
    housekeeping(here, here.now())
    for client, name, links in ((admin, "admin", 1), (viewer, "viewer", 0)):
        client.sign_in(name)
        main = client.page("/").one("main")
        text = main.text
        assert len(main.all("a", href=PAGE)) == links
        assert "The daily backup has failed since" in text
        assert "cannot be made: File exists" in text
    here.backups.unlink()
    good.rename(here.backups)
    assert "The daily backup has failed since" in admin.page(PAGE).one("main").text
    clock.forward(hours=2)
    housekeeping(here, here.now())
    for address in ("/", PAGE):
        assert "daily backup has failed" not in admin.page(address).one("main").text
