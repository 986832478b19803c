"""One installation of Tallybridge against the sandbox, driven by its command line only."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.engine import Connection

from sandbox import Options, Sandbox
from tests.databases import empty_url, on_postgresql

ROOT = Path(__file__).resolve().parents[2]
FLASK = [sys.executable, "-m", "flask", "--app", "app"]
NO_LIMITS: dict[str, Any] = {"sophos_limits": (), "connectwise_rate_per_minute": 100_000}
RUNS = (
    "sync_runs", "changes", "findings", "usage_reports", "usage_lines",
    "comparisons", "compared_rows",
)  # fmt: skip
"""The tables in which runs are recorded, those that fail included."""
SEEN = ("product_mappings", "tenant_mappings")
"""The tables in which a run notes what Sophos shows for the first time."""
SECRETS = ("CLIENT_SECRET", "PUBLIC_KEY", "PRIVATE_KEY")


def small(**changes: Any) -> Options:
    """Six customers, and a report of the present month."""
    return Options(
        **{"tenants": 6, "products": 8, "catalog": 60, "report_ready": True, **NO_LIMITS, **changes}
    )


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it must be."""
        return json.loads(self.out)

    @property
    def last(self) -> str:
        """The last line of standard error: the sentence that matters."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""


@dataclass
class Installation:
    """A data directory with an environment. `call` stays in this process, `shell` starts one."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)
    sandbox: Sandbox | None = None

    @classmethod
    def at(cls, sandbox: Sandbox, home: Path) -> Installation:
        """An empty installation that points to a sandbox."""
        home.mkdir(parents=True, exist_ok=True)
        env = {"TALLYBRIDGE_DATA_DIR": str(home / "data"), **sandbox.env()}
        if on_postgresql():
            env["TALLYBRIDGE_DATABASE_URL"] = empty_url(home)
        return cls(home, env, sandbox)

    @property
    def database(self) -> Path:
        return self.home / "data" / "tallybridge.db"

    @property
    def url(self) -> str:
        """The address of its database."""
        return self.env.get("TALLYBRIDGE_DATABASE_URL") or f"sqlite:///{self.database}"

    def call(self, *arguments: object, input: str | None = None, **env: str) -> Answer:  # noqa: A002
        """A command in this process; env values are named without TALLYBRIDGE_."""
        from app import create_app, engine_of
        from config import load_config

        app = create_app(load_config(self._environment(env)))
        try:
            result = app.test_cli_runner().invoke(args=[str(a) for a in arguments], input=input)
        finally:
            engine_of(app).dispose()
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"{arguments} ended in a traceback") from result.exception
        return self._heard(Answer(result.exit_code, result.stdout, result.stderr))

    def shell(
        self,
        *arguments: object,
        input: str | None = None,  # noqa: A002
        command: tuple[str, ...] = (),
        **env: str,
    ) -> Answer:
        """The same as a process of its own, exactly as product.md writes it."""
        done = subprocess.run(
            [*(command or FLASK), *(str(a) for a in arguments)],
            env={"PATH": os.environ["PATH"], **self._environment(env)},
            cwd=ROOT,
            input=input,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return self._heard(Answer(done.returncode, done.stdout, done.stderr))

    def write(self, text: str, name: str = "mappings.yaml") -> Path:
        """A file of the person at the command line."""
        file = self.home / name
        file.write_text(text, encoding="utf-8")
        return file

    def sample(self) -> dict[str, Any]:
        """The mappings that fit the sandbox, to be changed by a test."""
        assert self.sandbox is not None
        document: dict[str, Any] = yaml.safe_load(self.sandbox.sample_config())
        return document

    def configured(self) -> Installation:
        """The same installation after the sample has been imported."""
        assert self.sandbox is not None
        file = self.write(self.sandbox.sample_config(), "sample.yaml")
        answer = self.call("config", "import", file)
        assert answer.code == 0, answer
        return self

    def rows(self, *without: str) -> dict[str, list[tuple[Any, ...]]]:
        """All rows of all tables; empty when there is no database."""
        if not on_postgresql() and not self.database.exists():
            return {}
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return {
                name: found
                for name in sorted(sa.inspect(connection).get_table_names())
                if name not in without and (found := sorted(_rows(connection, name), key=repr))
            }

    def restored(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows after a restore, without the one in the audit that tells of it."""
        rows = self.rows()
        others = [row for row in rows["audit_events"] if row[3] != "backup.restore"]
        assert len(others) == len(rows["audit_events"]) - 1
        return {**rows, "audit_events": others}

    @contextmanager
    def unchanged(self, *without: str) -> Iterator[None]:
        """Fail when what happens inside changes the database, or anything at the vendors."""
        before, vendors = self.rows(*without), self._vendors()
        yield
        after = self.rows(*without)
        after.pop("alembic_version", None)  # a database that is made on the way is no loss
        before.pop("alembic_version", None)
        assert after == before
        assert self._vendors() == vendors

    def _environment(self, changes: Mapping[str, str]) -> dict[str, str]:
        return {**self.env, **{f"TALLYBRIDGE_{name}": value for name, value in changes.items()}}

    def _vendors(self) -> str:
        return "" if self.sandbox is None else json.dumps(self.sandbox.state(), sort_keys=True)

    def _heard(self, answer: Answer) -> Answer:
        said = answer.out + answer.err
        assert "Traceback" not in said, said
        for name, value in self.env.items():
            if name.endswith(SECRETS):
                assert value not in said, f"{name} was said aloud"
        return answer


def _rows(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    """As the driver gives them; JSON as its text on both kinds of database."""
    return [
        tuple(_as_text(value) for value in row)
        for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')
    ]


def _as_text(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value) if isinstance(value, dt.date) else value


def refused(answer: Answer, *words: str, code: int = 1) -> None:
    """One clear sentence on standard error that contains the words, and the exit code."""
    assert answer.code == code, answer
    text = answer.last
    for word in words:
        assert re.search(word, text), f"{word!r} is not in {text!r}"
    if code == 1:
        assert len(answer.err.strip().splitlines()) == 1, answer.err
        assert text.startswith("Error: ")
        assert re.search(r"\.( \[[^\]]+\])?$", text), "a sentence, and perhaps the id of a request"
