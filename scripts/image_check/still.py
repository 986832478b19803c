"""What the image is while nothing runs: its size, what is in it, and what must not be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from bench.table import Figure, told
from scripts.image_check.build import Image, size

_NOT_IN_IT = {
    "pip": "venv/bin/pip*", "pip, elsewhere": "usr/bin/pip*", "gcc": "usr/bin/gcc*",
    "cc": "usr/bin/cc", "make": "usr/bin/make", "tests": "app/tests", "documents": "app/docs",
    "a clone": "app/.git", "data": "app/data", "environment": "app/.env*", "caches": "root/.cache",
    "pip's settings": "etc/pip.conf", "build secrets": "run/secrets/*", "content": "data/*",
}  # fmt: skip


def still(image: Image) -> Iterator[Figure]:
    """Every figure that can be had by looking."""
    venv, app = size(image.root / "venv"), size(image.root / "app")
    whole = size(image.root)
    parts = f"base {image.base_bytes / 1e6:.0f}, libraries {venv / 1e6:.0f}, app {app / 1e6:.1f}"
    yield told("built in", f"{image.seconds:.0f} s")
    yield told("size on the disk", f"{whole / 1e6:.0f} MB ({parts})")
    found = [name for name, pattern in _NOT_IN_IT.items() if list(image.root.glob(pattern))]
    yield _none("pip, compilers, tests, secrets in it", found)
    files = [path for path in _files(image.root) if path.is_file() and not path.is_symlink()]
    yield _none("setuid and setgid files", [p for p in files if p.stat().st_mode & 0o6000])
    ours = [p for p in files if p.relative_to(image.root).parts[0] in ("app", "venv")]
    writable = [p for p in ours if p.stat().st_mode & 0o022 or p.stat().st_uid]
    yield _none("files of the app that another user may write", writable)
    unreadable = [p for p in ours if not p.stat().st_mode & stat.S_IROTH]
    yield _none("files of the app that another user cannot read", unreadable)
    bare = [p for p in ours if p.suffix == ".py" and not _compiled(p)]
    modules = sum(path.suffix == ".py" for path in ours)
    names = ", ".join(path.name for path in bare[:3])
    yield told("modules without bytecode", f"{len(bare)} of {modules} {names}")
    there = (image.root / "app/build/sbom.json").exists()
    yield told("bill of materials", "in it" if there else "none")
    wanted = {"User": "10001:0", "StopSignal": "SIGTERM", "Volumes": {"/data": {}}}
    wrong = [name for name, value in wanted.items() if image.config[name] != value]
    yield _none("settings of the image not as meant", wrong)
    check = image.config.get("Healthcheck") or {}
    yield Figure("health check", "there", "there" if check else "none", bool(check))


def _none(what: str, found: list[str] | list[Path]) -> Figure:
    shown = ", ".join(str(each) for each in found[:3])
    return Figure(what, "none", f"{len(found)}: {shown}" if found else "none", not found)


def _files(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)


def _compiled(path: Path) -> bool:
    return any((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"))
