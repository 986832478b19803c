"""What ConnectWise's refusals mean, and what a person can do about them."""

from __future__ import annotations

from collections.abc import Mapping

from services.clients.errors import (
    AnswerOf,
    AuthenticationFailed,
    FieldError,
    NotFound,
    PermissionDenied,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedResponse,
    VendorError,
)
from services.clients.http import UNCLEAR, Reply, Transport

VENDOR = "ConnectWise"
_LEAST_RIGHTS = {
    "/company/": ("Companies > Company Maintenance", {}),
    "/finance/": ("Finance > Agreements", {"POST": "Add", "PATCH": "Edit"}),
    "/procurement/catalog": ("Procurement > Product Catalog", {"POST": "Add", "PATCH": "Edit"}),
    "/procurement/": ("System > Table Setup", {"GET": "Inquire"}),
}


def least_right(method: str, path: str) -> str:
    """The least right of the API member's security role that a call needs."""
    for prefix, (place, levels) in _LEAST_RIGHTS.items():
        if path.startswith(prefix):
            return f"{place}: {levels.get(method, 'Inquire All')}"
    return "the right to inquire it"


def error_for(
    reply: Reply, http: Transport, *, method: str, path: str, doing: str, listing: bool = False
) -> VendorError:
    """The error for an answer that is not good. `doing` completes "while ...".

    A refusal (4xx) in ConnectWise's own words changed nothing; any other answer to a write
    leaves open whether it took effect.
    """
    write = method != "GET"
    known: AnswerOf = {
        "vendor": VENDOR,
        "status": reply.status,
        "request_id": reply.request_id,
    }
    said, fields = _words(reply, http)
    refused = _refusal(reply, said, doing, method, path, known)
    if refused is not None:
        return refused
    if reply.status == 404:
        return NotFound(_not_found(said, doing, listing=listing), **known)
    if reply.status == 429:
        text = f"ConnectWise asks for fewer requests while {doing}. {said} Try again later."
        return RateLimited(text, **known)
    if reply.status >= 500 or reply.status == 408:
        text = f"ConnectWise could not answer while {doing}. {said}"
        text += UNCLEAR if write else " Try again later."
        return Unavailable(text, unclear=write, **known)
    if reply.status >= 400 and not reply.is_html:
        text = f"ConnectWise refused the request while {doing}. {said}"
        return Rejected(text, fields=fields, **known)
    return unexpected(reply, doing=doing, write=write)


def unexpected(reply: Reply, *, doing: str, write: bool) -> UnexpectedResponse:
    """The error for a web page, for something that is not JSON, or for a strange status."""
    came = "A web page" if reply.is_html else "Something that cannot be read"
    text = (
        f"{came} came instead of an answer of ConnectWise while {doing} (status {reply.status}). "
        "Check the site, and proxies on the way."
    )
    return UnexpectedResponse(
        text + (UNCLEAR if write else ""),
        vendor=VENDOR,
        status=reply.status,
        request_id=reply.request_id,
        unclear=write,
    )


def _refusal(
    reply: Reply,
    said: str,
    doing: str,
    method: str,
    path: str,
    known: AnswerOf,
) -> VendorError | None:
    """Who we are, or what we may do, is the reason; None when it is something else."""
    about_client_id = "clientid" in said.lower().replace(" ", "")
    if reply.status in {400, 401, 403} and about_client_id and not reply.is_html:
        text = f"ConnectWise did not accept the client id. {said} Check it in the connection."
        return AuthenticationFailed(text, **known)
    if reply.status == 401:
        text = (
            f"ConnectWise did not accept the API keys while {doing}. {said} "
            "Check company id, public key and private key."
        )
        return AuthenticationFailed(text, **known)
    if reply.status == 403:
        text = (
            f"The API member has no right for {doing}. {said} "
            f"Its security role needs {least_right(method, path)}."
        )
        return PermissionDenied(text, **known)
    return None


def _not_found(said: str, doing: str, *, listing: bool) -> str:
    text = f"ConnectWise does not know what was asked for while {doing}. {said}"
    if listing:
        text += " In the ConnectWise cloud this can also mean wrong API keys."
    return text


def _words(reply: Reply, http: Transport) -> tuple[str, tuple[FieldError, ...]]:
    """ConnectWise's own words as one sentence, and its reasons by field."""
    if reply.is_html:
        return f"It answered {reply.status} with a web page.", ()
    body = reply.json_object()
    raw_errors = body.get("errors")
    entries = raw_errors[:20] if isinstance(raw_errors, list) else []
    fields = tuple(_field_error(entry, http) for entry in entries if isinstance(entry, dict))
    reasons = [f"{e.field}: {e.message}" if e.field else e.message for e in fields if e.message]
    message = http.clean(body.get("message"))
    words = http.clean("; ".join(part for part in (message, *reasons) if part))
    return (f"It says: {words.rstrip('.')}." if words else f"It answered {reply.status}."), fields


def _field_error(entry: Mapping[str, object], http: Transport) -> FieldError:
    return FieldError(
        code=http.clean(entry.get("code")),
        message=http.clean(entry.get("message")),
        field=http.clean(entry.get("field")),
    )
