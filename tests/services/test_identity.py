"""Which ways to sign in there are, what the start refuses, and roles by groups: no network."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from app import create_app
from config import PREFIX, ConfigError, load_config
from models import AuditEvent, LoginSession, Role, User
from services.clients.identity import Identity
from services.clients.identity_metadata import read_metadata
from services.people.identity import Admission, Refusal, admit, granted_role, sign_in
from services.people.sign_in import begin_session
from services.people.sign_in_ways import HeaderRefusedError, Provider, SignInHeader, sign_in_ways

ROOT = Path(__file__).resolve().parents[2]
OIDC = {
    "OIDC_ISSUER": "https://login.example",
    "OIDC_CLIENT_ID": "client",
    "OIDC_CLIENT_SECRET": "secret",
    "OIDC_ROLES": "admin=a,admin=b,operator=c,viewer=d",
    "TRUSTED_HOSTS": "billing.example",
}
HEADER = {"SIGN_IN_HEADER": "X-Remote-User", "SIGN_IN_PROXIES": "10.0.0.2"}


def env(*parts: dict[str, str], **more: str) -> dict[str, str]:
    """An environment; an empty value takes one away."""
    whole = {name: value for part in (*parts, more) for name, value in part.items()}
    return {PREFIX + name: value for name, value in whole.items() if value}


def provider_of(*parts: dict[str, str]) -> Provider:
    found = sign_in_ways(load_config(env(OIDC, *parts))).provider
    assert found is not None
    return found


def identity(*groups: str, subject: str = "1", name: str = "Anna", more: bool = False) -> Identity:
    return Identity("https://login.example", subject, (name,), frozenset(groups), more)


# --- what the start takes and refuses -----------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "local", "provider", "header"),
    [
        (env(), True, False, False),
        (env(OIDC), True, True, False),
        (env(OIDC, LOCAL_LOGIN="false"), False, True, False),
        (env(HEADER), True, False, True),
        (env(HEADER, LOCAL_LOGIN="false"), False, False, True),
        (env(OIDC, HEADER, LOCAL_LOGIN="false", OIDC_ROLES="viewer=x"), False, True, True),
        (env(OIDC_NAME="x", OIDC_GROUPS_CLAIM="roles"), True, False, False),
    ],
)
def test_what_is_switched_on(
    environ: dict[str, str], local: bool, provider: bool, header: bool
) -> None:
    ways = sign_in_ways(load_config(environ))
    found = (ways.local, ways.provider is not None, ways.header is not None)
    assert found == (local, provider, header)


REFUSED = {
    "no way in": (env(LOCAL_LOGIN="false"), "LOCAL_LOGIN"),
    "no way in for an administrator": (
        env(OIDC, LOCAL_LOGIN="false", OIDC_ROLES="operator=x"), "LOCAL_LOGIN",
    ),
    "no client id": (env(OIDC, OIDC_CLIENT_ID=""), "OIDC_CLIENT_ID"),
    "no client secret": (env(OIDC, OIDC_CLIENT_SECRET=""), "OIDC_CLIENT_SECRET"),
    "no roles": (env(OIDC, OIDC_ROLES=""), "OIDC_ROLES"),
    "no issuer": (env(OIDC, OIDC_ISSUER=""), "OIDC_ISSUER"),
    "a redirect to whatever the request calls us": (env(OIDC, TRUSTED_HOSTS=""), "TRUSTED_HOSTS"),
    "roles alone": (env(OIDC_ROLES="admin=x"), "OIDC_ISSUER"),
    "http": (env(OIDC, OIDC_ISSUER="http://127.0.0.1:81/x"), "OIDC_ISSUER"),
    "http on another port": (
        env(OIDC, OIDC_ISSUER="http://127.0.0.1:81", ALLOWED_VENDOR_HOSTS="http://127.0.0.1:82"),
        "OIDC_ISSUER",
    ),
    "http, allowed without http": (
        env(OIDC, OIDC_ISSUER="http://127.0.0.1:81", ALLOWED_VENDOR_HOSTS="127.0.0.1:81"),
        "OIDC_ISSUER",
    ),
    "a header of anybody": (env(HEADER, SIGN_IN_PROXIES=""), "SIGN_IN_PROXIES"),
    "proxies without a header": (env(HEADER, SIGN_IN_HEADER=""), "SIGN_IN_HEADER"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_half_a_way_stops_the_start_with_one_line(case: str) -> None:
    environ, variable = REFUSED[case]
    config = load_config(environ)
    with pytest.raises(ConfigError) as caught:
        sign_in_ways(config)
    assert str(caught.value).startswith(f"{PREFIX}{variable}: ")
    assert "\n" not in str(caught.value)


def test_the_process_ends_with_that_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    monkeypatch.setenv(f"{PREFIX}LOCAL_LOGIN", "false")
    with pytest.raises(SystemExit) as caught:
        create_app()
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Tallybridge cannot start. {PREFIX}LOCAL_LOGIN: ")
    assert len(error.splitlines()) == 1


def test_authlib_is_not_loaded_before_somebody_signs_in(tmp_path: Path) -> None:
    code = "import app, sys; app.create_app(); print([m for m in sys.modules if 'authlib' in m])"
    environ = env(OIDC, DATA_DIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_only_signatures_that_the_provider_alone_can_make_are_believed() -> None:
    every = ["none", "HS256", "HS384", "HS512", "RS256", "ES256", "PS512", "ES256K", "made up"]
    page = "https://login.example/x"
    document = {
        "issuer": "https://login.example",
        "authorization_endpoint": page,
        "token_endpoint": page,
        "jwks_uri": page,
        "id_token_signing_alg_values_supported": every,
    }
    found = read_metadata(document, issuer="https://login.example", name="Acme")
    assert found.algorithms == ("RS256", "PS512", "ES256")


# --- roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("groups", "role"),
    [("a", "admin"), ("b", "admin"), ("c", "operator"), ("d", "viewer"), ("dca", "admin"),
     ("dc", "operator"), ("dx", "viewer")],
)  # fmt: skip
def test_groups_stand_for_roles(groups: str, role: str) -> None:
    assert granted_role(identity(*groups), provider_of()) == Role(role)


def test_groups_that_did_not_fit_grant_nothing_but_advice() -> None:
    for groups, word in (((), "app roles"), (("x",), "app roles")):
        found = granted_role(identity(*groups, more=True), provider_of())
        assert isinstance(found, Refusal)
        assert word in found.message


# --- accounts -----------------------------------------------------------------------------------


def test_a_new_account_and_its_way_through_roles(session: Session, now: dt.datetime) -> None:
    provider = provider_of()
    made = admit(session, identity("a"), provider=provider, now=now)
    assert isinstance(made, User)
    session.flush()
    begin_session(session, made, now=now)
    session.flush()
    again = admit(session, identity("c", name="Other"), provider=provider, now=now)
    assert again is made
    assert (made.role, made.name, made.password_hash) == (Role.OPERATOR, "Anna", "")
    session.flush()
    assert session.query(LoginSession).count() == 0
    assert isinstance(admit(session, identity(), provider=provider, now=now), Refusal)
    session.flush()
    # The last one ended nothing, so there is nothing to record.
    assert [e.action for e in session.query(AuditEvent)] == ["user.create", "user.role"]


def test_two_of_one_name_and_a_third(session: Session, now: dt.datetime) -> None:
    provider = provider_of()
    for subject in "123":
        made = admit(session, identity("a", subject=subject), provider=provider, now=now)
        assert isinstance(made, User)
        session.flush()
    assert [u.name for u in session.query(User)] == ["Anna", "Anna (2)", "Anna (3)"]


def test_another_issuer_is_another_person(session: Session, now: dt.datetime) -> None:
    other = Identity("https://other.example", "1", ("Anna",), frozenset("a"), too_many_groups=False)
    for each in (identity("a"), other):
        admit(session, each, provider=provider_of(), now=now)
        session.flush()
    assert session.query(User).count() == 2


def test_what_a_refusal_ends_is_kept(session: Session, now: dt.datetime) -> None:
    bound = lambda: Session(session.get_bind(), expire_on_commit=False)  # noqa: E731
    first = sign_in(bound, identity("a"), provider=provider_of(), address="", now=now)
    assert isinstance(first, Admission)
    again = sign_in(bound, identity(), provider=provider_of(), address="", now=now)
    assert isinstance(again, Refusal)
    assert session.query(LoginSession).count() == 0
    assert session.query(AuditEvent).filter_by(action="user.shut_out").count() == 1


# --- the header ---------------------------------------------------------------------------------


def test_a_header_is_believed_by_its_peer() -> None:
    header = sign_in_ways(load_config(env(HEADER))).header
    assert isinstance(header, SignInHeader)
    assert header.believed("anna", peer="10.0.0.2") == "anna"
    assert header.believed(None, peer="192.0.2.1") is None
    with pytest.raises(HeaderRefusedError, match="add it to TALLYBRIDGE_SIGN_IN_PROXIES"):
        header.believed("anna", peer="10.0.0.3")
