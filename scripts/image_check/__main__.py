"""Build the container image and try it for real: `make image-check`. Needs root and minutes.

Works without docker: buildah builds, namespaces of the kernel run it. Everything that it makes
is removed at the end but the archive of the base system.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.children import BenchError
from bench.table import Figure, print_table
from scripts.image_check.alive import alive
from scripts.image_check.base import CACHE
from scripts.image_check.build import build, storage
from scripts.image_check.shell import CheckError, told
from scripts.image_check.still import still
from scripts.image_check.synced import free_ports, synced

_TOOLS = ("buildah", "debootstrap", "unshare", "nsenter", "setpriv", "chroot")
_MEMORY_LIMIT = 512 * 1024 * 1024
"""compose.yaml's."""


def main() -> int:
    """Everything in its order; exit code 1: not as promised; 2: it cannot be tried here."""
    missing = [name for name in _TOOLS if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        told(f"This needs root on Debian, and {', '.join(_TOOLS)}. Missing: {missing or 'root'}.")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was made is removed
    figures: list[Figure] = []
    try:
        with _folder() as folder, storage(folder), _control_group() as group:
            image = build(folder)
            for part in (
                still(image),
                alive(image, folder, *free_ports(1)),
                synced(image, folder, group),
            ):
                figures += part
    except (CheckError, BenchError) as error:
        print_table("The container image, as far as it was tried", figures)
        told(f"\nIt could not be tried any further: {error}")
        return 1
    print_table("The container image", figures)
    told(
        "\nNot tried here: a container engine's own network and seccomp filter, and the official "
        "Python base image where no registry was reached."
    )
    return 1 if any(figure.met is False for figure in figures) else 0


@contextmanager
def _folder() -> Iterator[Path]:
    """Where everything is kept meanwhile; nothing can be mounted in it in our namespace."""
    CACHE.mkdir(mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="check-", dir=CACHE) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def _control_group() -> Iterator[Path | None]:
    """A control group with compose.yaml's memory limit, where this machine lets us make one."""
    top = Path("/sys/fs/cgroup")
    old = (top / "memory").is_dir()
    group = top / ("memory" if old else "") / f"tallybridge-check-{os.getpid()}"
    limit = group / ("memory.limit_in_bytes" if old else "memory.max")
    try:
        group.mkdir()
        limit.write_text(str(_MEMORY_LIMIT), encoding="ascii")
        yield group
    except OSError as error:
        told(f"No control group, so no memory limit: {error.strerror}")
        yield None
    finally:
        with suppress(OSError):
            time.sleep(0.5)  # whoever was killed in it is gone then
            group.rmdir()


if __name__ == "__main__":
    sys.exit(main())
