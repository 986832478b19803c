"""Build the image for real, in a storage of its own that is removed afterwards."""

from __future__ import annotations

import ast
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.image_check.base import base_images
from scripts.image_check.shell import run, told

NAME = "localhost/tallybridge:check"


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: what it says of itself, its unpacked files, how long building took."""

    config: dict[str, Any]
    root: Path
    seconds: float
    base_bytes: int

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.config["Env"])


@contextmanager
def storage(folder: Path) -> Iterator[None]:
    """Buildah's images in this folder only; works without a daemon and without namespaces."""
    settings = folder / "storage.conf"
    settings.write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n',
        encoding="utf-8",
    )
    os.environ |= {"CONTAINERS_STORAGE_CONF": str(settings), "BUILDAH_ISOLATION": "chroot"}
    try:
        yield
    finally:
        run("buildah", "rm", "--all")


def build(folder: Path) -> Image:
    """Build with scripts/image, over the base given in the environment or one made here."""
    if "BASE_IMAGE" not in os.environ:
        os.environ |= base_images()
    pip_conf, flags = _pip_settings(folder)
    flags += ["--layers=false", "--quiet"]
    os.environ |= {
        "ENGINE": "buildah",
        "IMAGE": NAME,
        "PIP_CONF": str(pip_conf),
        "BUILD_FLAGS": " ".join([os.environ.get("BUILD_FLAGS", ""), *flags]),
    }
    told("Building the image")
    begun = time.monotonic()
    run("scripts/image", seconds=1_800)
    seconds = time.monotonic() - begun
    container = run("buildah", "from", NAME).strip()
    root = Path(run("buildah", "mount", container).strip())
    inspected = json.loads(run("buildah", "inspect", "--type", "image", NAME))
    base = run("buildah", "from", os.environ["BASE_IMAGE"]).strip()
    base_bytes = size(Path(run("buildah", "mount", base).strip()))
    return Image(inspected["Docker"]["config"], root, seconds, base_bytes)


def size(path: Path) -> int:
    """The bytes that a folder takes on the disk."""
    return int(run("du", "-s", "--block-size=1", str(path)).split()[0])


def _pip_settings(folder: Path) -> tuple[Path, list[str]]:
    """How pip finds packages on this machine, and the mount that it needs; for the build only.

    Folders of this machine are left out: they would leave mount points in the image.
    """
    kept: dict[str, str] = {}
    for line in run("pip", "config", "list").splitlines():
        name, _, quoted = line.partition("=")
        name = name.removeprefix(":env:.").removeprefix("global.")
        value = str(ast.literal_eval(quoted))
        values = [v for v in value.split() if not v.startswith(("/", "file:"))]
        if name == "cert" or (values and name.replace("-", "").isalpha()):
            kept[name] = " ".join(values) or value
    file = folder / "pip.conf"
    with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY, 0o600), "w") as conf:
        conf.write("[global]\n" + "".join(f"{name} = {kept[name]}\n" for name in kept))
    return file, [f"--volume={kept['cert']}:{kept['cert']}:ro"] if "cert" in kept else []
