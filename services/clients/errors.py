"""What can go wrong when talking to a vendor, as one family of exceptions.

Every error carries one sentence for a person, free of secrets and of mark-up, and says whether
trying again can help and whether a write may have taken effect in spite of the error.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, TypedDict

VENDOR_TEXT_LIMIT = 300
_SHORTEST_SECRET = 4  # blanking out single letters would only spoil the sentence
_TAG = re.compile(r"<[^<>]{0,1000}>")


def clean_text(text: object, *, secrets: Iterable[str] = (), limit: int = VENDOR_TEXT_LIMIT) -> str:
    """A vendor's words made fit to show: one line, no tags, no secrets, at most `limit` characters.

    Anything but a string gives the empty string.
    """
    if not isinstance(text, str):
        return ""
    text = text[:20_000]  # before the regular expression: a vendor's text has any length
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    text = _TAG.sub(" ", text)
    printable = "".join(" " if unicodedata.category(c) in {"Cc", "Cf", "Cs"} else c for c in text)
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


class AnswerOf(TypedDict):
    """Which answer an error is about."""

    vendor: str
    status: int | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class FieldError:
    """One entry of ConnectWise's `errors[]`: what is wrong with which field."""

    code: str
    message: str
    field: str


class VendorError(Exception):
    """A vendor did not do what was asked.

    `vendor` is "Sophos" or "ConnectWise"; `user_message` says what happened and what to do;
    `permanent` means that the same request will fail again until a person changes something;
    `request_id` is the vendor's own id of the request, for their support; `unclear` means that a
    write may have taken effect, so the truth must be read before anything else is written.
    """

    permanent_by_default: ClassVar[bool] = False

    def __init__(
        self,
        user_message: str,
        *,
        vendor: str,
        status: int | None = None,
        request_id: str | None = None,
        permanent: bool | None = None,
        unclear: bool = False,
    ) -> None:
        super().__init__(user_message)
        self.user_message = user_message
        self.vendor = vendor
        self.status = status
        self.request_id = request_id
        self.permanent = self.permanent_by_default if permanent is None else permanent
        self.unclear = unclear

    def __str__(self) -> str:
        if self.request_id:
            return f"{self.user_message} [{self.request_id}]"
        return self.user_message


class AuthenticationFailed(VendorError):
    """The vendor does not accept the credentials."""

    permanent_by_default = True


class WrongCredentialKind(AuthenticationFailed):
    """The credentials are good, but of a kind that cannot do what we need."""


class PermissionDenied(VendorError):
    """The credentials are good, but lack a right."""

    permanent_by_default = True


class RateLimited(VendorError):
    """The vendor asks for fewer requests, and still did after waiting. Nothing was done."""


class NotFound(VendorError):
    """The record, or the address, does not exist."""

    permanent_by_default = True


class Rejected(VendorError):
    """The vendor understood the request and refused it; `fields` keeps its reasons by field."""

    permanent_by_default = True

    def __init__(
        self,
        user_message: str,
        *,
        vendor: str,
        status: int | None = None,
        request_id: str | None = None,
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        super().__init__(user_message, vendor=vendor, status=status, request_id=request_id)
        self.fields = fields

    @property
    def already_exists(self) -> bool:
        """True when ConnectWise refused because a record with this identifier is there already."""
        return any(error.code == "ObjectExists" for error in self.fields)


class Unavailable(VendorError):
    """No answer, a broken connection, a time-out, or a failure inside the vendor's service."""


class UnexpectedResponse(VendorError):
    """An answer that is not what the vendor documents, or not what was asked for."""


class IncompleteListing(VendorError):
    """A list that provably is not whole, so nothing may be concluded from it."""


class HostNotAllowed(VendorError):
    """An address that is neither a known host of the vendor nor allowed by the operator."""

    permanent_by_default = True
