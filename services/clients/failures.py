"""What lies below an error of the HTTP library, which says less than what it wraps."""

from __future__ import annotations

import ssl

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError


def never_connected(error: requests.RequestException) -> bool:
    """Whether nothing can have been sent, because there was no connection."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    return isinstance(reason(error), NewConnectionError | ConnectTimeoutError)


def reason(error: requests.RequestException) -> object:
    """What urllib3 said, below what requests says."""
    return getattr(error.args[0], "reason", None) if error.args else None


def is_certificate_error(error: BaseException) -> bool:
    """Whether the other side could not prove who it is."""
    seen: list[BaseException] = [error]
    while seen:
        current = seen.pop()
        if isinstance(current, ssl.SSLCertVerificationError):
            return True
        inner = [*current.args, getattr(current, "reason", None), current.__cause__]
        seen += [e for e in inner if isinstance(e, BaseException) and e is not current]
    return "CERTIFICATE_VERIFY_FAILED" in str(error)
