"""Where the figures were taken: they mean little without it."""

from __future__ import annotations

import os
import platform
import resource
import sqlite3


def facts() -> str:
    """Cores, interpreter and database in one line."""
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def cpu_seconds() -> float:
    """What this process has used so far, in the system's name too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """The most memory that this process ever held (Linux counts in kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
