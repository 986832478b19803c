"""The throw-away PostgreSQL of the tests ends with them, even when they are killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.postgres import programs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
STARTS_ONE = """
import sys
from tests.postgres import Server
server = Server.start()
print(server.process.pid, server.folder, flush=True)
sys.stdin.read()
"""


def test_a_server_whose_tests_were_killed_is_gone_and_its_folder_too() -> None:
    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as tests:  # fmt: skip
        assert tests.stdout is not None
        pid, folder = tests.stdout.readline().split()
        assert Path(folder).is_dir()
        tests.kill()
    until = time.monotonic() + 30
    while (Path(folder).exists() or _lives(int(pid))) and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert not _lives(int(pid))


def _lives(pid: int) -> bool:
    """A process whose parent is gone too may stay as a zombie, where nobody takes it in."""
    try:
        os.kill(pid, 0)
        return " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
