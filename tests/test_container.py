"""The container: what its files promise, without building it. `make image-check` tries it."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from config import Config
from scripts import healthcheck, sbom
from tests.test_architecture import OURS

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
COMPOSE = (ROOT / "compose.yaml").read_text(encoding="utf-8")
KNOWN = {
    f"TALLYBRIDGE_{name.upper()}{end}" for name in Config.model_fields for end in ("", "_FILE")
}


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} +(.*)$", joined, re.MULTILINE)


# --- the image ----------------------------------------------------------------------------------


def test_the_image_runs_as_nobody_special() -> None:
    user = instructions("USER")[-1]
    assert re.fullmatch(r"[1-9]\d{3,}:0", user), "a number, so that platforms can tell it from root"
    assert DOCKERFILE.index("USER ") < DOCKERFILE.index("\nCMD ")
    assert f"chown {user} /data && chmod 770 /data" in DOCKERFILE


@pytest.mark.parametrize("line", [*instructions("CMD"), *instructions("HEALTHCHECK")])
def test_no_shell_stands_between_it_and_its_signals(line: str) -> None:
    command = json.loads(line[line.index("[") :])
    assert len(command) > 1


def test_only_ready_made_packages_with_the_right_hash_come_in() -> None:
    lines = [line for line in instructions("RUN") if "pip" in line and " install" in line]
    assert len(lines) == 1
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "type=secret"):
        assert option in lines[0]
    assert not instructions("ADD")
    assert "apt-get" not in DOCKERFILE


def test_no_secret_is_a_build_argument_or_a_variable() -> None:
    named = " ".join([*instructions("ARG"), *instructions("ENV")]).upper()
    assert not re.search(r"KEY|TOKEN|PASSWORD|SECRET", named)


def test_the_image_sets_only_what_the_app_knows() -> None:
    assert set(re.findall(r"TALLYBRIDGE_\w+", DOCKERFILE)) <= KNOWN


def test_all_that_the_app_is_made_of_comes_along_and_nothing_else() -> None:
    assert IGNORED[IGNORED.index("*") - 1].startswith("#"), "nothing, unless it is named"
    named = {line[1:] for line in IGNORED if line.startswith("!")}
    parts = OURS - {"tests", "bench", "demo"} | {"migrations", "static", "templates"}
    wanted = {name if (ROOT / name).is_dir() else f"{name}.py" for name in parts}
    assert wanted < named
    for name in named - {"build/sbom.json"}:
        assert (ROOT / name).exists(), f"{name} is not there (any more)"
    rest = named - wanted
    assert not rest & {"tests", "bench", "docs", "data", "secrets", ".git", "scripts"}


def test_the_command_can_be_run() -> None:
    for name in ("tallybridge", "image"):
        mode = (ROOT / "scripts" / name).stat().st_mode
        assert mode & stat.S_IXUSR, name


# --- compose.yaml -------------------------------------------------------------------------------


def service() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]["tallybridge"]
    return found


def test_compose_gives_it_no_rights_and_no_place_to_write() -> None:
    found = service()
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert found["volumes"] == ["data:/data"]
    assert [mount.split(":")[0] for mount in found["tmpfs"]] == ["/tmp"]
    assert found["mem_limit"]
    assert "privileged" not in COMPOSE.replace("no-new-privileges", "")


def test_compose_opens_it_to_this_machine_only_and_writes_nothing_at_first() -> None:
    found = service()
    assert all(port.startswith("127.0.0.1:") for port in found["ports"])
    assert found["environment"] == {"TALLYBRIDGE_READ_ONLY": "true"}


def test_compose_waits_longer_than_the_server_does() -> None:
    wait = int(re.findall(r"^graceful_timeout = (\d+)", gunicorn_conf(), re.MULTILINE)[0])
    assert int(service()["stop_grace_period"].removesuffix("s")) >= wait + 10


def test_compose_names_only_variables_that_exist_commented_ones_too() -> None:
    named = set(re.findall(r"TALLYBRIDGE_\w+", COMPOSE))
    assert len(named) > 8
    assert named <= KNOWN


def test_what_compose_offers_in_comments_is_sound() -> None:
    """Every commented line that looks like YAML taken in: files of secrets, PostgreSQL."""
    offered = re.compile(r"^( *)# ( *(?:- )?[\w./-]+:?(?:(?<=:) \S+| {12}.*)?(?: +# .*)?)$")
    text = "\n".join(offered.sub(r"\1\2", line) for line in COMPOSE.splitlines())
    found = yaml.safe_load(text)
    assert set(found["services"]) == {"tallybridge", "postgres"}
    assert set(found["volumes"]) == {"data", "postgres"}
    used = {name for each in found["services"].values() for name in each["secrets"]}
    assert used == set(found["secrets"])
    mounted = set(re.findall(r"/run/secrets/(\w+)", text))
    assert mounted == used


# --- how the process starts ---------------------------------------------------------------------


def gunicorn_conf() -> str:
    return (ROOT / "gunicorn.conf.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("environment", "bind"),
    [
        ({}, "127.0.0.1:8000"),
        ({"BIND": "0.0.0.0", "PORT": "9000"}, "0.0.0.0:9000"),
        ({"BIND": "[::]"}, "[::]:8000"),
        ({"BIND": "", "PORT": ""}, "127.0.0.1:8000"),
    ],
)
def test_the_environment_says_where_it_listens(environment: dict[str, str], bind: str) -> None:
    code = (
        "import os, runpy; found = runpy.run_path('gunicorn.conf.py');"
        "print(found['bind'], oct(os.umask(0)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [bind, "0o77"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TALLYBRIDGE_READONLY", "true", "did you mean TALLYBRIDGE_READ_ONLY?"),
        ("TALLYBRIDGE_DATA_DIR", "/proc/nowhere", "/proc/nowhere cannot be made"),
    ],
)
def test_what_stops_the_start_ends_the_server(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    """And not one worker after the other for ever, which a container would call running."""
    done = started(tmp_path, {name: value})
    assert done.returncode == 2
    assert done.stderr.count(told) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_database_of_a_newer_version_ends_the_server_too(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "tallybridge.db")) as database, database:
        database.execute("create table alembic_version (version_num text)")
        database.execute("insert into alembic_version values ('9999')")
    done = started(tmp_path, {})
    assert done.returncode == 2
    assert "Tallybridge cannot start. The database has schema 9999" in done.stderr
    assert "Traceback" not in done.stderr


def started(folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The server, until it ends by itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "app:create_app()"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PORT": port,
            "TALLYBRIDGE_DATA_DIR": str(folder),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- the health check ---------------------------------------------------------------------------


@contextmanager
def answering(status: int, text: str) -> Iterator[dict[str, str]]:
    """A web page that answers every request so; gives the environment that points there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text.encode() if self.path == "/healthz" else b"elsewhere"
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield {"BIND": "0.0.0.0", "PORT": str(server.server_address[1])}
        finally:
            server.shutdown()
            thread.join()


def test_a_good_answer_is_healthy() -> None:
    with answering(200, "{}") as environment:
        assert healthcheck.problem(environment) is None


def test_a_page_that_is_not_there_is_not_healthy() -> None:
    with answering(404, "no such page") as environment:
        assert healthcheck.problem(environment) == "404: no such page"


def test_any_other_answer_is_not_and_says_why() -> None:
    with answering(503, '{"reasons":\n ["the disk is full"]}') as environment:
        told = healthcheck.problem(environment)
    assert told == '503: {"reasons": ["the disk is full"]}'


@pytest.mark.parametrize("port", ["1", "none", "99999999"])
def test_no_answer_is_not_healthy(port: str) -> None:
    told = healthcheck.problem({"PORT": port})
    assert told is not None
    assert told.startswith("The web page does not answer: ")


def test_the_health_check_is_a_program() -> None:
    with answering(503, "no") as environment:
        done = subprocess.run(
            [sys.executable, "-IS", "scripts/healthcheck.py"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (1, "503: no\n", "")


# --- building -----------------------------------------------------------------------------------


def built_with(
    folder: Path, engines: dict[str, str], **environment: str
) -> subprocess.CompletedProcess[str]:
    """scripts/image with only these engines there; each is a small shell script."""
    for name, script in engines.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    for name in ("git", "sed", "head", "dirname", "sh"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    return subprocess.run(
        ["/bin/sh", ROOT / "scripts/image"],
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


TELLS = '[ "$1" = info ] || [ "$1" = images ] || echo "${0##*/} $*"'


def test_an_engine_without_a_daemon_behind_it_is_passed_over(tmp_path: Path) -> None:
    dead = 'echo "Cannot connect to the daemon" >&2; exit 1'
    done = built_with(tmp_path, {"docker": dead, "podman": TELLS, "buildah": TELLS})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("podman build --format docker --build-arg VERSION=")
    assert "--tag tallybridge:" in done.stdout


def test_docker_comes_first_and_gets_what_was_asked_for(tmp_path: Path) -> None:
    wanted = {"BASE_IMAGE": "base:1", "IMAGE": "mine:2", "PIP_CONF": "/tmp/pip.conf"}
    done = built_with(tmp_path, {"docker": TELLS, "podman": TELLS}, **wanted)
    assert done.stdout.startswith("docker build --build-arg VERSION=")
    assert "--build-arg BASE_IMAGE=base:1" in done.stdout
    assert "--tag mine:2" in done.stdout
    assert "--secret id=pip_conf,src=/tmp/pip.conf" in done.stdout


def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    done = built_with(tmp_path, {})
    assert done.returncode == 1
    assert done.stderr.startswith("Neither docker, podman nor buildah works here")


# --- the bill of materials ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return sbom.sbom()


def test_every_locked_package_is_in_the_bill(bill: dict[str, Any]) -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", lock, re.MULTILINE))
    assert len(locked) > 40
    listed = {c["name"]: c for c in bill["components"] if c["purl"].startswith("pkg:pypi/")}
    assert {name: c["version"] for name, c in listed.items()} == locked
    for name, component in listed.items():
        given = {h["content"] for r in component["externalReferences"] for h in r["hashes"]}
        block = re.split(rf"^{re.escape(name)}==", lock, flags=re.MULTILINE)[1].partition("\n")[2]
        block = re.split(r"^(?=[a-z0-9])", block, maxsplit=1, flags=re.MULTILINE)[0]
        assert given == set(re.findall("sha256:([0-9a-f]{64})", block)), name


def test_every_vendored_file_is_in_the_bill(bill: dict[str, Any]) -> None:
    listed = {
        file["name"]: (
            file["hashes"][0]["content"],
            c["version"],
            c["licenses"][0]["license"]["id"],
        )
        for c in bill["components"]
        for file in c.get("components", [])
    }
    entries = json.loads((ROOT / "static/vendor/vendored.json").read_text(encoding="utf-8"))
    assert listed == {
        f"static/vendor/{e['file']}": (e["sha256"], e["version"], e["licence"]) for e in entries
    }


@pytest.mark.slow
def test_the_bill_is_cyclonedx(bill: dict[str, Any]) -> None:
    assert sbom.problem(bill) is None
    assert sbom.problem({**bill, "components": [{"name": "nothing else"}]}) is not None


def test_the_bill_says_who_needs_whom(bill: dict[str, Any]) -> None:
    needs = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    assert set(needs) == {c["bom-ref"] for c in bill["components"]} | {"tallybridge"}
    reached, open_ones = set(), ["tallybridge"]
    while open_ones:
        ref = open_ones.pop()
        if ref not in reached:
            reached.add(ref)
            open_ones += needs[ref]
    assert reached == set(needs), "everything is there because of something"
    direct = {ref.split("@")[0].rpartition("/")[2] for ref in needs["tallybridge"]}
    assert {"flask", "sqlalchemy", "htmx.org"} <= direct
    assert "werkzeug" not in direct


@pytest.mark.slow
def test_the_same_bill_comes_out_twice_and_names_no_place(bill: dict[str, Any]) -> None:
    text = json.dumps(bill)
    assert json.dumps(sbom.sbom()) == text
    assert str(ROOT) not in text
    assert "timestamp" not in bill["metadata"]
    assert "serialNumber" not in bill
