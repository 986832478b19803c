"""The promises about the web page: what a person waits for, alone and beside a sync run."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.catalog import ITEMS, queries
from bench.children import BenchError, run_child
from bench.run import CUSTOMERS, LATENCY, SYNCED
from bench.stock import PASSWORD, PERSON, PRODUCTS, stock
from bench.table import Figure, at_most, told
from bench.vendors import Vendors, vendors
from bench.web import Answer, Browser, Server, everything, web_page

SEARCH_MS = 10.0
TOGGLE_MS = 10.0
PAGE_MS = 150.0
PAGE_KILOBYTES = 40.0
FIRST_VIEW_KILOBYTES = 100.0

PAGE = "/settings/psa/products"
MONTH = "2026-10"
_SEARCHES, _TOGGLES, _PAGES, _TRIVIAL = 360, 120, 40, 200
_TOGGLED = 10
"""Products whose switch is pressed in turn, there and back: so many edits are unsaved at most."""
_BESIDE_SECONDS = 75.0
_THINKING = 0.05
"""Between two requests beside a run: a person, and not a flood, works there."""
_SETUP_SECONDS = 120.0
_LIFETIME = 400.0

Times = dict[str, list[float]]


@dataclass(slots=True)
class _Person:
    """What one person does on the product page, and how long each answer took."""

    browser: Browser
    typed: Iterator[tuple[str, str]]
    times: Times = field(default_factory=dict)
    switches: list[dict[str, str]] = field(default_factory=list)
    page_bytes: int = 0
    _pressed: int = 0

    def look(self) -> None:
        """Load the whole page; the first time, remember switches to press."""
        answer = self._note("page", self.browser.get(PAGE))
        self.page_bytes = answer.size
        if not self.switches:
            found = re.findall(_SWITCH, answer.text)
            every = found[:: max(1, len(found) // _TOGGLED)][:_TOGGLED]
            self.switches = [{"product": key, "version": version} for key, version in every]

    def type(self) -> None:
        kind, text = next(self.typed)
        query = text.replace("%", "%25").replace("&", "%26").replace("+", "%2B").replace(" ", "+")
        answer = self.browser.get(f"/lookups/catalog-items?q={query}", htmx=True)
        self._note("search", answer)
        self._note(kind, answer)

    def press(self) -> None:
        """One switch; each is pressed off in one round and on in the next."""
        turn, number = divmod(self._pressed, len(self.switches))
        self._pressed += 1
        wanted = {**self.switches[number], "sync": "on" if turn % 2 else "off"}
        self._note("toggle", self.browser.post(f"{PAGE}/stage", wanted))

    def trivial(self) -> None:
        self._note("trivial", self.browser.get("/icons.svg"))

    def _note(self, what: str, answer: Answer) -> Answer:
        self.times.setdefault(what, []).append(answer.ms)
        return answer


_SWITCH = re.compile(
    r'name="product" value="([^"&]+)"><input type="hidden" name="version" value="(\d+)">'
    r'(?:(?!</tr>).)*aria-checked="true"',
    re.DOTALL,
)


def figures() -> Iterator[tuple[str, list[Figure]]]:
    """First alone, then beside a run of 500 customers in the same process."""
    with tempfile.TemporaryDirectory(prefix="tallybridge-bench-") as name:
        folder, tenants = Path(name), math.ceil(CUSTOMERS / SYNCED)
        database = folder / "data" / "tallybridge.db"
        with vendors(folder, tenants=tenants, latency=LATENCY, lifetime=_LIFETIME) as found:
            environment = {**found.environment, "TALLYBRIDGE_DATA_DIR": str(database.parent)}
            run_child(
                *("flask", "--app", "app", "config", "import", str(found.mappings)),
                seconds=_SETUP_SECONDS,
                environment=environment,
            )
            texts = stock(database)
            with web_page(environment) as server:
                person = _Person(Browser(server.port), queries(texts))
                person.browser.sign_in(PERSON, PASSWORD)
                title = f"The web page, {ITEMS:,} catalog items, {PRODUCTS} Sophos products"
                yield title, _alone(person, server)
                yield _beside(person, server, found, database)


# --- alone --------------------------------------------------------------------------------------


def _alone(person: _Person, server: Server) -> list[Figure]:
    load, at_rest = os.getloadavg()[0], server.megabytes()
    indexed = _index(person)
    with_index = server.megabytes()
    first = everything(person.browser, PAGE)
    for _ in range(_TRIVIAL):
        person.trivial()
    for _ in range(_PAGES):
        person.look()
    for _ in range(_SEARCHES):
        person.type()
    for _ in range(_TOGGLES):
        person.press()
    times, person.times = person.times, {}
    kilobytes = person.page_bytes / 1000
    total = sum(first.values()) / 1000
    return [
        *_promised(times),
        at_most("the page on the wire", kilobytes, PAGE_KILOBYTES, " kB", f"{kilobytes:.1f} kB"),
        at_most(
            f"first view: the page and {len(first) - 1} files",
            total,
            FIRST_VIEW_KILOBYTES,
            " kB",
            f"{total:.1f} kB",
        ),
        *[told(f"type-ahead: {kind}", _spread(times[kind])) for kind in _kinds(times)],
        told("memory of the process: at rest", f"{at_rest:.0f} MB"),
        told("memory: with the catalog's index", f"{with_index:.0f} MB"),
        told("memory: after all this", f"{server.megabytes():.0f} MB"),
        told("first page and search, index made meanwhile", f"{indexed:.1f} s"),
        told("load of the machine, before and after", f"{load:.1f}, {os.getloadavg()[0]:.1f}"),
    ]


def _index(person: _Person) -> float:
    """The first page asks for the index in the background; a search waits until it is there."""
    begun = time.perf_counter()
    person.look()
    person.type()
    person.times.clear()
    return time.perf_counter() - begun


# --- beside a run -------------------------------------------------------------------------------


def _beside(
    person: _Person, server: Server, found: Vendors, database: Path
) -> tuple[str, list[Figure]]:
    load = os.getloadavg()[0]
    found.edit(action="month_ready", month=MONTH)
    answer = person.browser.post("/runs", {"month": MONTH, "key": "benchmark"}, htmx=False)
    if answer.status != 303:
        raise BenchError(f"the run was answered {answer.status}")
    begun, run = time.monotonic(), _run(database)
    while run[0] == "running" and time.monotonic() - begun < _BESIDE_SECONDS:
        for act in (person.trivial, *[person.type] * 3, person.press, person.look):
            act()
            time.sleep(_THINKING)
        run = _run(database)
    seconds = time.monotonic() - begun
    return f"The same beside a sync run of {CUSTOMERS} customers", [
        *_promised(person.times),
        told("the run after that", f"{run[0]}, {run[1]:,} changes written, {seconds:.0f} s"),
        told("memory of the process", f"{server.megabytes():.0f} MB"),
        told("load of the machine, before and after", f"{load:.1f}, {os.getloadavg()[0]:.1f}"),
    ]


def _run(database: Path) -> tuple[str, int]:
    """The state of the newest run, and how many changes it has written."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        number, state = connection.execute(
            "SELECT id, state FROM sync_runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        written = connection.execute(
            "SELECT count(*) FROM changes WHERE run_id = ? AND state = 'applied'", (number,)
        ).fetchone()
    return state, written[0]


# --- what is shown ------------------------------------------------------------------------------


def _promised(times: Times) -> list[Figure]:
    trivial = median(times["trivial"])
    promises = (
        ("type-ahead, asked for the first time", "search", SEARCH_MS),
        ("one switch", "toggle", TOGGLE_MS),
        (f"the page of {PRODUCTS} products", "page", PAGE_MS),
    )
    return [
        *[
            at_most(
                f"{name}: p95",
                _p95(times[what]),
                limit,
                " ms",
                f"{_spread(times[what])}, {median(times[what]) / trivial:.1f} x trivial",
            )
            for name, what, limit in promises
        ],
        told("a trivial answer (the icons)", _spread(times["trivial"])),
    ]


def _kinds(times: Times) -> list[str]:
    return [name for name in times if name not in ("search", "toggle", "page", "trivial")]


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[math.ceil(len(values) * 0.95) - 1]


def _spread(values: Sequence[float]) -> str:
    """p95 first, because it is what is promised."""
    return (
        f"p95 {_p95(values):.1f}, p50 {median(values):.1f}, max {max(values):.1f} ms "
        f"({len(values)})"
    )
