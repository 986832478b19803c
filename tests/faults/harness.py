"""A small installation over a small sandbox, and an oracle that shares no code with the app.

The scenario: a first good run owns everything that usage asks for. Then usage changes (up, down,
new), one Sophos product is remapped and one mapping is cleared, so that the next run updates,
creates, cancels and makes a product. `Prepared` keeps that moment; each test gets its own copy.
"""

from __future__ import annotations

import copy
import datetime as dt
import itertools
import pickle
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.engine import Engine

import models
from models import ChangeState, RunState
from sandbox import Entry, Fault, Options, Sandbox, start
from services.clients.connectwise import ConnectWiseAccess, ConnectWiseClient
from services.clients.sophos import SophosAccess, SophosClient
from services.context import SyncContext
from services.formats.config_file import read_config
from services.formats.config_import import import_config
from services.runs import sync_runs
from services.settings import load_settings
from services.sync.model import Month
from tests.databases import copied_url, engine_at, fresh_url, url_of

TODAY = dt.date(2026, 11, 26)
MONTH = "2026-11"
NOW = dt.datetime(2026, 11, 26, 12, 0, tzinfo=dt.UTC)
READ_TIMEOUT = 0.3
LONGER_THAN_TIMEOUT = 0.6

MOVED_PRODUCT = "CIXAXDR"
CLEARED_PRODUCT = "CIXAMTR-STD-MSP"
DEFAULT_ITEM = f"Sophos_{CLEARED_PRODUCT}"

State = dict[str, Any]
Place = tuple[int, str]
"""An agreement id and a catalog identifier."""
Expected = dict[Place, Decimal]

# What ConnectWise works out by itself from the fields that were written.
COMPUTED = {"_info", "billedQuantity", "extPrice", "extCost", "margin"}
WRITABLE = {"quantity", "cancelledDate"}


def options(**changes: Any) -> Options:
    """A few customers, a report of several pages, and no rate limits."""
    return Options(
        **{
            "tenants": 4,
            "products": 5,
            "catalog": 60,
            "today": TODAY,
            "report_ready": True,
            "sophos_limits": (),
            "sophos_max_page_size": 3,
            "connectwise_rate_per_minute": 1_000_000,
            **changes,
        }
    )


# --- the oracle ---------------------------------------------------------------------------------


def expected_additions(state: State, config: Mapping[str, Any], month: str = MONTH) -> Expected:
    """What has to be billed where: straight from Sophos' lines and the mapping file."""
    items = {
        p["code"]: p["catalog_item"] or f"Sophos_{p['code']}"
        for p in config["products"]
        if p["sync"]
    }
    agreements = {t["id"]: t["agreement"] for t in config["tenants"] if t["sync"]}
    found: Expected = {}
    for line in state["usage"][month]:
        item = items.get(line.get("productCode", ""))
        agreement = agreements.get(line.get("accountId", ""))
        if item is None or agreement is None:
            continue
        place = (agreement, item)
        found[place] = found.get(place, Decimal(0)) + Decimal(str(line["billableQuantity"]))
    return found


def additions(state: State) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Every addition with its place."""
    for agreement, rows in state["additions"].items():
        for row in rows:
            yield (int(agreement), row["product"]["identifier"]), row


def is_open(row: Mapping[str, Any]) -> bool:
    until = row.get("cancelledDate")
    return until is None or until[:10] > TODAY.isoformat()


def quantity_of(row: Mapping[str, Any]) -> Decimal:
    return Decimal(str(row["quantity"]))


def open_at(state: State) -> dict[Place, list[dict[str, Any]]]:
    found: dict[Place, list[dict[str, Any]]] = {}
    for place, row in additions(state):
        if is_open(row):
            found.setdefault(place, []).append(row)
    return found


@dataclass(frozen=True)
class Oracle:
    """Knows what stood before, what we were allowed to write to, and what must come out."""

    before: State
    ours: frozenset[int]
    expected: Expected
    successors: Mapping[str, str] = field(default_factory=dict)
    """Old catalog identifier -> the one that takes over its seats."""

    def check_safe(self, now: State) -> None:
        """Nothing is wrong that a next run could not finish: true at any moment."""
        known = {row["id"]: (place, row) for place, row in additions(self.before)}
        seen = set()
        for place, row in additions(now):
            seen.add(row["id"])
            if row["id"] not in known:
                self._check_new(place, row)
            elif row["id"] in self.ours:
                self._check_ours(place, known[row["id"]][1], row)
            else:
                assert row == known[row["id"]][1], f"addition {row['id']} is not ours"
        assert set(known) <= seen, "an addition vanished"
        self._check_not_doubled(now)
        self._check_not_lost(now)

    def check_final(self, now: State) -> None:
        """Everything is billed exactly as usage asks for, once."""
        self.check_safe(now)
        standing = open_at(now)
        for place, quantity in self.expected.items():
            rows = standing.get(place, [])
            assert [quantity_of(r) for r in rows] == [quantity], (place, quantity, rows)
        for place, row in additions(self.before):
            if row["id"] in self.ours and place not in self.expected:
                assert not standing.get(place), f"{place} is still billed"

    def _check_new(self, place: Place, row: Mapping[str, Any]) -> None:
        assert place in self.expected, f"an addition was made at {place}, where none is asked for"
        assert quantity_of(row) == self.expected[place], (place, row["quantity"])
        assert row["billCustomer"] == "Billable"
        assert "cancelledDate" not in row

    def _check_ours(self, place: Place, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        changed = {n for n in {*old, *new} - COMPUTED if old.get(n) != new.get(n)}
        assert changed <= WRITABLE, f"addition {new['id']}: {sorted(changed)} were changed"
        if place in self.expected:
            assert "cancelledDate" not in changed, f"addition {new['id']} was cancelled"
            allowed = {quantity_of(old), self.expected[place]}
        else:
            allowed = {quantity_of(old), Decimal(0)}
            if quantity_of(new) == 0 != quantity_of(old):
                assert "cancelledDate" in new, f"addition {new['id']} was set to 0"
        assert quantity_of(new) in allowed, (place, new["quantity"], allowed)

    def _check_not_doubled(self, now: State) -> None:
        standing = open_at(self.before)
        for place, rows in open_at(now).items():
            ids = [r["id"] for r in rows]
            assert len(rows) <= max(1, len(standing.get(place, []))), f"doubled at {place}: {ids}"

    def _check_not_lost(self, now: State) -> None:
        """What was cancelled because its seats moved is billed at its new place."""
        standing = open_at(now)
        for place, row in additions(now):
            if row["id"] in self.ours and place not in self.expected and not is_open(row):
                successor = (place[0], self.successors.get(place[1], ""))
                assert standing.get(successor), f"the seats of {place} are billed nowhere"


def check_requests(entries: Iterable[Entry]) -> None:
    """We send nothing but the four fields of a new addition, and two fields afterwards."""
    for entry in entries:
        if entry.vendor != "connectwise" or entry.method == "GET":
            continue
        assert entry.method in {"POST", "PATCH"}, entry
        if not re.search(r"/additions(/\d+)?$", entry.path):
            assert entry.method == "POST", entry
            assert entry.path.endswith("/procurement/catalog"), entry
        elif entry.method == "POST":
            assert set(entry.body) == {"product", "billCustomer", "quantity", "effectiveDate"}
        else:
            assert {operation["path"] for operation in entry.body} <= WRITABLE, entry.body


# --- an installation ----------------------------------------------------------------------------


@dataclass
class Installation:
    """The sandbox, our database, and runs over both."""

    sandbox: Sandbox
    engine: Engine
    oracle: Oracle
    config: dict[str, Any]
    folder: Path
    slept: list[float] = field(default_factory=list)
    now: dt.datetime = NOW

    def context(self, *, workers: int = 1, actor: str = "tester", **changes: Any) -> SyncContext:
        """A context as the command line makes it, with short time-outs and no real waiting."""
        env = self.sandbox.env()
        allowed = frozenset(env["TALLYBRIDGE_ALLOWED_VENDOR_HOSTS"].split(","))
        timeout = (1.0, READ_TIMEOUT)
        sophos = SophosClient(
            SophosAccess(
                client_id=env["TALLYBRIDGE_SOPHOS_CLIENT_ID"],
                client_secret=env["TALLYBRIDGE_SOPHOS_CLIENT_SECRET"],
                id_url=env["TALLYBRIDGE_SOPHOS_ID_URL"],
                api_url=env["TALLYBRIDGE_SOPHOS_API_URL"],
                allowed_hosts=allowed,
            ),
            timeout=timeout,
            sleep=self.slept.append,
        )
        connectwise = ConnectWiseClient(
            ConnectWiseAccess(
                site=env["TALLYBRIDGE_CONNECTWISE_SITE"],
                company_id=env["TALLYBRIDGE_CONNECTWISE_COMPANY_ID"],
                public_key=env["TALLYBRIDGE_CONNECTWISE_PUBLIC_KEY"],
                private_key=env["TALLYBRIDGE_CONNECTWISE_PRIVATE_KEY"],
                client_id=env["TALLYBRIDGE_CONNECTWISE_CLIENT_ID"],
                allowed_hosts=allowed,
            ),
            timeout=timeout,
            calls_per_minute=1_000_000,
            sleep=self.slept.append,
        )
        return SyncContext(
            **{
                "engine": self.engine,
                "sophos": sophos,
                "connectwise": connectwise,
                "actor": actor,
                "trigger": "test",
                "now": lambda: self.now,
                "sleep": self.slept.append,
                "settle_seconds": (0, 0.01),
                "late_arrival": dt.timedelta(0),  # a next run is meant to be a later one
                "workers": workers,
                **changes,
            }
        )

    @contextmanager
    def using(self, **changes: Any) -> Iterator[SyncContext]:
        """A context whose connections are closed afterwards, as they are when a process ends."""
        context = self.context(**changes)
        try:
            yield context
        finally:
            context.sophos._http._session.close()
            context.connectwise._api.http._session.close()

    # --- what people do -------------------------------------------------------------------------

    def run(self, month: str | None = None, *, approve_all: bool = False, **changes: Any) -> Told:
        wanted = Month.parse(month) if month else None
        return self.do(lambda c: sync_runs.run(c, wanted, approve_all=approve_all), **changes)

    def preview(self) -> Told:
        return self.do(sync_runs.preview)

    def approve(self, run: int, changes: Iterable[int] | None = None) -> Told:
        chosen = None if changes is None else frozenset(changes)
        return self.do(lambda c: sync_runs.approve(c, run, chosen))

    def undo(self, run: int) -> Told:
        return self.do(lambda c: sync_runs.undo(c, run))

    def finish_moves(self, told: Told) -> Told:
        """Approve the end of a move whose seats are billed at their new place already.

        The guard rail takes such a cancel for a drop to zero and holds it; see
        `test_a_move_that_was_interrupted_is_finished`.
        """
        held = told.held()
        if not held:
            return told
        assert any(r.kind == "cancel" and "a drop to zero" in (r.held or "") for r in held), held
        for row in held:
            assert re.search("a drop to zero|decrease at once", row.held or ""), row
        return self.approve(told.id, [row.id for row in held])

    def do(self, action: Callable[[SyncContext], sync_runs.RunResult], **changes: Any) -> Told:
        with self.using(**changes) as context:
            result = action(context)
        return self.told(result.run_id, result.notes)

    def take_config(self, config: dict[str, Any]) -> None:
        """Import mappings and settings as `config import` does."""
        file = self.folder / "mappings.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        with self.using() as context:
            import_config(context, read_config(file, context.settings()), dry_run=False)
        self.config = config

    def fault(self, kind: Any, vendor: Any, **changes: Any) -> None:
        self.sandbox.faults.add(Fault(kind, vendor, **changes))

    def edit(self, action: str, **arguments: Any) -> Any:
        return self.sandbox.edit({"action": action, **arguments})

    # --- what there is to see -------------------------------------------------------------------

    def state(self) -> State:
        """A copy: the sandbox hands out the rows that it keeps."""
        state: State = pickle.loads(pickle.dumps(self.sandbox.state()))  # noqa: S301 - our own
        return state

    def told(self, run_id: int, notes: tuple[str, ...] = ()) -> Told:
        with sa.orm.Session(self.engine) as session:
            run = session.get_one(models.SyncRun, run_id)
            changes = tuple(
                Row(c.id, c.kind.value, c.state, c.agreement_id, c.addition_id, c.catalog_item_id,
                    c.before, c.after, c.held, c.error)
                for c in run.changes
            )  # fmt: skip
            findings = tuple((f.kind.value, f.message) for f in run.findings)
            return Told(run.id, run.state, run.message, run.month, changes, findings, notes)

    def owned(self) -> dict[int, Decimal]:
        with sa.orm.Session(self.engine) as session:
            rows = session.scalars(
                sa.select(models.OwnedAddition).where(models.OwnedAddition.ended_at.is_(None))
            )
            return {row.addition_id: row.quantity for row in rows}

    def wrote(self, action: Callable[[], object]) -> list[Entry]:
        """The writes that an action sent to ConnectWise, whether or not they had an effect."""
        self.sandbox.log.clear()
        action()
        return self.sandbox.log.writes()

    def secrets(self) -> tuple[str, ...]:
        env = self.sandbox.env()
        names = ("SOPHOS_CLIENT_SECRET", "CONNECTWISE_PUBLIC_KEY", "CONNECTWISE_PRIVATE_KEY")
        return tuple(env[f"TALLYBRIDGE_{name}"] for name in names)

    def check_words(self, told: Told) -> None:
        """Every failure says something; nothing says a secret, or a vendor's HTML."""
        texts = [told.message, *told.notes, *(c.error for c in told.changes)]
        for text in texts:
            assert not any(s in (text or "") for s in self.secrets()), text
            assert not re.search(r"<[a-z!/]|Traceback|object at 0x", text or "", re.IGNORECASE)
        if told.state is not RunState.SUCCEEDED:
            assert told.message
        for change in told.changes:
            if change.state in {ChangeState.FAILED, ChangeState.UNCLEAR, ChangeState.SKIPPED}:
                assert change.error, change
                assert len(change.error) > 20, change

    def check_named(self, entries: Iterable[Entry]) -> None:
        """Every quantity that was sent to an addition is one that a stored plan named."""
        with sa.orm.Session(self.engine) as session:
            rows = session.scalars(sa.select(models.Change)).all()
        named = {(r.agreement_id, r.addition_id, r.after) for r in rows}
        made = {(r.agreement_id, r.catalog_item_id, r.after) for r in rows if r.kind == "create"}
        for entry in entries:
            match = re.search(r"/agreements/(\d+)/additions(?:/(\d+))?$", entry.path)
            if entry.method == "POST" and match:
                quantity = Decimal(str(entry.body["quantity"]))
                assert (int(match[1]), entry.body["product"]["id"], quantity) in made, entry
            elif entry.method == "PATCH" and match:
                for operation in entry.body:
                    if operation["path"] == "quantity":
                        quantity = Decimal(str(operation["value"]))
                        assert (int(match[1]), int(match[2]), quantity) in named, entry


@dataclass(frozen=True)
class Row:
    """A change as it is stored."""

    id: int
    kind: str
    state: ChangeState
    agreement_id: int | None
    addition_id: int | None
    catalog_item_id: int | None
    before: Decimal | None
    after: Decimal | None
    held: str | None
    error: str | None


@dataclass(frozen=True)
class Told:
    """A run as it is stored, and the notes that came with it."""

    id: int
    state: RunState
    message: str | None
    month: str | None
    changes: tuple[Row, ...]
    findings: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def held(self) -> list[Row]:
        return [c for c in self.changes if c.state is ChangeState.HELD]

    def findings_to_fear(self) -> list[str]:
        """The findings that say that something was left undone."""
        harmless = {"price_missing", "new_product", "unassigned_line", "unmapped_tenant"}
        return [message for kind, message in self.findings if kind not in harmless]

    def only(self, **values: Any) -> Row:
        """The one change that has these values."""
        fitting = [c for c in self.changes if all(getattr(c, n) == v for n, v in values.items())]
        assert len(fitting) == 1, (values, self.changes)
        return fitting[0]


# --- keeping a moment, and going back to it -----------------------------------------------------


@dataclass(frozen=True)
class Snapshot:
    """All that both vendors hold, packed: unpacking is many times faster than a deep copy."""

    packed: bytes

    @classmethod
    def of(cls, sandbox: Sandbox) -> Snapshot:
        world, sophos = sandbox.connectwise, sandbox.sophos
        tables = {name: _content(getattr(world, name)) for name in _TABLES}
        additions = {agreement: _content(table) for agreement, table in world.additions.items()}
        kept = (tables, additions, world.identifiers, sophos.usage, sophos.ready)
        return cls(pickle.dumps(kept))

    def put_into(self, sandbox: Sandbox) -> None:
        world, sophos = sandbox.connectwise, sandbox.sophos
        kept = pickle.loads(self.packed)  # noqa: S301 - our own
        tables, additions, world.identifiers, sophos.usage, sophos.ready = kept
        for name, (rows, info) in tables.items():
            table = getattr(world, name)
            table.rows, table.info = rows, info
            table.counter = itertools.count(max(rows) + 1)
        last = max(n for rows, _ in additions.values() for n in rows)
        world._addition_ids = itertools.count(last + 1)
        world.additions.clear()
        for agreement, (rows, info) in additions.items():
            table = world.additions_of(agreement)
            table.rows, table.info = rows, info


_TABLES = ("companies", "agreements", "catalog")


def _content(table: Any) -> tuple[Any, Any]:
    return table.rows, table.info


@dataclass(frozen=True)
class Prepared:
    """A moment: the database, both vendors, and what the oracle knows."""

    database: str
    snapshot: Snapshot
    oracle: Oracle
    config: dict[str, Any]

    @contextmanager
    def copy(self, folder: Path, **changes: Any) -> Iterator[Installation]:
        """An installation of its own at this moment."""
        url = copied_url(self.database, folder)
        with engine_at(url) as engine, start(options(**changes)) as sandbox:
            self.snapshot.put_into(sandbox)
            config = copy.deepcopy(self.config)
            yield Installation(sandbox, engine, self.oracle, config, folder)


@contextmanager
def fresh(folder: Path) -> Iterator[Installation]:
    """The sample mappings imported, nothing run yet."""
    with engine_at(fresh_url(folder)) as engine, start(options()) as sandbox:
        config = yaml.safe_load(sandbox.sample_config())
        state = copy.deepcopy(sandbox.state())
        oracle = Oracle(state, frozenset(), expected_additions(state, config))
        one = Installation(sandbox, engine, oracle, config, folder)
        one.take_config(config)
        yield one


def keep(one: Installation, folder: Path) -> Prepared:
    """This moment, for many tests."""
    one.engine.dispose()  # the last connection to go leaves everything in the one file
    database = copied_url(url_of(one.engine), folder, "kept")
    return Prepared(database, Snapshot.of(one.sandbox), one.oracle, copy.deepcopy(one.config))


def adopt_all(one: Installation) -> None:
    """The first good run: everything that usage asks for is ours afterwards."""
    told = one.run(approve_all=True)
    assert told.state is RunState.SUCCEEDED, told
    state = one.state()
    asked = expected_additions(state, one.config)
    one.oracle = Oracle(
        before=state,
        ours=frozenset(r["id"] for p, r in additions(state) if p in asked and is_open(r)),
        expected=asked,
    )
    one.oracle.check_final(state)


def tenant(one: Installation, agreement: int) -> str:
    """The customer that is billed on an agreement."""
    return str(next(t["id"] for t in one.config["tenants"] if t["agreement"] == agreement))


def set_usage(
    one: Installation, agreement: int, product: str, quantity: int, month: str = MONTH
) -> None:
    """Make what Sophos reports for a customer one line with this number; 0 takes it away."""
    one.edit("set_usage", month=month, tenant=tenant(one, agreement), product=product,
             quantity=quantity)  # fmt: skip


def change_the_world(one: Installation) -> None:
    """Usage goes up, down and begins; one product is remapped, one mapping is cleared."""
    codes = {p["catalog_item"]: p["code"] for p in one.config["products"]}
    stable = [
        place
        for place in sorted(one.oracle.expected)
        if codes[place[1]] not in {MOVED_PRODUCT, CLEARED_PRODUCT}
    ]
    every = {(a, codes[p]) for a in {q[0] for q in stable} for p in {q[1] for q in stable}}
    unused = sorted(every - {(place[0], codes[place[1]]) for place in stable})
    for place, step in zip(stable, (5, -1, 3, 2), strict=False):
        set_usage(one, place[0], codes[place[1]], int(one.oracle.expected[place]) + step)
    for agreement, code in unused[:2]:
        set_usage(one, agreement, code, 4)
    config = copy.deepcopy(one.config)
    old = {p["code"]: p["catalog_item"] for p in config["products"]}
    for entry in config["products"]:
        if entry["code"] == MOVED_PRODUCT:
            entry["catalog_item"] = successor_item(one)
        elif entry["code"] == CLEARED_PRODUCT:
            entry["catalog_item"] = None
    one.take_config(config)
    state = one.state()
    one.oracle = Oracle(
        before=state,
        ours=one.oracle.ours,
        expected=expected_additions(state, config),
        successors={
            old[MOVED_PRODUCT]: successor_item(one),
            old[CLEARED_PRODUCT]: DEFAULT_ITEM,
        },
    )


def successor_item(one: Installation) -> str:
    """An active item of another vendor that no customer has yet."""
    taken = {place[1] for place, _ in additions(one.sandbox.state())}
    return next(
        str(row["identifier"])
        for row in one.sandbox.state()["catalog"]
        if row["identifier"] not in taken
        and not row.get("inactiveFlag")
        and row.get("productClass") != "Bundle"
        and row["identifier"].startswith("Sophos")
        and row["identifier"] != DEFAULT_ITEM
    )


def store_settings(one: Installation, **values: Any) -> None:
    """Change settings as an import does."""
    one.take_config({"settings": values})


def settings_in_force(one: Installation) -> Any:
    with sa.orm.Session(one.engine) as session:
        return load_settings(session)
