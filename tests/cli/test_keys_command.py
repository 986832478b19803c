"""The keys at the command line and at the start: one line, exit code 2, nothing made anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.upkeep.keys import new_key
from tests.cli.installation import Answer, Installation, refused

ROOT = Path(__file__).resolve().parents[2]
SECRET = "canary-secret-value"


@pytest.fixture
def stored(desk: Installation) -> Installation:
    """A generated key, and a secret that was typed into the page."""
    from app import create_app
    from config import load_config
    from services.installation import Installation as Real
    from services.installation import store_connection_values
    from services.upkeep.start import prepare

    del desk.env["TALLYBRIDGE_SOPHOS_CLIENT_SECRET"]
    app = create_app(load_config(desk.env))
    real: Real = app.extensions["tallybridge"]
    prepare(real)
    store_connection_values(real, {"sophos_client_secret": SECRET}, actor="anna")
    real.engine.dispose()
    return desk


def key_file(desk: Installation) -> Path:
    return desk.home / "data" / "encryption_key"


def served(desk: Installation) -> Answer:
    """What gunicorn says and how it ends; it is not waited for when it serves."""
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "app:create_app()"],
        cwd=ROOT, env={"PATH": os.environ["PATH"], **desk.env},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    return Answer(process.returncode, out, err)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["another key", "the file is gone", "the file is no key"])
def test_the_web_page_does_not_start_with_the_wrong_key(stored: Installation, how: str) -> None:
    if how == "another key":
        stored.env["TALLYBRIDGE_ENCRYPTION_KEY"] = new_key()
        words = "TALLYBRIDGE_ENCRYPTION_KEY is not the key that it was stored with"
    elif how == "the file is gone":
        key_file(stored).unlink()
        words = "the key is missing, which stood in .*encryption_key"
    else:
        key_file(stored).write_text("hello")
        words = "encryption_key does not hold a key; put the right one back"
    with stored.unchanged():
        answer = served(stored)
    assert answer.code == 2, answer
    [line] = answer.err.strip().splitlines()
    assert line.startswith("Tallybridge cannot start. ")
    assert re.search(words, line)
    if how == "the file is gone":
        assert not key_file(stored).exists(), "a new key would hide that the old one is missing"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
@pytest.mark.parametrize("name", ["encryption_key", "secret_key"])
def test_a_key_file_without_a_key_is_told(
    stored: Installation, name: str, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a power cut, or a full volume, may leave it."""
    (key_file(stored).parent / name).write_bytes(content)
    with pytest.raises(SystemExit, match="2"):
        stored.call("backup", stored.home / "b.zip")
    assert f"{name} does not hold a key; put the right one back" in capsys.readouterr().err


def test_commands_that_need_no_secret_go_on_without_the_key(stored: Installation) -> None:
    key_file(stored).unlink()
    assert stored.call("backup", stored.home / "b.zip").code == 0
    refused(stored.call("sync", "plan"), "sophos_client_secret cannot be read: the key is missing")
    assert not key_file(stored).exists()


def test_from_one_key_to_the_next(stored: Installation) -> None:
    old = key_file(stored).read_text()
    new = stored.call("keys", "new").out.strip()
    Fernet(new)
    with stored.unchanged():
        refused(stored.call("keys", "rotate", ENCRYPTION_KEY=new), "No secret was encrypted anew")
    answer = stored.call("keys", "rotate", ENCRYPTION_KEY=f"{new},{old}")
    assert answer.out.startswith("1 stored secrets were encrypted with the newest key, 0 were")
    again = stored.call("keys", "rotate", "--json", ENCRYPTION_KEY=f"{new},{old}")
    assert again.json == {"rotated": 0, "already": 1}
    assert stored.call("check", ENCRYPTION_KEY=new).code == 1  # the made-up secret is wrong
    refused(stored.call("sync", "plan"), "sophos_client_secret cannot be read")


def test_the_file_may_hold_several_keys(stored: Installation) -> None:
    old = key_file(stored).read_text()
    key_file(stored).write_text(f"{new_key()}\n{old}\n")
    assert stored.call("keys", "rotate", "--json").json == {"rotated": 1, "already": 0}


def test_forgetting_has_to_be_meant(stored: Installation) -> None:
    other = new_key()
    with stored.unchanged():
        refused(
            stored.call("keys", "forget", ENCRYPTION_KEY=other),
            "remove for good: sophos_client_secret. Nothing was changed; add --yes",
        )
        assert stored.call("keys", "forget", "--yes").out == "Every secret can be read.\n"
    answer = stored.call("keys", "forget", "--yes", "--json", ENCRYPTION_KEY=other)
    assert answer.json == {"removed": ["sophos_client_secret"]}


def test_no_key_is_said_aloud(stored: Installation) -> None:
    key = key_file(stored).read_text()
    for command in (("keys", "rotate"), ("keys", "forget"), ("backup", stored.home / "b.zip")):
        answer = stored.call(*command, ENCRYPTION_KEY=f"{new_key()},{key}")
        assert key not in answer.out + answer.err
        assert SECRET not in answer.out + answer.err
