"""Both vendors simulated in a process of their own, and what they can tell of a run."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.children import ROOT, BenchError, clean_environment

CALLS_PER_MINUTE = 1_000
TODAY = dt.date(2026, 11, 22)
"""The day that the simulated vendors show: the report of October is the newest one then."""


@dataclass(frozen=True, slots=True)
class Vendors:
    """Two running servers: the environment that leads to them, and mappings that fit them."""

    environment: dict[str, str]
    mappings: Path

    def state(self, *parts: str) -> dict[str, Any]:
        """What the vendors hold, for example `agreements` and `additions`."""
        found: dict[str, Any] = self._ask("GET", f"state?part={','.join(parts)}")
        return found

    def edit(self, **what: object) -> None:
        """Change something as a person or a vendor would."""
        self._ask("POST", "edit", what)

    def log(self) -> list[dict[str, Any]]:
        """Every request since the log was emptied, with its answer's status."""
        entries: list[dict[str, Any]] = self._ask("GET", "log")["entries"]
        return entries

    def clear_log(self) -> None:
        """Begin a new log."""
        self._ask("DELETE", "log")

    def _ask(self, method: str, what: str, body: object = None) -> Any:
        url = f"{self.environment['TALLYBRIDGE_CONNECTWISE_SITE']}/_sandbox/{what}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310  (loopback)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read())


@contextmanager
def vendors(folder: Path, *, tenants: int, latency: float, lifetime: float) -> Iterator[Vendors]:
    """Start the sandbox and stop it at the end; it also ends with us, or after its lifetime."""
    env_file, config_file = folder / "vendors.env", folder / "mappings.yaml"
    command = [sys.executable, "-m", "sandbox", "--stop-with-stdin"]
    command += ["--tenants", str(tenants), "--latency", str(latency), "--today", str(TODAY)]
    command += ["--rate-limit", str(CALLS_PER_MINUTE), "--max-lifetime", str(lifetime)]
    command += ["--env-file", str(env_file), "--config-file", str(config_file)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            # The files are whole before the first line is printed.
            if process.stdout is None or not process.stdout.readline():
                raise BenchError("the sandbox did not start")
            yield Vendors(_read_environment(env_file), config_file)
        finally:
            process.terminate()


def _read_environment(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)
