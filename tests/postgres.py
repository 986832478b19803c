"""A throw-away PostgreSQL from the installed programs: nothing of it survives the tests.

Not even when they are killed: a small process waits for their end, and clears away then.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine

PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")
# Tests lose nothing in a power cut: what makes PostgreSQL durable is what makes it slow.
QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "timezone": "UTC",
}

_ROOM = 2 << 30
_CLEAR_AWAY = 'cat > /dev/null; "$1/pg_ctl" stop -s -m immediate -D "$2/data"; rm -rf "$2"'
"""Standard input ends when nobody holds its other end any more, whatever became of them."""


def programs() -> Path | None:
    """The folder of initdb and postgres, of the newest version installed; None without one."""
    found = [p.parent for place in PLACES for p in Path(place).glob("**/bin/initdb")]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, key=_version, default=None)


def _version(folder: Path) -> list[int]:
    return [int(part) for part in folder.parts if part.isdigit()]


@dataclass
class Server:
    """A running server; `url(name)` is the address of one of its databases."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    watcher: subprocess.Popen[bytes]

    @classmethod
    def start(cls) -> Server:
        """Make a cluster in a new folder and start it; takes about two seconds."""
        bin_folder = programs()
        if bin_folder is None:
            raise RuntimeError("PostgreSQL is not installed: see scripts/install-postgresql")
        folder = Path(tempfile.mkdtemp(prefix="tallybridge-postgres-", dir=_quickest()))
        account = _account()
        if account:
            shutil.chown(folder, account["user"], account["group"])
        watcher = _watcher(bin_folder, folder)
        subprocess.run(
            [bin_folder / "initdb", "-D", folder / "data", "-U", "tests", "-A", "trust",
             "-E", "UTF8", "--locale=C", "--no-sync"],
            check=True, stdout=subprocess.DEVNULL, cwd=folder, **account,
        )  # fmt: skip
        port = free_port()
        server = cls(folder, port, _launched(folder, port), watcher)
        server._wait()
        return server

    def crash(self) -> None:
        """At once, as if by a power cut: nobody's connection survives."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def restart(self) -> None:
        """Come back after a crash, under the same address."""
        self.process = _launched(self.folder, self.port)
        self._wait()

    def create(self, database: str) -> str:
        """A new, empty database; returns its address."""
        self.execute(f"CREATE DATABASE {database}")
        return self.url(database)

    def url(self, database: str) -> str:
        """The address of a database, as TALLYBRIDGE_DATABASE_URL takes it."""
        address = URL.create(
            "postgresql+psycopg", "tests", host="127.0.0.1", port=self.port, database=database
        )
        return address.render_as_string()

    def execute(self, statement: str) -> None:
        """One statement outside of any transaction, such as CREATE DATABASE."""
        engine = self._engine("postgres")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def stop(self) -> None:
        """End at once, and leave nothing."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.watcher.communicate()

    def _engine(self, database: str) -> Engine:
        return sa.create_engine(
            self.url(database), poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
        )

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.execute("SELECT 1")
            except sa.exc.OperationalError:
                time.sleep(0.05)
            else:
                return
        said = (self.folder / "log").read_text(errors="replace")
        self.stop()
        raise RuntimeError(f"PostgreSQL did not start: {said}")


def _launched(folder: Path, port: int) -> subprocess.Popen[bytes]:
    bin_folder = programs()
    assert bin_folder is not None
    options = [part for name, value in QUICK.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [bin_folder / "postgres", "-D", folder / "data", "-p", str(port), *options],
            stdout=log, stderr=log, cwd=folder, **_account(),
        )  # fmt: skip


def _watcher(bin_folder: Path, folder: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that what ends the tests does not end it too."""
    return subprocess.Popen(
        ["/bin/sh", "-c", _CLEAR_AWAY, "watcher", bin_folder, folder],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        cwd="/", start_new_session=True, **_account(),
    )  # fmt: skip


def _quickest() -> str | None:
    """In memory where there is room: making a database is four times as quick there."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return str(memory) if usable and shutil.disk_usage(memory).free > _ROOM else None


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root; its package brings a user for it."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
