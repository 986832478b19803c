"""Signing in by an identity provider: the good way, and every answer that must not get through."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey
from sqlalchemy.orm import Session

from models import LoginSession, Role, User
from tests.identity_provider import (
    CLIENT_SECRET,
    FakeProvider,
    by_hand,
    encoded,
    key,
    public,
    signed,
)
from tests.web.client import Client
from tests.web.identity_walk import (
    ANSWER,
    START,
    app,
    at_provider,
    begin,
    browser,
    provider,
    query_of,
    refused,
    signed_in,
    walk,
)
from tests.web.test_security import FOREIGN
from tests.web.world import Clock

__all__ = ["app", "provider"]
Claims = dict[str, Any]


# --- the good way -------------------------------------------------------------------------------


def test_somebody_signs_in_and_gets_to_the_page_that_was_wanted(
    anonymous: Client, provider: FakeProvider, database: Session
) -> None:
    asked = anonymous.get("/settings/safety?x=1&y=2")
    button = anonymous.page(asked.location).one("a", class_="button")
    assert button.text == "Acme Login"
    answer = anonymous.get(at_provider(anonymous.get(button["href"]).location))
    assert (answer.status_code, answer.location) == (303, "/settings/safety?x=1&y=2")
    assert signed_in(anonymous)
    user = database.query(User).filter_by(name="Anna").one()
    assert (user.role, user.subject) == (Role.ADMIN, f"{provider.url} 0001")
    assert provider.refused == []


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
def test_the_client_secret_goes_the_way_that_the_provider_wants(
    anonymous: Client, provider: FakeProvider, way: str
) -> None:
    provider.authentication = [way]
    assert walk(anonymous).status_code == 303
    assert provider.refused == []


def test_every_attempt_has_secrets_of_its_own(app: Flask) -> None:
    seen: set[str] = set()
    for _ in range(3):
        query = query_of(begin(browser(app)))
        assert query["scope"] == "openid profile groups"
        seen |= {query["state"], query["nonce"], query["code_challenge"]}
    assert len(seen) == 9


def test_the_cookie_of_an_attempt_tells_nothing_and_goes_nowhere_else(anonymous: Client) -> None:
    answer = anonymous.get(START)
    (cookie,) = [c for c in answer.headers.getlist("Set-Cookie") if c.startswith("signing_in=")]
    for part in ("HttpOnly", "SameSite=Lax", f"Path={ANSWER}", "Max-Age=600"):
        assert part in cookie
    assert query_of(answer.location)["state"] not in cookie


def test_nobody_is_sent_back_to_whatever_a_request_calls_us(anonymous: Client) -> None:
    """The address to come back to is made of the host, which whoever asks may write down."""
    for path in (START, "/signed-out/there"):
        answer = anonymous.get(path, base_url="http://evil.example")
        assert answer.status_code == 400
        assert "Location" not in answer.headers
    answer = anonymous.get(START, headers={"X-Forwarded-Host": "evil.example"})
    assert "evil" not in answer.location


def test_a_new_key_of_the_provider_is_found(
    app: Flask, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert walk(browser(app)).status_code == 303
    provider.keys = lambda: public(key("key-1"), key("key-2"))
    provider.sign = lambda claims: signed(claims, by=key("key-2"), kid="key-2")
    monkeypatch.setattr("services.clients.identity.NEW_KEYS_SECONDS", 0.0)
    assert walk(browser(app)).status_code == 303


def test_a_session_that_the_browser_had_before_is_over(
    admin: Client, database: Session, provider: FakeProvider
) -> None:
    assert database.query(LoginSession).count() == 1
    walk(admin)
    database.rollback()
    (session,) = database.query(LoginSession).all()
    assert session.user.name == "Anna"


@pytest.mark.parametrize("wanted", FOREIGN)
def test_it_leads_to_no_other_site(anonymous: Client, wanted: str) -> None:
    assert walk(anonymous, after=wanted).location == "/"


def test_without_a_provider_there_is_no_such_page(make: Callable[..., Flask]) -> None:
    client = browser(make(full=False, vendors=False))
    assert client.get(START).status_code == 404
    assert client.get(ANSWER).status_code == 404
    assert client.get("/signed-out").location == "/sign-in"
    assert not client.page("/sign-in").all("a", class_="button")


# --- tokens that say something else than they should --------------------------------------------


def changed(**changes: Any) -> Callable[[Claims], Claims]:
    """Claims with other values; None leaves one out."""

    def change(claims: Claims) -> Claims:
        return {k: v for k, v in {**claims, **changes}.items() if v is not None}

    return change


def later(name: str, seconds: float) -> Callable[[Claims], Claims]:
    return lambda claims: {**claims, name: claims["iat"] + seconds}


WRONG_CLAIMS = {
    "the nonce of another attempt": changed(nonce="x" * 64),
    "no nonce": changed(nonce=None),
    "an empty nonce": changed(nonce=""),
    "a list of nonces": lambda c: {**c, "nonce": [c["nonce"]]},
    "another issuer": changed(iss="https://evil.example"),
    "no issuer": changed(iss=None),
    "the issuer with a slash": lambda c: {**c, "iss": c["iss"] + "/"},
    "another audience": changed(aud="another client"),
    "no audience": changed(aud=None),
    "an empty audience": changed(aud=[]),
    "another audience for us": changed(aud="another client", azp="tallybridge client"),
    "several audiences without azp": changed(aud=["tallybridge client", "another client"]),
    "several audiences for another": changed(
        aud=["tallybridge client", "another client"], azp="another client"
    ),
    "issued for another": changed(azp="another client"),
    "expired": later("exp", -61),
    "no expiry": changed(exp=None),
    "an expiry in words": changed(exp="tomorrow"),
    "an expiry that is no number": changed(exp=float("nan")),
    "an endless expiry": changed(exp=float("inf")),
    "a true expiry": changed(exp=True),
    "issued in the future": later("iat", 3600),
    "not valid yet": later("nbf", 3600),
    "no time of issue": changed(iat=None),
    "no subject": changed(sub=None),
    "an empty subject": changed(sub=""),
    "a subject that is a number": changed(sub=7),
    "a subject that is a list": changed(sub=["0001"]),
    "the hash of another access token": changed(at_hash="AAAAAAAAAAAAAAAAAAAAAA"),
}


@pytest.mark.parametrize("wrong", WRONG_CLAIMS)
def test_a_token_with_wrong_claims_signs_nobody_in(
    anonymous: Client, provider: FakeProvider, wrong: str
) -> None:
    provider.claims = WRONG_CLAIMS[wrong]
    assert "cannot be trusted" in refused(anonymous, walk(anonymous), 502)


def test_a_clock_may_be_a_minute_late(anonymous: Client, provider: FakeProvider) -> None:
    provider.claims = later("exp", -30)
    assert walk(anonymous).status_code == 303


# --- tokens that the provider did not sign ------------------------------------------------------


def unsigned(alg: str) -> Callable[[Claims], str]:
    return lambda claims: f"{encoded({'alg': alg})}.{encoded(claims)}."


def by_hmac(secret: bytes, kid: str | None = "key-1") -> Callable[[Claims], str]:
    """A token whose signature is made with something that everybody, or every client, knows."""

    def sign(claims: Claims) -> str:
        text = f"{encoded({'alg': 'HS256', 'kid': kid})}.{encoded(claims)}"
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"

    return sign


def with_header(**header: Any) -> Callable[[Claims], str]:
    """Signed by another key, which the header recommends."""
    whole = {"alg": "RS256", **header}
    return lambda claims: by_hand(whole, json.dumps(claims).encode(), by=key("evil"))


def with_payload(payload: bytes) -> Callable[[Claims], str]:
    return lambda _: by_hand({"alg": "RS256", "kid": "key-1"}, payload)


def critical(claims: Claims) -> str:
    header = {"alg": "RS256", "kid": "key-1", "crit": ["odd"], "odd": 1}
    return by_hand(header, json.dumps(claims).encode())


def tampered(claims: Claims) -> str:
    head, _, signature = signed(claims).split(".")
    return f"{head}.{encoded({**claims, 'groups': ['admins'], 'sub': '0002'})}.{signature}"


WRONG_SIGNATURES = {
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg NONE": unsigned("NONE"),
    "no alg": lambda c: f"{encoded({'kid': 'key-1'})}.{encoded(c)}.",
    "HS256 with the public key as PEM": by_hmac(key().as_pem(private=False)),
    "HS256 with the public key as DER": by_hmac(key().as_der(private=False)),
    "HS256 with the modulus": by_hmac(
        base64.urlsafe_b64decode(str(key().as_dict(private=False)["n"]) + "==")
    ),
    "HS256 with the client secret": by_hmac(CLIENT_SECRET.encode()),
    "HS256 with nothing": by_hmac(b"", kid=None),
    "another key under the same id": lambda c: signed(c, by=key("evil")),
    "another key without an id": lambda c: signed(c, by=key("evil"), kid=None),
    "a key that nobody published": lambda c: signed(c, by=key("evil"), kid="evil"),
    "a key in the header": with_header(jwk=key("evil").as_dict(private=False)),
    "an address of keys in the header": with_header(jku="https://evil.example/jwks", kid="evil"),
    "a header that must be understood": critical,
    "changed afterwards": tampered,
    "no signature": lambda c: signed(c).rpartition(".")[0] + ".",
    "two parts": lambda c: signed(c).rpartition(".")[0],
    "no token": lambda _: "not.a.token",
    "claims that are a list": with_payload(b"[]"),
    "claims that are no JSON": with_payload(b"\xff"),
    "claims without end": with_payload(b"[" * 5000),
}


@pytest.mark.parametrize("wrong", WRONG_SIGNATURES)
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(
    anonymous: Client, provider: FakeProvider, wrong: str
) -> None:
    provider.sign = WRONG_SIGNATURES[wrong]
    assert "cannot be trusted" in refused(anonymous, walk(anonymous), 502)


def symmetric() -> dict[str, Any]:
    return {"keys": [{"kty": "oct", "kid": "key-1", "k": encoded(b"x" * 32)}]}


WRONG_KEYS: dict[str, Callable[[], Claims]] = {
    "none": lambda: {"keys": []},
    "no list": lambda: {"keys": "key-1"},
    "for encryption only": lambda: {"keys": [public(key())["keys"][0] | {"use": "enc"}]},
    "a shared secret": symmetric,
    "broken": lambda: {"keys": [{"kty": "RSA", "kid": "key-1", "n": "?" * 400}, None, 7]},
}


@pytest.mark.parametrize("wrong", WRONG_KEYS)
def test_keys_that_cannot_be_used_vouch_for_nothing(
    anonymous: Client, provider: FakeProvider, wrong: str
) -> None:
    provider.keys = WRONG_KEYS[wrong]
    if wrong == "a shared secret":
        provider.sign = by_hmac(b"x" * 32)
    assert "cannot be trusted" in refused(anonymous, walk(anonymous), 502)


def test_a_key_that_can_be_broken_vouches_for_nothing(
    anonymous: Client, provider: FakeProvider
) -> None:
    with pytest.warns(SecurityWarning, match="2048"):
        weak = RSAKey.generate_key(1024, {"kid": "key-1"})
    provider.keys = lambda: public(weak)
    provider.sign = lambda claims: by_hand(
        {"alg": "RS256", "kid": "key-1"}, json.dumps(claims).encode(), by=weak
    )
    refused(anonymous, walk(anonymous), 502)


# --- answers that this browser did not ask for --------------------------------------------------


def spoilt(**changes: str | None) -> Callable[[str], str]:
    """The way back with another query."""

    def change(back: str) -> str:
        query = {**query_of(back), **changes}
        return f"{ANSWER}?{urlencode({k: v for k, v in query.items() if v is not None})}"

    return change


WRONG_ANSWERS = {
    "another state": spoilt(state="x" * 64),
    "no state": spoilt(state=None),
    "an empty state": spoilt(state=""),
    "a state in another alphabet": spoilt(state="ж"),
    "no code": spoilt(code=None),
    "another code": spoilt(code="made up"),
    "another issuer": spoilt(iss="https://evil.example"),
    "an error": spoilt(code=None, error="server_error"),
    "an error beside a code": spoilt(error="access_denied"),
    "an error with mark-up": spoilt(code=None, error="<script>alert(1)</script>"),
}


@pytest.mark.parametrize("wrong", WRONG_ANSWERS)
def test_a_wrong_answer_signs_nobody_in(anonymous: Client, wrong: str) -> None:
    answer = anonymous.get(WRONG_ANSWERS[wrong](at_provider(begin(anonymous))))
    text = refused(anonymous, answer, 400)
    assert "<script>" not in answer.text
    assert "begin again" in text


def test_an_answer_that_names_no_issuer_is_not_of_a_provider_that_always_does(
    anonymous: Client, provider: FakeProvider
) -> None:
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    refused(anonymous, walk(anonymous), 400)
    back = at_provider(begin(anonymous))
    assert anonymous.get(f"{back}&iss={provider.url}").status_code == 303


def test_an_answer_brought_by_another_browser_is_refused(app: Flask) -> None:
    """Somebody is lured to an address that would sign them in as the attacker."""
    attacker, victim = browser(app), browser(app)
    back = at_provider(begin(attacker))
    refused(victim, victim.get(back), 400)
    begin(victim)
    refused(victim, victim.get(back), 400)


def test_a_stolen_code_is_worthless_in_another_attempt(app: Flask, provider: FakeProvider) -> None:
    """PKCE: the code of the victim, put into the attacker's own answer."""
    victim, attacker = browser(app), browser(app)
    stolen = query_of(at_provider(begin(victim)))["code"]
    back = spoilt(code=stolen)(at_provider(begin(attacker)))
    refused(attacker, attacker.get(back), 400)
    assert provider.refused == ["grant"]


def test_an_answer_counts_once(app: Flask, anonymous: Client, provider: FakeProvider) -> None:
    address = begin(anonymous)
    cookie = anonymous.get_cookie("signing_in", path=ANSWER)
    assert cookie is not None
    back = at_provider(address)
    assert anonymous.get(back).status_code == 303
    assert anonymous.get_cookie("signing_in", path=ANSWER) is None
    thief = browser(app)
    thief.set_cookie("signing_in", cookie.value, path=ANSWER)
    asked = len(provider.seen)
    refused(thief, thief.get(back), 400)
    refused(thief, thief.get(spoilt(code="another")(back)), 400)
    assert len(provider.seen) == asked


def test_the_provider_takes_a_code_once(app: Flask, anonymous: Client) -> None:
    """Even if we forgot about it, after a restart."""
    address = begin(anonymous)
    cookie = anonymous.get_cookie("signing_in", path=ANSWER)
    assert cookie is not None
    back = at_provider(address)
    assert anonymous.get(back).status_code == 303
    app.extensions["tallybridge_identity"].client._used.clear()
    thief = browser(app)
    thief.set_cookie("signing_in", cookie.value, path=ANSWER)
    refused(thief, thief.get(back), 400)


@pytest.mark.parametrize("value", ["", "x", "gAAAAABkAAAA", "'\""])
def test_a_cookie_that_we_did_not_make_is_refused(anonymous: Client, value: str) -> None:
    back = at_provider(begin(anonymous))
    anonymous.set_cookie("signing_in", value, path=ANSWER)
    refused(anonymous, anonymous.get(back), 400)


@pytest.mark.parametrize(
    ("name", "text"),
    [("totp:1", "{}"), ("signing_in", "{}"), ("signing_in", "[1]"), ("signing_in", "no JSON")],
)
def test_what_was_sealed_as_something_else_is_no_attempt(
    app: Flask, anonymous: Client, name: str, text: str
) -> None:
    vault = app.extensions["tallybridge"].vault
    back = at_provider(begin(anonymous))
    anonymous.set_cookie("signing_in", vault.seal(name, text), path=ANSWER)
    refused(anonymous, anonymous.get(back), 400)


@pytest.mark.parametrize(("minutes", "status"), [(9, 303), (11, 400)])
def test_an_attempt_ends_after_ten_minutes(
    anonymous: Client, clock: Clock, minutes: int, status: int
) -> None:
    address = begin(anonymous)
    clock.forward(minutes=minutes)
    assert anonymous.get(at_provider(address)).status_code == status


def test_somebody_who_cancels_is_told_so(anonymous: Client) -> None:
    back = spoilt(code=None, error="access_denied")(at_provider(begin(anonymous)))
    assert "It was cancelled there" in refused(anonymous, anonymous.get(back), 400)


def test_the_words_of_an_error_are_not_shown_but_logged(app: Flask, anonymous: Client) -> None:
    told = spoilt(code=None, error="server_error", error_description="Call +1 555 now\nfake line")
    answer = anonymous.get(told(at_provider(begin(anonymous))))
    assert "555" not in refused(anonymous, answer, 400)
    log = app.extensions["tallybridge"].config.data_dir / "tallybridge.log"
    assert "server_error Call +1 555 now fake line" in log.read_text(encoding="utf-8")
