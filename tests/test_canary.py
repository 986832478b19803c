"""No secret comes out anywhere: every one of an installation is a canary, and none is ever seen.

Both vendors are simulated, and then refuse everything and quote our own requests back at us,
keys and all. What a person or a program can get out is then searched: pages, exports, backup,
database, logs, metrics, the output of commands. Hashes and encrypted forms are fine.

A new secret becomes a canary by one line in `PLANTED`, or in `environment`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import re
import secrets
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import models
from models import Role, TokenScope
from sandbox import Sandbox, start
from sandbox.wire import Answer, Request, json_answer
from services.formats.config_file import export_config, read_config
from services.formats.config_import import import_config
from services.installation import Installation
from services.people.accounts import create_user
from services.runs.sync_runs import preview, run
from services.upkeep.backup import backup
from tests.web.client import Client
from tests.web.world import NOW, close, installation_of, make_app, options

Plant = Callable[[Session, Installation, str], object]
PAGES_AT_MOST = 150


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(12)}"


def _totp(session: Session, here: Installation, secret: str) -> None:
    """Of somebody else: who signs in here has none."""
    user = models.User(
        name="other", role=Role.ADMIN, password_hash="x", created_at=NOW, totp_since=NOW
    )
    session.add(user)
    session.flush()
    user.totp_secret = here.vault.seal(f"totp:{user.id}", secret)


def _api_token(session: Session, here: Installation, secret: str) -> None:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    session.add(
        models.ApiToken(
            user_id=1, name="script", token_hash=digest, scope=TokenScope.READ,
            created_at=NOW, expires_at=NOW,
        )
    )  # fmt: skip


def _notification_url(session: Session, here: Installation, secret: str) -> None:
    row = models.NotificationTarget(name="chat", sealed_url="", created_at=NOW)
    session.add(row)
    session.flush()
    url = f"json://somebody:{secret}@127.0.0.1:9/{secret}"
    row.sealed_url = here.vault.seal(f"notification:{row.id}", url)


PLANTED: dict[str, Plant] = {
    "password": lambda session, here, secret: create_user(
        session, name="admin", password=secret, role=Role.ADMIN, actor="x", now=here.now()
    ),
    "totp": _totp,
    "api-token": _api_token,
    "notification-url": _notification_url,
}


def environment(keys: dict[str, str]) -> dict[str, str]:
    """Those that the environment sets."""
    keys["encryption-key"] = Fernet.generate_key().decode()
    for name in ("secret-key", "metrics-token", "oidc-secret"):
        keys[name] = canary(name)
    return {
        "OIDC_ISSUER": "https://127.0.0.1:9/realm",
        "OIDC_CLIENT_ID": "tallybridge",
        "OIDC_CLIENT_SECRET": keys["oidc-secret"],
        "OIDC_ROLES": "admin=admins",
        "TRUSTED_HOSTS": "localhost",
        "ENCRYPTION_KEY": keys["encryption-key"],
        "SECRET_KEY": keys["secret-key"],
        "METRICS_TOKEN": keys["metrics-token"],
    }


def vendor_keys(sandbox: Sandbox, keys: dict[str, str]) -> None:
    """Give the simulated vendors canaries for keys."""
    for name in ("sophos-secret", "public-key", "private-key", "bearer-token"):
        keys[name] = canary(name)
    sandbox.sophos.client_secret = keys["sophos-secret"]
    world = sandbox.connectwise
    world.public_key, world.private_key = keys["public-key"], keys["private-key"]
    pair = f"{world.company_id}+{world.public_key}:{world.private_key}"
    keys["basic-auth"] = base64.b64encode(pair.encode()).decode()
    sandbox._connectwise_api._credentials = f"Basic {keys['basic-auth']}"


# --- searching ----------------------------------------------------------------------------------


class Search:
    """Looks for every canary in everything that it is given, and remembers where one was."""

    def __init__(self, keys: dict[str, str]) -> None:
        self.keys = keys
        self.found: list[str] = []
        self.searched = 0

    def look(self, where: str, data: bytes | str) -> None:
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        self.searched += 1
        for name, secret in self.keys.items():
            encoded = base64.b64encode(secret.encode()).decode()
            for form in {secret, quote(secret, safe=""), encoded}:
                if form.encode() in raw:
                    self.found.append(f"{name} in {where}")
        if raw[:2] == b"PK":
            with zipfile.ZipFile(BytesIO(raw)) as archive:
                for part in archive.namelist():
                    self.look(f"{where}: {part}", archive.read(part))


def walk(search: Search, client: Client, app: Flask, stage: str) -> int:
    """Every page that has no argument, and every page that a link leads to from there."""
    waiting = [
        rule.rule for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.arguments
    ]  # fmt: skip
    seen = set(waiting)
    for path in itertools.islice(_taken(waiting), PAGES_AT_MOST):
        answer = FlaskClient.open(client, path)  # other tests judge the pages
        told(search, f"{stage} {path}", answer)
        for found in links(answer, path):
            if found not in seen:
                seen.add(found)
                waiting.append(found)
        answer.close()
    return len(seen)


def _taken(waiting: list[str]) -> Iterator[str]:
    while waiting:
        yield waiting.pop(0)


def links(answer: TestResponse, path: str) -> Iterator[str]:
    if answer.mimetype != "text/html":
        return
    for link in re.findall(r'<a [^>]*?href="([^"]+)"', answer.text):
        target = urlsplit(urljoin(path, html.unescape(link)))
        if not target.netloc and not target.scheme:
            yield f"{target.path}?{target.query}" if target.query else target.path


def told(search: Search, where: str, answer: TestResponse) -> TestResponse:
    """The body and the headers; a session's own cookie is meant for its browser."""
    search.look(where, answer.get_data())
    search.look(f"headers of {where}", str([h for h in answer.headers if h[0] != "Set-Cookie"]))
    return answer


# --- vendors that quote us ----------------------------------------------------------------------


class Parrot:
    """Refuses, and says every word of the request again, wherever an error has a place for it."""

    STATUSES = (400, 401, 403, 404, 409, 500)

    def __init__(self, sandbox: Sandbox, token: str | None) -> None:
        self.count = itertools.count()
        self.token = token
        for server in (sandbox._sophos_server, sandbox._connectwise_server):
            server.answer = self.answer

    def answer(self, request: Request) -> Answer:
        if self.token and "oauth2" in request.path:
            return json_answer(200, {"access_token": self.token, "expires_in": 3600})
        status = self.STATUSES[next(self.count) % len(self.STATUSES)]
        # The keys first: only the beginning of a long message is shown.
        keys = f"{request.header('authorization')} {request.body.decode(errors='replace')}"
        said = f"{keys} {request.target} {dict(request.headers)}"
        one = {"code": said, "message": said, "field": said}
        body = {"error": said, "errorCode": said, "correlationId": said, "errors": [one], **one}
        headers = {"x-cw-request-id": request.header("authorization") or "none"}
        return json_answer(status, body, headers)


# --- the test -----------------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with start(options(tenants=8, catalog=80)) as running:
        yield running


@pytest.fixture
def keys() -> dict[str, str]:
    return {}


@pytest.fixture
def app(sandbox: Sandbox, keys: dict[str, str], tmp_path: Path) -> Iterator[Flask]:
    """An installation in use: mapped, run once, its vendors' keys typed in by a person."""
    vendor_keys(sandbox, keys)
    made = make_app(tmp_path / "data", sandbox, stored=True, **environment(keys))
    made.test_client_class = Client
    here = installation_of(made)
    for name, plant in PLANTED.items():
        keys[name] = canary(name)
        with here.session() as session, session.begin():
            plant(session, here, keys[name])
    file = tmp_path / "sample.yaml"
    file.write_text(sandbox.sample_config(), encoding="utf-8")
    context = here.context(actor="admin", trigger="manual")
    import_config(context, read_config(file, context.settings()), dry_run=False)
    run(context)
    yield made
    close(made)


def signed_in(app: Flask, keys: dict[str, str]) -> Client:
    client = app.test_client()
    assert isinstance(client, Client)
    assert client.sign_in("admin", keys["password"]).status_code == 303
    with client.session_transaction() as session:
        keys["session-token"] = session["_user_id"]
    return client


@pytest.mark.slow
def test_no_secret_comes_out_anywhere(
    app: Flask, sandbox: Sandbox, keys: dict[str, str], tmp_path: Path
) -> None:
    search, here = Search(keys), installation_of(app)
    client = signed_in(app, keys)
    assert walk(search, client, app, "good") > 40
    for token in (None, keys["bearer-token"]):
        Parrot(sandbox, token)
        provoke(search, client, app)
        assert walk(search, client, app, "refused") > 40
    numbers = {"Authorization": f"Bearer {keys['metrics-token']}"}
    assert told(search, "metrics", client.get("/metrics", headers=numbers)).status_code == 200
    with here.reading() as session:
        search.look("config export", export_config(session))
    backup(here.engine, tmp_path / "backup", now=NOW)
    search.look("backup", (tmp_path / "backup").read_bytes())
    search.look("database", dump(here))
    for file in here.config.data_dir.iterdir():
        search.look(f"file {file.name}", file.read_bytes())
    assert (here.config.data_dir / "tallybridge.log").stat().st_size > 10_000
    assert len(keys) == 14
    assert search.searched > 200
    assert search.found == []


def provoke(search: Search, client: Client, app: Flask) -> None:
    """Everything that asks a vendor, by hand and by command."""
    here = installation_of(app)
    for verb in (preview, run):
        verb(here.context(actor="admin", trigger="manual"))
    for arguments in (["check"], ["check", "--json"], ["sync", "plan", "--json"], ["sync", "run"]):
        done = app.test_cli_runner().invoke(args=arguments)
        search.look(f"output of {arguments}", done.output + str(done.exception))
    for path in ("/settings/psa/test", "/settings/sophos/test"):
        told(search, path, client.post(path))
    tests = app.extensions["connection_tests"]
    while any(test.running for test in tests.found().values()):
        time.sleep(0.02)
    told(search, "test message", client.post("/settings/notifications/targets/1/test"))
    refused = client.post("/settings/psa", data={"connectwise_private_key": "x" * 501})
    told(search, "refused form", refused)


def dump(here: Installation) -> str:
    with closing(sqlite3.connect(str(here.engine.url.database))) as connection:
        return "\n".join(connection.iterdump())


def test_the_search_is_awake(tmp_path: Path) -> None:
    search = Search({"key": canary("key")})
    secret = search.keys["key"]
    for number, hidden in enumerate(
        [secret, json.dumps([secret]), base64.b64encode(secret.encode()).decode(), f"<{secret}>"]
    ):
        search.look(str(number), hidden)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", secret)
    search.look("archive", packed.getvalue())
    assert len(search.found) == 5


def test_the_parrot_quotes_our_keys(sandbox: Sandbox) -> None:
    heard = Parrot(sandbox, None).answer(
        Request("GET", "/x", "", {"authorization": "Basic abcd"}, b"secret=1234")
    )
    assert b"Basic abcd" in heard.body
    assert b"secret=1234" in heard.body
