"""Running programs of this machine, with a time limit and a plain word when they fail."""

from __future__ import annotations

import subprocess
import sys


class CheckError(Exception):
    """The check cannot go on; the message says why."""


def told(text: str) -> None:
    """Say what is being done, at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def run(*command: str, seconds: float = 300) -> str:
    """What a program printed. Raises CheckError when it fails or takes longer than `seconds`."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise CheckError(f"{command[0]} is not installed here") from None
    except subprocess.TimeoutExpired:
        raise CheckError(f"{command[0]} did not end within {seconds:.0f} seconds") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-2_000:]
        raise CheckError(f"{' '.join(command[:3])} ended with {done.returncode}:\n{said}")
    return done.stdout
