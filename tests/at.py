"""Runs a module by a clock that begins at a moment: `python -m tests.at MOMENT flask --app app`.

For processes that work on what the tests prepared: it has a month of its own, and whoever runs the
tests next year must find the same.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import runpy
import signal
import sys

import time_machine

_PARENT_DEATH = 1  # PR_SET_PDEATHSIG


def end_with_parent() -> None:
    """Have this process killed when the tests that started it die, however they die."""
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)


def main(moment: str, module: str, *arguments: str) -> None:
    """Set the clock, which goes on from there, and become the module."""
    end_with_parent()
    time_machine.travel(dt.datetime.fromisoformat(moment), tick=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
