"""A throw-away PostgreSQL, when its programs are installed: one server, as many databases as asked.

It listens on a free port of 127.0.0.1, keeps nothing, and ends with the block that asked for it.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

OWNER = "postgres"
"""PostgreSQL refuses to run as root."""


def programs() -> Path | None:
    """Where the programs of the newest PostgreSQL stand; None when there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    return found[-1].parent if found else None


@dataclass
class Server:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        command = [
            str(_bin() / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=60",
        ]  # fmt: skip
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=_owner())
        end = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(0.05)

    def stop(self) -> None:
        """At once, as if by a power cut: nobody's connection survives."""
        self.process.send_signal(3)
        self.process.wait(timeout=60)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{OWNER}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; returns its address."""
        self.do(f"create database {database}")
        return self.url(database)

    def do(self, statement: str) -> list[sa.Row[tuple[object, ...]]]:
        """Run one statement as the owner of everything."""
        engine = sa.create_engine(
            self.url().replace("postgresql:", "postgresql+psycopg:"),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.pool.NullPool,
        )
        with engine.connect() as connection:
            result = connection.execute(sa.text(statement))
            return list(result) if result.returns_rows else []

    def _answers(self) -> bool:
        with contextlib.suppress(sa.exc.OperationalError):
            self.do("select 1")
            return True
        return False


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """A server of our own until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="tallybridge-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER, OWNER)
        command = [str(_bin() / "initdb"), "-D", str(folder / "data"), "-U", OWNER]
        command += ["-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, user=_owner())
        made = Server(folder, _free_port())
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bin() -> Path:
    found = programs()
    assert found is not None, "PostgreSQL is not installed"
    return found


def _owner() -> str | None:
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam(OWNER).pw_name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
