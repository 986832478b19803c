"""`users ...`: only a hash is kept, nothing secret is said, and who is locked out gets in."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
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
        ("Anna", "viewer", good, "There is a user 'anna' already. Nothing was changed", 1),
        ("ben", "viewer", desk.write("tallybridge 123", "easy"), "easy to guess.*Nothing was", 1),
        ("ben", "viewer", desk.write(CANARY * 60, "long"), "at most 1000 .*Nothing was", 1),
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


def test_a_lost_password_is_replaced(desk: Installation) -> None:
    file = desk.write(CANARY, "password")
    desk.call("users", "create", "anna", "--role", "admin", "--password-file", file)
    fresh = desk.write("another canary, later", "fresh")
    answer = desk.call("users", "reset-password", "ANNA", "--password-file", fresh)
    assert (answer.code, answer.out) == (0, "anna has a new password; all sessions are ended.\n")
    assert PasswordHasher().verify(desk.rows()["users"][0][3], "another canary, later")
    assert "canary" not in str(desk.rows()["audit_events"])
    for name, given, words in (
        ("ben", fresh, "There is no user 'ben'. Nothing was changed"),
        ("anna", desk.write("canary", "short"), "at least 12 characters. Nothing was changed"),
    ):
        with desk.unchanged():
            refused(desk.call("users", "reset-password", name, "--password-file", given), words)


def test_who_signs_in_elsewhere_gets_no_password(desk: Installation) -> None:
    file = desk.write(CANARY, "password")
    desk.call("users", "create", "anna", "--role", "admin", "--password-file", file)
    with sa.create_engine(desk.url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE users SET password_hash = '', subject = 'https://x 1'")
    with desk.unchanged():
        answer = desk.call("users", "reset-password", "anna", "--password-file", file)
    refused(answer, "anna signs in elsewhere")


def test_a_lost_second_factor_is_removed(desk: Installation) -> None:
    file = desk.write(CANARY, "password")
    desk.call("users", "create", "anna", "--role", "admin", "--password-file", file)
    with desk.unchanged():
        answer = desk.call("users", "remove-second-factor", "anna")
    refused(answer, "anna has no second factor. Nothing was changed")
    with sa.create_engine(desk.url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql("UPDATE users SET totp_secret = 'x', totp_since = created_at")
        connection.exec_driver_sql(
            "INSERT INTO recovery_codes (user_id, code_hash) VALUES (1, 'x')"
        )
    reset = desk.call("users", "reset-password", "anna", "--json", input=f"{CANARY}\n" * 2)
    assert reset.json == {"user": "anna", "second_factor": True}
    answer = desk.call("users", "remove-second-factor", "anna")
    assert answer.code == 0
    assert "anna signs in with the password alone now" in answer.out
    [row] = desk.rows()["users"]
    assert "x" not in row
    assert "recovery_codes" not in desk.rows()
    assert "command line" in desk.rows()["audit_events"][-1][2]
