from __future__ import annotations

import pytest

from services.clients.errors import (
    AuthenticationFailed,
    FieldError,
    NotFound,
    PermissionDenied,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedResponse,
    VendorError,
    WrongCredentialKind,
    clean_text,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  Too many\r\n requests\x00. ", "Too many requests ."),
        ("<script>alert(1)</script>Bad <b>field</b>", "alert(1) Bad field"),
        ("right\u202eleft", "right left"),
        ("the key s3cr3t-key is wrong", "the key *** is wrong"),
        ("x" * 400, "x" * 299 + "…"),
        (None, ""),
        (17, ""),
    ],
)
def test_vendor_text_is_made_fit_to_show(text: object, shown: str) -> None:
    assert clean_text(text, secrets=["s3cr3t-key", ""]) == shown


def test_the_text_of_an_error_is_its_message_with_the_request_id() -> None:
    error = Unavailable("It broke.", vendor="Sophos", status=502, request_id="abc")
    assert str(error) == "It broke. [abc]"
    assert error.user_message == "It broke."
    assert str(Unavailable("It broke.", vendor="Sophos")) == "It broke."


@pytest.mark.parametrize(
    ("kind", "permanent"),
    [
        (AuthenticationFailed, True),
        (WrongCredentialKind, True),
        (PermissionDenied, True),
        (NotFound, True),
        (Rejected, True),
        (RateLimited, False),
        (Unavailable, False),
        (UnexpectedResponse, False),
    ],
)
def test_errors_know_whether_trying_again_helps(kind: type[VendorError], permanent: bool) -> None:
    error = kind("x", vendor="Sophos")
    assert error.permanent is permanent
    assert error.unclear is False


def test_an_existing_identifier_is_recognised() -> None:
    taken = FieldError("ObjectExists", "exists", "identifier")
    missing = FieldError("MissingRequiredField", "missing", "type")
    assert Rejected("x", vendor="ConnectWise", fields=(missing, taken)).already_exists
    assert not Rejected("x", vendor="ConnectWise", fields=(missing,)).already_exists
