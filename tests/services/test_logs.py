"""Log lines: whole, with their ids, impossible to forge, and without a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from structlog.contextvars import clear_contextvars

from services import logs
from services.clients import known_secrets as known_secrets_module
from services.clients.http import Transport
from services.clients.known_secrets import KnownSecrets, known_secrets
from services.clients.limits import RateLimiter
from services.logs import carried, during
from services.secrets import Vault

logger = logging.getLogger("tallybridge.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_as_before() -> Iterator[None]:
    """What the log is set up with is the process's: put it back."""
    root, hook = logging.getLogger(), threading.excepthook
    handlers, others = list(root.handlers), list(logging.getLogger("gunicorn.error").handlers)
    clear_contextvars()
    yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    logging.getLogger("gunicorn.error").handlers[:] = others
    threading.excepthook = hook
    clear_contextvars()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    logs.keep_in(tmp_path / "tallybridge.log")
    return tmp_path / "tallybridge.log"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


# --- their shape --------------------------------------------------------------------------------


def test_a_line_is_one_json_object(file: Path) -> None:
    logger.warning("%s of %d", "one", 2, extra={"status": 404})
    (line,) = lines(file)
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "warning", "logger": "tallybridge.test", "event": "one of 2", "status": 404,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["gunicorn.error", "alembic.runtime", "apscheduler.scheduler"])
def test_libraries_log_through_it_too(file: Path, name: str) -> None:
    out = io.StringIO()
    logs.show_on(out)
    logging.getLogger(name).error("broken")
    assert lines(file)[0]["logger"] == name
    assert json.loads(out.getvalue())["event"] == "broken"


def test_an_exception_stands_on_its_line(file: Path) -> None:
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        logger.exception("failed")
    (line,) = lines(file)
    assert "first\nsecond" in line["exception"]


FORGERY = 'x\n{"level": "info"}\r\x1b[2J\u2028\u202egnp\x85'


def test_nothing_forges_a_line(file: Path) -> None:
    logger.warning("said %s", FORGERY, extra={"path": FORGERY})
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) == 1  # Python's splitlines knows every kind of line end
    assert text.rstrip("\n").isprintable()
    assert lines(file)[0]["path"] == FORGERY


def test_nor_on_a_terminal() -> None:
    out = Terminal()
    logs.show_on(out)
    try:
        raise RuntimeError(FORGERY)
    except RuntimeError:
        logger.exception("said %s", FORGERY, extra={"path": FORGERY})
    first, *rest = out.getvalue().splitlines()
    assert "error   tallybridge.test said x" in first
    assert all(line.startswith("    ") for line in rest)
    assert all(c.isprintable() or c == "\n" for c in out.getvalue())


def test_the_file_does_not_grow_for_ever(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 2000)
    logs.keep_in(file)
    for number in range(100):
        logger.warning("line %d", number)
    kept = sorted(tmp_path.glob("tallybridge.log*"))
    assert len(kept) == logs.FILES
    assert all(each.stat().st_size <= 2000 for each in kept)
    assert lines(file)[-1]["event"] == "line 99"


def test_a_file_that_another_process_moved_on_is_left_alone(file: Path) -> None:
    logger.warning("before")
    file.rename(file.with_suffix(".log.1"))
    logger.warning("after")
    assert [line["event"] for line in lines(file)] == ["after"]


def test_a_log_that_cannot_be_written_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.keep_in(tmp_path / "no such folder" / "tallybridge.log")
    logger.warning("the secret %s", "is out")
    said = capsys.readouterr().err
    assert "FileNotFoundError" in said
    assert "is out" not in said


def test_a_thread_that_dies_is_told(file: Path) -> None:
    logs.show_on(io.StringIO())
    thread = threading.Thread(target=lambda: 1 / 0, name="worker")
    thread.start()
    thread.join()
    (line,) = lines(file)
    assert line["event"] == "the thread worker died"
    assert "ZeroDivisionError" in line["exception"]


# --- ids ----------------------------------------------------------------------------------------


def test_ids_stand_on_every_line_inside(file: Path) -> None:
    with during(run=12):
        logger.warning("in")
    logger.warning("out")
    assert [line.get("run") for line in lines(file)] == [12, None]


def test_threads_of_a_pool_carry_the_ids(file: Path) -> None:
    with during(run=7), ThreadPoolExecutor(4, initializer=carried()) as pool:
        list(pool.map(lambda n: logger.warning("%d", n), range(20)))
    assert [line["run"] for line in lines(file)] == [7] * 20


# --- secrets ------------------------------------------------------------------------------------


def test_known_secrets_are_hidden_wherever_they_stand(file: Path) -> None:
    secret = 'ca nary/+"\\é'
    known_secrets.add(secret)
    try:
        raise RuntimeError(f"refused {secret}")
    except RuntimeError:
        logger.exception(
            "with %s and ca%%20nary%%2F%%2B%%22%%5C%%C3%%A9",
            secret,
            extra={"answer": {"deep": [secret, 5]}, "json": json.dumps(secret)},
        )
    (line,) = lines(file)
    assert "nary" not in json.dumps(line)
    assert line["answer"] == {"deep": ["***", 5]}


def test_a_line_may_be_written_while_another_one_is_cleared_of_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python clears up when it likes, and a lost connection is logged then, on the same thread."""
    secrets = KnownSecrets()
    secrets.add("canary")
    make, said = known_secrets_module._pattern, list[str]()

    def interrupted(found: Iterable[str]) -> re.Pattern[str]:
        monkeypatch.setattr(known_secrets_module, "_pattern", make)
        said.append(secrets.hide("a canary that was thrown away"))
        return make(found)

    monkeypatch.setattr(known_secrets_module, "_pattern", interrupted)
    thread = threading.Thread(target=lambda: said.append(secrets.hide("canary")), daemon=True)
    thread.start()
    thread.join(10)
    assert said == ["a *** that was thrown away", "***"]


@pytest.mark.parametrize(
    "name", ["password", "client_secret", "access_token", "Authorization", "Set-Cookie", "api-key"]
)
def test_what_is_named_like_a_secret_is_hidden(file: Path, name: str) -> None:
    logger.warning("asked", extra={"headers": {name: "hunter22", "Accept": "text/html"}})
    assert lines(file)[0]["headers"] == {name: "***", "Accept": "text/html"}


def test_what_the_vault_opens_is_known(file: Path) -> None:
    key = Fernet.generate_key().decode()
    sealed = Vault([key]).seal("a", "sealed-canary")
    logger.warning("sealed-canary under %s is %s", key, sealed)
    assert lines(file)[0]["event"] == f"*** under *** is {sealed}"


def test_what_a_client_hides_is_known(file: Path) -> None:
    transport = Transport("Sophos", RateLimiter([(9, 1.0)]), secrets=["first-canary"])
    transport.hide("token-canary")
    logger.warning("first-canary token-canary")
    assert lines(file)[0]["event"] == "*** ***"


def test_the_development_server_shows_no_query(file: Path) -> None:
    logging.getLogger("werkzeug").warning('"GET /search?q=typed HTTP/1.1" 200 -')
    assert lines(file)[0]["event"] == '"GET /search HTTP/1.1" 200 -'


def test_the_memory_of_secrets_is_bounded_and_keeps_the_lasting_ones() -> None:
    known = KnownSecrets(most=2)
    known.add_lasting("lasting", None, "abc")
    for secret in ("one-1", "two-2", "one-1", "three-3"):
        known.add(secret)
    assert known.hide("lasting one-1 two-2 three-3 abc") == "*** *** two-2 *** abc"


def test_a_secret_that_is_part_of_another_leaves_nothing_of_it() -> None:
    known = KnownSecrets()
    for secret in ("1234", "abcd1234efgh"):
        known.add(secret)
    assert known.hide("<abcd1234efgh>") == "<***>"
