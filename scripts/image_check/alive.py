"""The image while it runs alone: healthy soon, as any user, with no rights, in little memory."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.children import BenchError
from bench.table import Figure, at_most
from bench.web import Browser
from scripts.image_check.box import Box
from scripts.image_check.build import Image
from scripts.image_check.shell import CheckError

AT_REST_MB = 150.0
_LIMIT_SECONDS = 60.0
_WRITABLE = """
find / -writable -not -type l -not -path '/proc/*' 2>/dev/null
for place in /app /venv /etc /usr /var/tmp /data /tmp
do (: >$place/tried) 2>/dev/null && echo $place && rm $place/tried
done
"""
_LIBRARIES = "import apprise, cryptography, psycopg, sqlite3, ssl, zoneinfo"
_MEANT = ("/data", "/tmp", "/dev")  # noqa: S108


def volume(image: Image, folder: Path, name: str) -> Path:
    """A new volume, with the owner and mode that the image gives to /data."""
    path = folder / name
    path.mkdir()
    meant = (image.root / "data").stat()
    path.chmod(meant.st_mode & 0o7777)
    os.chown(path, meant.st_uid, meant.st_gid)
    return path


def wait_until_healthy(box: Box, port: int) -> float:
    """Seconds until the web page answers; the health check must agree. Raises CheckError."""
    begun = time.monotonic()
    while time.monotonic() - begun < _LIMIT_SECONDS:
        with suppress(BenchError):
            Browser(port).get("/icons.svg")
            seconds = time.monotonic() - begun
            break
        box.processes()  # raises when there are none any more
        time.sleep(0.05)
    else:
        raise CheckError("the web page did not start within a minute")
    check = box.execute(*box.image.config["Healthcheck"]["Test"][1:])
    if check.returncode:
        raise CheckError(f"the health check says: {check.stdout}{check.stderr}")
    return seconds


def alive(image: Image, folder: Path, port: int) -> Iterator[Figure]:
    """A new volume, a user id that nobody planned for, no settings at all."""
    uid = random.randint(20_000, 2_000_000_000)  # noqa: S311
    data = volume(image, folder, "alone")
    box = Box(image, data, uid, {"BIND": "127.0.0.1", "PORT": str(port)})
    with box.running():
        seconds = wait_until_healthy(box, port)
        yield at_most(f"healthy, new volume, as user {uid}", seconds, 15, " s")
        yield _rights(box, uid)
        yield _places(box)
        time.sleep(5)
        processes = box.processes()
        resident, proportional = memory(processes)
        shown = f"{resident:.0f} MB in {len(processes)} processes; {proportional:.0f} MB"
        shown += " with shared pages counted once"
        yield at_most("memory at rest", resident, AT_REST_MB, " MB", shown)
        open_ones = [p.name for p in data.iterdir() if p.stat().st_mode & 0o077]
        shown = ", ".join(open_ones) or f"none of {len(list(data.iterdir()))}"
        yield Figure("files in /data open to others", "none", shown, not open_ones)
        seconds, code = box.stop(90)
        yield at_most("SIGTERM at rest", seconds, 10, " s", f"{seconds:.1f} s, exit code {code}")
    wrong = Box(image, data, uid, {**box.environment, "TALLYBRIDGE_READONLY": "true"})
    ended = wrong.run(*image.config["Cmd"])
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    shown = f"exit code {ended.returncode}, {len(lines)} lines"
    good = bool(ended.returncode) and "TALLYBRIDGE_READONLY is not known" in ended.stdout
    yield Figure("a misspelt setting", "stops the start", shown, good)
    loaded = box.run("python", "-c", _LIBRARIES)
    shown = loaded.stdout.strip()[-60:] or "yes"
    yield Figure("libraries load", "yes", shown, not loaded.returncode)


def memory(processes: list[int]) -> tuple[float, float]:
    """Megabytes that processes hold: resident, and with shared pages divided among them."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in processes:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(" ")
            if name in sums:
                sums[name] += int(rest.split()[0])
    return sums["Rss:"] / 1024, sums["Pss:"] / 1024


def _rights(box: Box, uid: int) -> Figure:
    """No process has a capability, could get one, or is somebody else."""
    wrong = []
    for pid in box.processes():
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        sets = [status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
        if any(int(each, 16) for each in sets) or status["NoNewPrivs"] != "1":
            wrong.append(f"{pid} may do something")
        if set(status["Uid"].split()) != {str(uid)} or set(status["Gid"].split()) != {"0"}:
            wrong.append(f"{pid} is somebody else")
    return Figure("capabilities, new privileges", "none", "; ".join(wrong) or "none", not wrong)


def _places(box: Box) -> Figure:
    """Nothing can be written but /data and /tmp: by permission, and because it is read-only."""
    found = set(box.execute("sh", "-c", _WRITABLE).stdout.split())
    there = {"/" + place.split("/")[1] for place in found}
    wrong = sorted(place for place in found if not place.startswith(_MEANT))
    shown = ", ".join(wrong[:3]) or "/data and /tmp"
    return Figure("what can be written", "/data and /tmp", shown, not wrong and "/data" in there)
