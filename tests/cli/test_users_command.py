"""`users create`: only a hash is kept, and nothing secret is said."""

from __future__ import annotations

import pytest
from argon2 import PasswordHasher

from tests.cli.installation import Installation, refused

CANARY = "canary horse battery"


def test_the_password_is_kept_as_a_hash_only(desk: Installation) -> None:
    file = desk.write(f"{CANARY}\n", "password")
    answer = desk.call("users", "create", "anna", "--role", "operator", "--password-file", file)
    assert (answer.code, answer.out) == (0, "Made the operator anna.\n")
    [(_, name, role, hashed, _created, *_)] = desk.rows()["users"]
    assert (name, role) == ("anna", "operator")
    assert hashed.startswith("$argon2id$")
    assert PasswordHasher().verify(hashed, CANARY)
    for path in (desk.home / "data").iterdir():
        assert CANARY.encode() not in path.read_bytes(), path


def test_the_first_line_of_a_windows_file_is_the_password(desk: Installation) -> None:
    file = desk.home / "password"
    file.write_bytes(f"{CANARY}\r\nsecond\r\n".encode())
    desk.call("users", "create", "anna", "--role", "viewer", "--password-file", file)
    assert PasswordHasher().verify(desk.rows()["users"][0][3], CANARY)


def test_as_json(desk: Installation) -> None:
    answer = desk.call("users", "create", "a", "--role", "admin", "--json", input=f"{CANARY}\n" * 2)
    assert answer.json == {"user": "a", "role": "admin"}
    assert CANARY not in answer.out + answer.err


def test_what_cannot_be_an_account(desk: Installation) -> None:
    good, short = desk.write(CANARY, "good"), desk.write("canary", "short")
    assert (
        desk.call("users", "create", "anna", "--role", "admin", "--password-file", good).code == 0
    )
    for name, role, file, words, code in (
        ("anna", "viewer", good, "There is a user 'anna' already. Nothing was changed", 1),
        (" anna ", "viewer", good, "There is a user 'anna' already. Nothing was changed", 1),
        ("ben", "viewer", short, "at least 12 characters. Nothing was changed", 1),
        ("ben", "viewer", desk.write("", "empty"), "at least 12 characters", 1),
        ("  ", "viewer", good, "1 to 150 characters. Nothing was changed", 1),
        ("x" * 151, "viewer", good, "1 to 150 characters. Nothing was changed", 1),
        ("ben", "owner", good, "'owner' is not one of 'admin', 'operator', 'viewer'", 2),
        ("ben", "viewer", desk.home / "none", "does not exist", 2),
        ("ben", "viewer", desk.home, "is a directory", 2),
    ):
        with desk.unchanged():
            answer = desk.call("users", "create", name, "--role", role, "--password-file", file)
        refused(answer, words, code=code)
        assert "canary" not in answer.out + answer.err


def test_a_password_file_that_is_no_text(desk: Installation) -> None:
    file = desk.home / "binary"
    file.write_bytes(b"\xff\xfe" * 40)
    answer = desk.call("users", "create", "ben", "--role", "viewer", "--password-file", file)
    refused(answer, "cannot be read as text", code=2)
    assert "users" not in desk.rows()


def test_a_prompt_that_is_left_or_mistyped(
    desk: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.users._at_a_terminal", lambda: True)
    for text in ("", f"{CANARY}\n", f"{CANARY}\nanother one, longer\n"):
        answer = desk.call("users", "create", "ben", "--role", "viewer", input=text)
        assert answer.code == 1
        assert "Aborted!" in answer.err
        assert "canary" not in answer.out + answer.err
    assert "users" not in desk.rows()
    missing = desk.call("users", "create", "ben")
    assert missing.code == 2
    assert "Missing option '--role'" in missing.err


def test_without_a_terminal_one_line_of_standard_input_is_the_password(desk: Installation) -> None:
    create = ("users", "create", "ben", "--role", "viewer")
    empty = desk.call(*create, input="")
    refused(empty, "no password on standard input. Nothing was changed", code=2)
    answer = desk.shell(*create, input=f"{CANARY}\r\nsecond\n")
    assert (answer.code, answer.out, answer.err) == (0, "Made the viewer ben.\n", "")
    assert PasswordHasher().verify(desk.rows()["users"][0][3], CANARY)
