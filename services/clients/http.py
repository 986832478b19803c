"""How requests go out: one careful HTTP session for each vendor client.

Reads are repeated when that can help. A write is repeated only when it certainly was not done;
where it may have been, the error says `unclear` and the caller must read before it writes again.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from services.clients.addresses import AddressRefusedError
from services.clients.errors import (
    HostNotAllowed,
    Unavailable,
    UnexpectedResponse,
    VendorError,
    clean_text,
)
from services.clients.failures import is_certificate_error, never_connected, reason
from services.clients.known_secrets import known_secrets
from services.clients.limits import RateLimiter
from services.clients.payload import decode_json, is_html
from services.clients.sessions import new_session

MAX_TRIES = 4
MAX_RETRY_AFTER = 120.0
MAX_BODY = 50 * 1024 * 1024
DEFAULT_TIMEOUT = (10.0, 60.0)

_log = logging.getLogger("tallybridge.vendor")
_random = random.SystemRandom()
_PLAIN = re.compile(r"[\x20-\x7e]*")
_BROKEN_GATEWAY = frozenset({502, 503, 504})
_TIMEOUT_WORDS = re.compile(r"time[\s-]?d?[\s-]?out", re.IGNORECASE)
_ID_HEADERS = ("x-cw-request-id", "x-correlation-id", "x-request-id")
_ID_KEYS = ("correlationId", "requestId", "trackingId")
UNCLEAR = " Whether the change was made is not known: it has to be read back."


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer of any status but a redirect.

    `request_id` is the vendor's own id of the request, which its support asks for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    request_id: str | None = None

    @property
    def is_html(self) -> bool:
        """Whether a web page came instead of data."""
        return is_html(self.body, self.headers.get("Content-Type", ""))

    def json_object(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty one. For reading error bodies."""
        try:
            value = decode_json(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(frozen=True, slots=True)
class _Failure:
    """An attempt without a usable answer."""

    error: VendorError
    sent: bool
    may_retry: bool = True


def retry_after(headers: Mapping[str, str], now: dt.datetime) -> float | None:
    """Seconds by the `Retry-After` header (a number or an HTTP date); None without a good one."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - now).total_seconds())


Observer = Callable[[str, str], None]
"""Told of every attempt: the vendor, and the status or the kind of failure."""
_observers: set[Observer] = set()


def observe(observer: Observer) -> None:
    """Tell this one of every attempt from now on; telling it twice makes no difference."""
    _observers.add(observer)


class Transport:
    """Sends the requests of one vendor client: limits, time-outs, repeats, log lines, counting.

    `secrets` never appear in an error; `own_hosts` may stand in a private network, with a
    certificate of `own_ca`; `calls` counts the requests that really went out.
    """

    def __init__(
        self,
        vendor: str,
        limiter: RateLimiter,
        *,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        secrets: Iterable[str] = (),
        own_hosts: Collection[str] = (),
        own_ca: str = "",
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.vendor = vendor
        self._limiter = limiter
        self._timeout = timeout
        self._secrets = frozenset(secrets)
        for secret in self._secrets:
            known_secrets.add(secret)
        self._sleep = sleep
        self._monotonic = monotonic
        self._session = new_session(own_hosts, own_ca)
        self._lock = threading.Lock()
        self._calls = 0

    @property
    def calls(self) -> int:
        """How many requests really went out."""
        with self._lock:
            return self._calls

    def hide(self, secret: str) -> None:
        """Keep one more secret out of errors."""
        with self._lock:
            self._secrets |= {secret}
        known_secrets.add(secret)

    def clean(self, text: object) -> str:
        """A vendor's words, fit to show."""
        # The longest first: a secret may be part of another one.
        return clean_text(text, secrets=sorted(self._secrets, key=len, reverse=True))

    def read(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
        auth: AuthBase | None = None,
    ) -> Reply:
        """Send a request that changes nothing; repeated up to three times where that can help.

        Returns the last answer whatever its status; raises Unavailable or UnexpectedResponse when
        there is none.
        """
        request = requests.Request(
            method, url, params=params, headers=headers, data=form, auth=auth
        )
        return self._exchange(request, write=False)

    def write(self, method: str, url: str, *, body: object, auth: AuthBase | None = None) -> Reply:
        """Send a request that changes something, at most once as far as the vendor can tell.

        Repeated only after a failure to connect and after 429, when it certainly was not done.
        Every other failure is raised at once with `unclear` set.
        """
        request = requests.Request(
            method,
            url,
            data=json.dumps(body, allow_nan=False).encode(),
            headers={"Content-Type": "application/json"},
            auth=auth,
        )
        return self._exchange(request, write=True)

    def _exchange(self, request: requests.Request, *, write: bool) -> Reply:
        prepared = self._prepare(request)
        for attempt in range(MAX_TRIES):
            outcome = self._attempt(prepared, write=write)
            if attempt + 1 == MAX_TRIES or not self._prepare_retry(outcome, attempt, write=write):
                break
        if isinstance(outcome, _Failure):
            raise outcome.error
        return outcome

    def _prepare(self, request: requests.Request) -> requests.PreparedRequest:
        try:
            prepared = self._session.prepare_request(request)
        except requests.RequestException:
            prepared = None
        # The libraries quote a header they refuse, secrets included: refuse it before they do.
        if prepared and all(_PLAIN.fullmatch(str(v)) for v in prepared.headers.values()):
            return prepared
        raise Unavailable(
            f"The request to {self.vendor} could not be formed. Check the address and the keys "
            "for characters that do not belong there.",
            vendor=self.vendor,
            permanent=True,
        )

    def _prepare_retry(self, outcome: Reply | _Failure, attempt: int, *, write: bool) -> bool:
        """Wait and say True where another attempt is safe and can help."""
        backoff = _random.uniform(0, 2.0**attempt)  # full jitter
        if isinstance(outcome, _Failure):
            if not outcome.may_retry or (write and outcome.sent):
                return False
            self._sleep(backoff)
            return True
        told = retry_after(outcome.headers, dt.datetime.now(dt.UTC))
        wait = backoff if told is None else told
        if wait > MAX_RETRY_AFTER:
            return False
        if outcome.status == 429:
            self._limiter.pause(wait)  # all threads; the next acquire() does the waiting
            return True
        if write or not _can_be_repeated(outcome):
            return False
        self._sleep(wait)
        return True

    def _attempt(self, prepared: requests.PreparedRequest, *, write: bool) -> Reply | _Failure:
        self._limiter.acquire()
        start = self._monotonic()
        outcome: Reply | _Failure
        try:
            with self._session.send(
                prepared, stream=True, timeout=self._timeout, allow_redirects=False
            ) as response:
                outcome = self._answer(response, start, write=write)
        except requests.RequestException as error:
            outcome = self._failure(error, prepared, write=write)
        if isinstance(outcome, Reply) or outcome.sent:
            with self._lock:
                self._calls += 1
        self._write_log(prepared, outcome, self._monotonic() - start)
        return outcome

    def _answer(
        self, response: requests.Response, start: float, *, write: bool
    ) -> Reply | _Failure:
        if 300 <= response.status_code < 400:
            problem = "answered with a redirect, which is not followed. Check the address"
            return self._strange(problem, response.status_code, write=write)
        body = bytearray()
        for chunk in _chunks(response):
            body += chunk
            if len(body) > MAX_BODY:
                problem = f"sent more than {MAX_BODY // 1024**2} MB, which is too much"
                return self._strange(problem, response.status_code, write=write)
            if self._monotonic() - start > 5 * self._timeout[1]:
                raise requests.ReadTimeout("the answer does not come to an end")
        reply = Reply(response.status_code, response.headers, bytes(body))
        return replace(reply, request_id=self._request_id(reply))

    def _request_id(self, reply: Reply) -> str | None:
        candidates: list[object] = [reply.headers.get(name) for name in _ID_HEADERS]
        if reply.status >= 400:
            body = reply.json_object()
            candidates += [body.get(key) for key in _ID_KEYS]
        return next((text for c in candidates if (text := self.clean(c)[:100])), None)

    def _strange(self, problem: str, status: int, *, write: bool) -> _Failure:
        error = UnexpectedResponse(
            f"{self.vendor} {problem}.{UNCLEAR if write else ''}",
            vendor=self.vendor,
            status=status,
            unclear=write,
        )
        return _Failure(error, sent=True, may_retry=False)

    def _failure(
        self, error: requests.RequestException, prepared: requests.PreparedRequest, *, write: bool
    ) -> _Failure:
        host = urlsplit(prepared.url or "").hostname
        if isinstance(error, requests.exceptions.SSLError):
            return self._tls_failure(error, host, write=write)
        if isinstance(reason(error), AddressRefusedError):
            return self._address_refused(host)
        sent = not never_connected(error)
        if not sent:
            text = f"{self.vendor} could not be reached at {host}. Check network and address."
        elif isinstance(error, requests.Timeout) or "timed out" in str(error).lower():
            text = f"{self.vendor} did not answer within {self._timeout[1]:g} seconds."
        else:
            text = f"The connection to {self.vendor} broke before a whole answer came."
        unclear = write and sent
        text += UNCLEAR if unclear else " Try again later."
        return _Failure(Unavailable(text, vendor=self.vendor, unclear=unclear), sent=sent)

    def _address_refused(self, host: str | None) -> _Failure:
        refused = HostNotAllowed(
            f"{host} stands for an address that {self.vendor} cannot have (in a private network, "
            "or of this machine), so nothing was sent there. Check the name server. Only your own "
            "ConnectWise may stand in your network, when TALLYBRIDGE_ALLOWED_VENDOR_HOSTS "
            "names it.",
            vendor=self.vendor,
        )
        return _Failure(refused, sent=False, may_retry=False)

    def _tls_failure(self, error: Exception, host: str | None, *, write: bool) -> _Failure:
        if is_certificate_error(error):
            text = (
                f"The TLS certificate of {host} could not be verified, so nothing was sent to "
                f"{self.vendor}. Check the address, and the certificate if the server is your own."
            )
            certificate = Unavailable(text, vendor=self.vendor, permanent=True)
            return _Failure(certificate, sent=False, may_retry=False)
        text = f"No secure connection to {self.vendor} at {host} was possible: TLS failed."
        broken = Unavailable(
            text + (UNCLEAR if write else ""), vendor=self.vendor, permanent=True, unclear=write
        )
        return _Failure(broken, sent=True, may_retry=False)

    def _write_log(
        self, prepared: requests.PreparedRequest, outcome: Reply | _Failure, seconds: float
    ) -> None:
        path = urlsplit(prepared.url or "").path
        failed = isinstance(outcome, _Failure)
        status = type(outcome.error).__name__ if isinstance(outcome, _Failure) else outcome.status
        for observer in _observers:
            observer(self.vendor, str(status))
        bad = failed or (isinstance(outcome, Reply) and outcome.status >= 400)
        _log.log(
            logging.WARNING if bad else logging.INFO,
            "%s %s %s -> %s in %d ms, request id %s",
            self.vendor,
            prepared.method,
            path,
            status,
            round(seconds * 1000),
            None if isinstance(outcome, _Failure) else outcome.request_id,
        )


def _chunks(response: requests.Response) -> Iterator[bytes]:
    chunks: Iterator[bytes] = response.iter_content(64 * 1024)
    return chunks


def _can_be_repeated(reply: Reply) -> bool:
    """Whether a read that was answered so is worth another attempt.

    ConnectWise uses 500 also for a wrong JSON type; only its time-outs pass by themselves.
    """
    if reply.status in _BROKEN_GATEWAY:
        return True
    message = reply.json_object().get("message")
    return reply.status == 500 and bool(_TIMEOUT_WORDS.search(str(message or "")))
