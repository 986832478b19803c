"""How an identity provider is asked: quickly, without redirects, and failures told in words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus, urlsplit

import requests

from services.clients.addresses import AddressRefusedError
from services.clients.errors import Unavailable, UnexpectedResponse
from services.clients.failures import reason
from services.clients.sessions import make_careful

TIMEOUT = (5.0, 10.0)
"""Seconds to connect, and between two parts of an answer: somebody waits before the screen."""
DEADLINE_SECONDS = 20.0
MAX_BODY = 1_000_000

_log = logging.getLogger("tallybridge.identity")


class TimedOut(Unavailable):
    """The provider did not answer in time."""


class TokenRefusedError(Exception):
    """The token endpoint refused, in its own words: foreign text."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(code)
        self.code = code
        self.description = description


class Requests:
    """Sends the requests to one provider; nothing is sent twice.

    `own_host`, the host of the issuer that the operator wrote down, may stand in a private network,
    with a certificate of `own_ca` (PEM).
    """

    def __init__(
        self,
        name: str,
        client_id: str,
        client_secret: str,
        *,
        own_host: str,
        own_ca: str,
        monotonic: Callable[[], float],
    ) -> None:
        self._name = name
        self._client_id = client_id
        self._client_secret = client_secret
        self._own_host = own_host
        self._own_ca = own_ca
        self._monotonic = monotonic

    def document(self, url: str) -> Mapping[str, Any]:
        """A JSON object. Raises Unavailable, TimedOut or UnexpectedResponse."""
        with self._told(), self.client() as client:
            response = client.get(url, withhold_token=True, allow_redirects=False)
            if response.status_code != requests.codes.ok:
                _log.warning(
                    "%s answered %s with %s", self._name, urlsplit(url).path, response.status_code
                )
                response.raise_for_status()
                raise self._unexpected(f"it answered with status {response.status_code}")
            document = response.json()
        if not isinstance(document, dict):
            raise self._unexpected("it did not send a JSON object")
        return document

    def token(self, url: str, form: Mapping[str, str], *, by_post: bool) -> Mapping[str, Any]:
        """Redeem a grant; the client secret goes into the form, or else into the Basic header.

        Raises TokenRefusedError, and what `document` does.
        """
        from authlib.integrations.base_client import OAuthError  # noqa: PLC0415

        # RFC 6749, 2.3.1: both are form-encoded before Basic joins them. Authlib leaves that out.
        basic = (quote_plus(self._client_id), quote_plus(self._client_secret))
        with self._told(), self.client(token_endpoint_auth_method="client_secret_post") as client:  # noqa: S106
            try:
                token: Mapping[str, Any] = client.fetch_token(
                    url, **form, auth=None if by_post else basic, allow_redirects=False
                )
            except OAuthError as error:
                description = str(error.description or "").replace(self._client_secret, "***")
                raise TokenRefusedError(str(error.error), description) from None
        return token

    @contextmanager
    def client(self, **options: Any) -> Iterator[Any]:
        """Authlib's client over a session that follows only our instructions."""
        from authlib.integrations.requests_client import OAuth2Session  # noqa: PLC0415

        client = OAuth2Session(
            self._client_id, self._client_secret, default_timeout=TIMEOUT, **options
        )
        make_careful(client, {self._own_host}, self._own_ca)
        client.hooks["response"] = [self._read_whole]
        with client:
            yield client

    def _read_whole(self, response: requests.Response, *_: object, **__: object) -> None:
        """Read an answer before the library does: not for ever, and not more than makes sense."""
        start, body = self._monotonic(), bytearray()
        for chunk in response.iter_content(4096):
            body += chunk
            if len(body) > MAX_BODY:
                raise self._unexpected("it sent more than a megabyte")
            if self._monotonic() - start > DEADLINE_SECONDS:
                raise requests.ReadTimeout("the answer does not come to an end")
        response._content = bytes(body)
        if 300 <= response.status_code < 400:
            raise self._unexpected("it sent a redirect, which is not followed")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the libraries raise into words; their own may quote what is secret."""
        try:
            yield
        except requests.Timeout as error:
            raise self._failed(error, TimedOut, "did not answer in time") from None
        except requests.exceptions.SSLError as error:
            what = "could not be reached safely: its TLS certificate is not good"
            raise self._failed(error, Unavailable, what) from None
        except requests.exceptions.JSONDecodeError:
            raise self._unexpected("it did not send JSON") from None
        except requests.HTTPError as error:
            raise self._failed(error, Unavailable, "is out of order") from None
        except requests.RequestException as error:
            what = "could not be reached"
            if isinstance(reason(error), AddressRefusedError):
                what += ": an address that it names is not a public one"
            raise self._failed(error, Unavailable, what) from None
        except (ValueError, TypeError, RecursionError):
            raise self._unexpected("it did not send what it should") from None

    def _failed(self, error: Exception, kind: type[Unavailable], what: str) -> Unavailable:
        _log.warning("%s %s (%s)", self._name, what, type(error).__name__)
        text = f"{self._name} {what}. You were not signed in; try again later."
        return kind(text, vendor=self._name)

    def _unexpected(self, what: str) -> UnexpectedResponse:
        _log.warning("%s answered strangely: %s", self._name, what)
        return UnexpectedResponse(
            f"{self._name} did not answer as an identity provider does: {what}. You were not "
            "signed in; an administrator has to check TALLYBRIDGE_OIDC_ISSUER.",
            vendor=self._name,
        )
