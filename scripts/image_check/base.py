"""A base image out of Debian's own packages, for machines that reach no image registry.

It is made by debootstrap from the package mirror that apt uses on this machine, and made as
slim as the official images: no documentation, no manuals, no package lists.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.image_check.shell import CheckError, run, told

CACHE = Path("/tmp/image-check-cache")  # noqa: S108  (a cache that anybody may remove)
BASE, BUILD = "localhost/tallybridge-base", "localhost/tallybridge-build"

_ONLY_TO_BUILD = (
    "python3-venv", "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl",
    "python3-distutils", "python3-lib2to3",
)  # fmt: skip
_NEVER_NEEDED = (
    "var/cache/apt", "var/lib/apt/lists", "var/log", "usr/share/doc", "usr/share/man",
    "usr/share/info", "usr/share/locale", "usr/share/lintian",
)  # fmt: skip
_OF_THIS_MACHINE = ("etc/apt/sources.list", "etc/resolv.conf", "etc/hostname")


def base_images() -> dict[str, str]:
    """Make both images in the storage in use; what scripts/image takes from the environment."""
    archive = _archive()
    with tempfile.TemporaryDirectory(dir=CACHE) as name:
        root = Path(name)
        run("tar", "-C", name, "-xf", str(archive))
        _as_image(BUILD, root)
        there = [package for package in _ONLY_TO_BUILD if _installed(root, package)]
        run("chroot", name, "dpkg", "--purge", *there)
        _as_image(BASE, root)
    return {"BASE_IMAGE": BASE, "BUILD_IMAGE": BUILD}


def _archive() -> Path:
    """The whole system as one file, kept for the next time."""
    codename, mirror = _release()
    archive = CACHE / f"{codename}-python3.tar"
    if archive.exists():
        return archive
    told(f"Making a Debian {codename} with debootstrap; it is kept as {archive}")
    with tempfile.TemporaryDirectory(dir=CACHE) as root:
        options = ["--variant=minbase", "--include=python3-venv,ca-certificates"]
        run("debootstrap", *options, codename, root, mirror, seconds=900)
        for name in _NEVER_NEEDED:
            run("find", f"{root}/{name}", "-mindepth", "1", "-delete")
        for name in _OF_THIS_MACHINE:
            Path(root, name).unlink(missing_ok=True)
        part = archive.with_suffix(".part")
        run("tar", "-C", root, "--one-file-system", "--numeric-owner", "-cf", str(part), ".")
        part.rename(archive)
    return archive


def _release() -> tuple[str, str]:
    """This machine's Debian release, and the mirror that apt takes it from."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    system = dict(line.split("=", 1) for line in lines if "=" in line)
    codename = system.get("VERSION_CODENAME", "").strip('"')
    shown = ["--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
    for line in run("apt-get", "indextargets", *shown).splitlines():
        name, _, mirror = line.partition(" ")
        if name == codename:
            return codename, mirror
    raise CheckError(f"apt names no mirror for {codename or 'this system'}; give a BASE_IMAGE")


def _installed(root: Path, package: str) -> bool:
    return (root / f"var/lib/dpkg/info/{package}.list").exists()


def _as_image(name: str, root: Path) -> None:
    """An image of one layer."""
    container = run("buildah", "from", "scratch").strip()
    run("buildah", "add", "--quiet", container, str(root), "/")
    run("buildah", "commit", "--quiet", "--rm", container, name)
