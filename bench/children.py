"""Measuring in a process of its own: nothing measured before warms it up or fills its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """A measurement could not be made; the message says why."""


def clean_environment() -> dict[str, str]:
    """Our environment without settings of a Tallybridge that may be installed here."""
    return {name: text for name, text in os.environ.items() if not name.startswith("TALLYBRIDGE_")}


def run_child(*arguments: str, seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """Run `python -m ...` in the project's folder and return what it printed.

    Raises BenchError when it fails or has not ended after so many seconds; it is killed then.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env={**clean_environment(), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{arguments[0]} did not end within {seconds:.0f} seconds") from None
    if done.returncode:
        raise BenchError(f"{' '.join(arguments[:3])} failed:\n{done.stderr[-2_000:]}")
    return done.stdout


def measure(
    module: str, *arguments: str, seconds: float, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What a measuring module printed as its one JSON object."""
    printed = run_child(module, *arguments, seconds=seconds, environment=environment)
    found: dict[str, Any] = json.loads(printed)
    return found
