"""The image at work: a sync run through its web page, stopped in the middle, and finished later.

Both vendors are simulated by the image itself (`tallybridge sandbox`), so that nothing but the
image is tried. The simulation counts every write: what was doubled cannot hide.
"""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.table import Figure, at_most, told
from bench.web import Browser
from scripts.image_check.alive import memory, volume, wait_until_healthy
from scripts.image_check.box import Box
from scripts.image_check.build import Image
from scripts.image_check.shell import CheckError

UID = 34_567
GRACE_SECONDS = 75.0
"""compose.yaml's stop_grace_period: what has not ended by then is killed."""
_TENANTS, _LATENCY, _WRITES_BEFORE_STOP = 60, 400, 12
_LIFETIME = 600
_BUSY = "only one at a time"
_PASSWORD = "for this check only"  # noqa: S105

Standing = Counter[str]
"""What ConnectWise bills in the end: agreement, product, quantity, end; and how often."""


@dataclass(frozen=True, slots=True)
class Vendors:
    """The simulated vendors, through their control address."""

    url: str

    def ask(self, what: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_sandbox/{what}", data)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def writes(self) -> list[dict[str, Any]]:
        """What ConnectWise was told to change, and did."""
        entries = self.ask("log")["entries"]
        return [e for e in entries if e["vendor"] == "connectwise" and e["effect"]]

    def doubled(self) -> list[str]:
        """Places where the same product was added to an agreement more than once."""
        made = Counter(
            f"{entry['path']} {entry['body']['product']}"
            for entry in self.writes()
            if entry["method"] == "POST" and entry["path"].endswith("/additions")
        )
        return [place for place, count in made.items() if count > 1]

    def standing(self) -> Standing:
        agreements = self.ask("state?part=additions")["additions"]
        return Counter(
            " ".join(map(str, (agreement, row["product"]["identifier"], row["quantity"], end)))
            for agreement, rows in agreements.items()
            for row in rows
            for end in [row.get("cancelledDate")]
        )


@dataclass(frozen=True, slots=True)
class World:
    """An installation of the image with vendors of its own, connected and mapped."""

    box: Box
    vendors: Vendors
    port: int

    def browser(self) -> Browser:
        browser = Browser(self.port)
        browser.sign_in("check", _PASSWORD)
        return browser

    def start_run(self) -> None:
        self.browser().post("/runs", {"what": "sync", "month": "", "key": "check"}, htmx=False)

    def command(self, *arguments: str) -> str:
        """What `docker exec ... tallybridge ARGUMENTS` prints. Raises CheckError."""
        done = self.box.execute("tallybridge", *arguments, seconds=300)
        # A run of which single changes failed is told with exit code 1: the sandbox has such.
        if done.returncode and '"changes"' not in done.stdout and _BUSY not in done.stdout:
            raise CheckError(f"tallybridge {arguments[0]}: {done.returncode}: {done.stderr[-999:]}")
        return done.stdout

    def first_run(self) -> None:
        """A run by command, as soon as what an earlier process left open is settled."""
        until("a run may begin", lambda: _BUSY not in self.command("sync", "run", "--json"))

    def finish(self) -> tuple[str, int]:
        """Run by command, approving everything, until nothing is left: told, and last writes."""
        begun, before = time.monotonic(), len(self.vendors.writes())
        self.first_run()
        done = json.loads(self.command("sync", "run", "--approve", "all", "--json"))
        states = Counter(change["state"] for change in done["changes"])
        counted = ", ".join(f"{count} {name}" for name, count in sorted(states.items()))
        written = len(self.vendors.writes())
        seconds = time.monotonic() - begun
        self.start_run()
        until("the last run ended", lambda: not last_run(self.box.data).startswith("running"))
        told_ = f"{seconds:.1f} s, {written - before} writes; approving: {counted or 'nothing'}"
        return told_, len(self.vendors.writes()) - written


def synced(image: Image, folder: Path, group: Path | None) -> Iterator[Figure]:
    """A month undisturbed, then the same month stopped politely, then the same one killed."""
    with _world(image, folder / "undisturbed", group) as world:
        with world.box.running():
            wait_until_healthy(world.box, world.port)
            _set_up(world)
            shown, more = world.finish()
            yield told("a month, by command", shown)
            yield at_most("writes of one more run, by the page", more, 0, "")
            resident, _ = memory(world.box.processes())
            yield told("memory after it", f"{resident:.0f} MB; {_peak(group)}")
            yield _backed_up(world, volume(image, folder, "restored"))
        meant = world.vendors.standing()
    for name, how in (("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)):
        with _world(image, folder / name, group) as world:
            yield from _stopped(world, name, how)
            yield from _finished(world, name, meant)


@contextmanager
def _world(image: Image, folder: Path, group: Path | None) -> Iterator[World]:
    folder.mkdir()
    sophos, connectwise, port = free_ports(3)
    files = volume(image, folder, "vendors")
    options = [f"--sophos-port={sophos}", f"--connectwise-port={connectwise}"]
    options += [f"--tenants={_TENANTS}", f"--max-lifetime={_LIFETIME}", "--env-file=/data/env"]
    options += ["--config-file=/data/mappings.yaml", "--no-sophos-limits"]
    with Box(image, files, UID).running("tallybridge", "sandbox", *options):
        until("the simulated vendors started", (files / "mappings.yaml").exists)
        lines = (files / "env").read_text(encoding="utf-8").splitlines()
        data = volume(image, folder, "synced")
        _hand_over(data / "mappings.yaml", (files / "mappings.yaml").read_bytes())
        _hand_over(data / "password", _PASSWORD.encode())
        environment = {"BIND": "127.0.0.1", "PORT": str(port)}
        environment |= dict(line.split("=", 1) for line in lines)
        vendors = Vendors(environment["TALLYBRIDGE_CONNECTWISE_SITE"])
        yield World(Box(image, data, UID, environment, group), vendors, port)


def _set_up(world: World) -> None:
    world.command("check")
    world.command("config", "import", "/data/mappings.yaml")
    person = ["check", "--role", "admin", "--password-file", "/data/password"]
    world.command("users", "create", *person)


def _stopped(world: World, name: str, how: signal.Signals) -> Iterator[Figure]:
    """In the middle of a run that the web page was asked for."""
    with world.box.running():
        wait_until_healthy(world.box, world.port)
        _set_up(world)
        world.vendors.ask("options", {"latency_ms": _LATENCY})
        world.start_run()
        until("the run writes", lambda: len(world.vendors.writes()) >= _WRITES_BEFORE_STOP)
        before = len(world.vendors.writes())
        seconds, code = world.box.stop(GRACE_SECONDS, how)
        time.sleep(2 * _LATENCY / 1000)  # what was on its way arrives
        if how == signal.SIGTERM:
            aim = f"exit code 0 in {GRACE_SECONDS:.0f} s"
            shown = f"{seconds:.1f} s, exit code {code}"
            yield Figure(f"{name} in a run", aim, shown, code == 0)
        else:
            yield told(f"{name} in a run", f"{seconds:.1f} s")
        written = len(world.vendors.writes()) - before
        yield told("- writes before it, and after", f"{before}, {written}")
        yield told("- the run then says", last_run(world.box.data))


def _finished(world: World, name: str, meant: Standing) -> Iterator[Figure]:
    """Started again on the same volume, and the month finished by command."""
    world.vendors.ask("options", {"latency_ms": 0})
    with world.box.running():
        seconds = wait_until_healthy(world.box, world.port)
        yield at_most("- healthy again, same volume", seconds, 15, " s")
        time.sleep(1)
        state = last_run(world.box.data)
        good = not state.startswith("running")
        yield Figure("- the run after the start", "not running", state, good)
        shown, more = world.finish()
        yield told("- the month finished by command", shown)
        yield at_most("- writes of one more run", more, 0, "")
    doubled, standing = world.vendors.doubled(), world.vendors.standing()
    yield Figure("- additions made twice", "0", str(len(doubled)), not doubled)
    different = sum(((standing - meant) + (meant - standing)).values())
    shown = f"{different} of {sum(meant.values())}"
    yield Figure(f"- after {name}, billed unlike undisturbed", "0", shown, not different)


def _backed_up(world: World, other: Path) -> Figure:
    rows = json.loads(world.command("backup", "/data/backup.zip", "--json"))["rows"]
    _hand_over(other / "backup.zip", (world.box.data / "backup.zip").read_bytes())
    restored = Box(world.box.image, other, UID + 1, world.box.environment)
    done = restored.run("tallybridge", "restore", "/data/backup.zip", "--json")
    same = f'"rows": {rows}' in done.stdout
    shown = f"{rows} rows" if same else done.stdout[-200:]
    return Figure("backup, restored elsewhere", "the same rows", shown, same)


def _hand_over(file: Path, content: bytes) -> None:
    """Into a volume, for a user of it who is not us."""
    file.write_bytes(content)
    file.chmod(0o644)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    found = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return found


def last_run(data: Path) -> str:
    """State and message of the newest run, read beside the app."""
    address = f"file:{data / 'tallybridge.db'}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as database:
        query = "select state, message from sync_runs order by id desc limit 1"
        row = database.execute(query).fetchone()
    return ": ".join(str(part) for part in row if part) if row else "no run"


def until(what: str, happened: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > until:
            raise CheckError(f"waited {seconds:.0f} seconds in vain: {what}")
        time.sleep(0.1)


def _peak(group: Path | None) -> str:
    """The most memory that the control group ever held, page cache included."""
    if group is None:
        return "no limit was set, as this machine does not let us"
    for name in ("memory.max_usage_in_bytes", "memory.peak"):
        if (file := group / name).exists():
            return f"at most {int(file.read_text()) / 1e6:.0f} MB with the files it read"
    return "its peak is not told"
