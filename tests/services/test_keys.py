"""The keys of stored secrets: the wrong one stops a start, exchanging them loses nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from config import Config
from services.database import upgrade
from services.installation import SECRETS, Installation
from services.secrets import Vault, WrongKeyError
from services.upkeep import keys
from services.upkeep.keys import Rotated, new_key
from services.upkeep.start import prepare

OLD, NEW, OTHER = (new_key() for _ in range(3))
PLAIN = {name: f"secret of {name}" for name in SECRETS}


@pytest.fixture
def here(engine: Engine, tmp_path: Path, now: dt.datetime) -> Installation:
    """Secrets in all three places, under the old key."""
    made = opened(engine, tmp_path, OLD)
    with Session(engine) as session, session.begin():
        for name, plain in PLAIN.items():
            sealed = made.vault.seal(name, plain)
            session.add(
                models.ConnectionValue(name=name, value=sealed, secret=True, updated_at=now)
            )
        session.add(
            models.ConnectionValue(name="connectwise_site", value="x", secret=False, updated_at=now)
        )
        seconds: dict[str, str | None] = {"anna": made.vault.seal("totp:1", "otp"), "ben": None}
        for name, secret in seconds.items():
            session.add(
                models.User(
                    name=name, role=models.Role.ADMIN, password_hash="x", created_at=now,
                    totp_secret=secret,
                )
            )  # fmt: skip
        session.add(
            models.NotificationTarget(
                name="team", sealed_url=made.vault.seal("notification:1", "url"), created_at=now
            )
        )
        session.flush()
        session.add(models.RecoveryCode(user_id=1, code_hash="x"))
    return made


def opened(engine: Engine, folder: Path, *with_keys: str) -> Installation:
    return Installation(Config(data_dir=folder), engine, Vault(with_keys))


def texts(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [each.sealed for each in keys.stored(connection)]


def read(here: Installation) -> dict[str, str]:
    """Every secret, as the app reads it."""
    vault = here.vault
    with here.reading() as session:
        found = {
            row.name: vault.open(row.name, row.value)
            for row in session.scalars(sa.select(models.ConnectionValue))
            if row.secret
        }
        user = session.get_one(models.User, 1)
        target = session.get_one(models.NotificationTarget, 1)
        found["totp:1"] = vault.open("totp:1", user.totp_secret or "")
        found["notification:1"] = vault.open("notification:1", target.sealed_url)
    return found


ALL = {**PLAIN, "totp:1": "otp", "notification:1": "url"}


def test_the_right_key_alone_or_among_others_starts(here: Installation, tmp_path: Path) -> None:
    for with_keys in ([OLD], [NEW, OLD], [OLD, NEW]):
        keys.check(opened(here.engine, tmp_path, *with_keys))


@pytest.mark.parametrize("with_keys", [[NEW], [NEW, OTHER], []])
def test_without_the_right_key_there_is_no_start(
    here: Installation, tmp_path: Path, with_keys: list[str]
) -> None:
    before = texts(here.engine)
    with pytest.raises(
        WrongKeyError, match=r"^5 stored secrets \(connectwise_private_key, .* and 2 more\) cannot"
    ) as told:
        prepare(opened(here.engine, tmp_path, *with_keys))
    assert "Nothing was changed" in str(told.value)
    assert "\n" not in str(told.value)
    assert texts(here.engine) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE users SET totp_secret = 'x' WHERE id = 1",
        "UPDATE notification_targets SET sealed_url = 'x'",
        "UPDATE connection_values SET value = '' WHERE name = 'sophos_client_secret'",
    ],
)
def test_one_that_cannot_be_read_is_enough(here: Installation, statement: str) -> None:
    keys.check(here)
    with here.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(WrongKeyError, match=r"^The stored secret "):
        keys.check(here)


def test_nothing_stored_needs_no_key(engine: Engine, tmp_path: Path, empty: Engine) -> None:
    keys.check(opened(engine, tmp_path))
    assert keys.any_stored(engine) is False
    assert keys.any_stored(empty) is False
    nowhere = sa.create_engine(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    assert keys.any_stored(nowhere) is None


def test_every_secret_is_under_the_newest_key_afterwards(
    here: Installation, tmp_path: Path
) -> None:
    both = opened(here.engine, tmp_path, NEW, OLD)
    assert keys.rotate(both, actor="anna") == Rotated(changed=5, already=0)
    alone = opened(here.engine, tmp_path, NEW)
    keys.check(alone)
    assert read(alone) == ALL
    before = texts(here.engine)
    assert keys.rotate(both, actor="anna") == Rotated(changed=0, already=5)
    assert texts(here.engine) == before
    with pytest.raises(WrongKeyError):
        keys.check(opened(here.engine, tmp_path, OLD))
    with here.reading() as session:
        events = session.scalars(sa.select(models.AuditEvent)).all()
    assert [(e.action, e.actor, e.after) for e in events] == [
        ("keys.rotate", "anna", {"encrypted anew": 5})
    ]


def test_all_or_nothing(here: Installation, tmp_path: Path) -> None:
    with Session(here.engine) as session, session.begin():
        target = session.get_one(models.NotificationTarget, 1)
        target.sealed_url = Vault([OTHER]).seal("notification:1", "url")
    before = texts(here.engine)
    with pytest.raises(WrongKeyError, match="address of notification 1 cannot be read"):
        keys.rotate(opened(here.engine, tmp_path, NEW, OLD), actor="anna")
    assert texts(here.engine) == before
    with here.reading() as session:
        assert session.scalars(sa.select(models.AuditEvent)).all() == []


def test_what_was_swapped_stays_refused_after_a_rotation(
    here: Installation, tmp_path: Path
) -> None:
    """The name is inside; an exchange of keys does not launder an exchange of secrets."""
    with Session(here.engine) as session, session.begin():
        one, two = (session.get_one(models.ConnectionValue, name) for name in SECRETS[:2])
        one.value, two.value = two.value, one.value
    both = opened(here.engine, tmp_path, NEW, OLD)
    keys.rotate(both, actor="anna")
    for made in (here, both):
        with pytest.raises(WrongKeyError):
            made.effective_config()
    with pytest.raises(WrongKeyError, match="a value of another name"):
        both.effective_config()


def test_what_is_lost_can_be_forgotten(here: Installation, tmp_path: Path) -> None:
    with Session(here.engine) as session, session.begin():
        row = session.get_one(models.ConnectionValue, SECRETS[0])
        row.value = Vault([NEW]).seal(SECRETS[0], PLAIN[SECRETS[0]])
    new = opened(here.engine, tmp_path, NEW)
    lost = keys.lost_names(new)
    assert lost == [
        "connectwise_private_key", "connectwise_public_key",
        "second factor of user 1", "address of notification 1",
    ]  # fmt: skip
    assert keys.forget(new, actor="anna") == lost
    keys.check(new)
    with here.reading() as session:
        assert set(session.scalars(sa.select(models.ConnectionValue.name))) == {
            SECRETS[0], "connectwise_site",
        }  # fmt: skip
        assert session.get_one(models.User, 1).totp_secret is None
        assert session.scalars(sa.select(models.RecoveryCode)).all() == []
        assert session.scalars(sa.select(models.NotificationTarget)).all() == []
        assert len(session.scalars(sa.select(models.AuditEvent)).all()) == 4
    assert keys.forget(new, actor="anna") == []


def test_a_vault_without_a_key_neither_reads_nor_stores() -> None:
    vault = Vault([], "the key is gone.")
    sealed = Vault([OLD]).seal("a", "b")
    assert not vault.reads(sealed)
    assert not vault.is_newest(sealed)
    with pytest.raises(WrongKeyError, match="The stored a cannot be read: the key is gone"):
        vault.open("a", sealed)
    with pytest.raises(WrongKeyError, match="a cannot be stored: the key is gone"):
        vault.seal("a", "b")


def test_a_clock_that_was_in_the_future_is_told(here: Installation, now: dt.datetime) -> None:
    assert prepare(here) == []
    with Session(here.engine) as session, session.begin():
        later = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
        session.add(
            models.SyncRun(
                trigger="t", actor="a", state=models.RunState.SUCCEEDED, started_at=later
            )
        )
    [warning] = prepare(here)
    assert "The clock of this machine says" in warning


def test_an_older_schema_is_asked_only_for_what_it_has(empty: Engine, tmp_path: Path) -> None:
    import alembic.command

    from services.database import alembic_config

    with empty.begin() as connection:
        alembic.command.upgrade(alembic_config(connection), "0001")
    assert keys.any_stored(empty) is False
    upgrade(empty)
    keys.check(opened(empty, tmp_path))
