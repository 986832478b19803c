"""Which way things may look, how long a file may be, and what no file of ours does."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {
    "app", "bench", "blueprints", "cli", "config", "demo", "models", "sandbox", "services", "tests",
}  # fmt: skip
FLASK = ("flask", "flask_", "werkzeug", "wtforms")
LONGEST, LONGEST_TEST = 400, 600
LONGER = {
    "tests/core/test_rules.py": "every rule of product.md in its order",
    "tests/faults/harness.py": "the whole misbehaving world of the fault tests",
}


def files(*folders: str) -> Iterator[str]:
    """Our Python files, by their path from the top."""
    for folder in folders:
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield str(file.relative_to(ROOT))


def all_files() -> Iterator[str]:
    for file in sorted(ROOT.glob("*.py")):
        yield file.name
    yield from files(*(name for name in sorted(OURS | {"migrations"}) if (ROOT / name).is_dir()))


def imported(path: str, source: str) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, wherever in it, with its line; relative ones resolved."""
    package = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__").split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package[: -node.level] if not path.endswith("__init__.py") else package
                base = ".".join([*parent, *([base] if base else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def within(module: str, *places: str) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


PRODUCT = ("config", "models", "services")
SUBJECTS = (
    "sync", "clients", "", "products", "runs", "tenants", "scheduling", "people", "upkeep",
    "monitoring", "formats", "first_run",
)  # fmt: skip
"""The folders of services in their order: none looks at a later one. "" is what lies in none."""
MAY_LOOK_AT: list[tuple[str, tuple[str, ...]]] = [
    # The first line that fits a file says which of our modules it may import.
    ("services/sync/", ("services.sync",)),
    ("services/clients/", ("services.clients", "services.sync.model")),
    ("services/", PRODUCT),
    ("models", ("models", "services.sync.model")),
    ("config.py", ()),
    ("migrations/env.py", ("models",)),
    ("migrations/", ()),
    ("sandbox/", ("sandbox",)),
    ("cli/demo_sandbox.py", ("cli", "sandbox", *PRODUCT)),
    ("cli/", ("cli", *PRODUCT)),
    ("blueprints/", ("blueprints", *PRODUCT)),
    ("app.py", ("blueprints", "cli", *PRODUCT)),
    ("gunicorn.conf.py", ("app", *PRODUCT)),
    ("demo.py", ("app", "cli", "sandbox", *PRODUCT)),
    ("bench/", tuple(OURS - {"tests"})),
    ("tests/", tuple(OURS)),
]


def wrong(path: str, module: str) -> str | None:
    """Why a file may not import a module; None when it may."""
    top = module.partition(".")[0]
    if top in OURS:
        places = next(places for start, places in MAY_LOOK_AT if path.startswith(start))
        return None if within(module, *places) else f"only {', '.join(places) or 'nothing of ours'}"
    if path.startswith("services/sync/") and top not in sys.stdlib_module_names:
        return "services/sync is the standard library and itself only"
    if path.startswith("services/clients/") and top in ("sqlalchemy", "flask_sqlalchemy"):
        return "clients know no database"
    if path.startswith("services/") and top.startswith(FLASK):
        return "services know no Flask"
    return None


def subject(parts: list[str]) -> str:
    """The folder of services that a module stands in."""
    return parts[1] if parts[1] in SUBJECTS else ""


def looks_ahead(path: str, module: str) -> bool:
    """Whether a service imports from a folder that stands on its own."""
    mine, other = path.split("/"), module.split(".")
    if mine[0] != "services" or other[0] != "services" or len(other) == 1:
        return False
    return SUBJECTS.index(subject(mine)) < SUBJECTS.index(subject(other))


@pytest.mark.parametrize("path", list(all_files()))
def test_imports_look_one_way(path: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    found = [
        f"line {line}: {module}: {why}"
        for line, module in imported(path, source)
        if (why := wrong(path, module))
    ]
    assert not found


@pytest.mark.parametrize("path", list(files("services")))
def test_the_folders_of_services_stand_on_each_other_in_one_order(path: str) -> None:
    modules = imported(path, (ROOT / path).read_text(encoding="utf-8"))
    assert [module for _, module in modules if looks_ahead(path, module)] == []


def test_every_folder_of_services_has_its_place() -> None:
    folders = {
        each.name for each in (ROOT / "services").iterdir() if (each / "__init__.py").exists()
    }
    assert folders == set(SUBJECTS) - {""}
    assert looks_ahead("services/settings.py", "services.runs.jobs.Jobs")
    assert looks_ahead("services/runs/apply.py", "services.tenants.tenant_list.page")
    assert not looks_ahead("services/runs/apply.py", "services.settings.AppSettings")
    assert not looks_ahead("services/runs/apply.py", "services.runs.readback.look")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("services/sync/plan.py", "import requests"),
        ("services/sync/plan.py", "from models import Change"),
        ("services/sync/plan.py", "from services.settings import AppSettings"),
        ("services/sync/plan.py", "from ..settings import AppSettings"),
        ("services/sync/plan.py", "def f():\n    import sqlalchemy"),
        ("services/clients/http.py", "from services.settings import AppSettings"),
        ("services/clients/http.py", "from services.sync.plan import compute_plan"),
        ("services/clients/http.py", "from services.sync import plan"),
        ("services/clients/http.py", "import sqlalchemy as sa"),
        ("services/clients/http.py", "import models"),
        ("services/settings.py", "from flask import current_app"),
        ("services/settings.py", "import flask_migrate"),
        ("services/settings.py", "from cli.support import now"),
        ("services/settings.py", "import blueprints.forms"),
        ("services/settings.py", "import app"),
        ("services/settings.py", "from sandbox import start"),
        ("cli/check.py", "from sandbox import start"),
        ("cli/check.py", "from blueprints import forms"),
        ("cli/check.py", "import app"),
        ("blueprints/auth.py", "from sandbox import start"),
        ("blueprints/auth.py", "from cli import support"),
        ("sandbox/wire.py", "from services.sync.model import Month"),
        ("sandbox/wire.py", "import config"),
        ("models/runs.py", "from services.settings import AppSettings"),
        ("models.py", "import config"),
        ("config.py", "import models"),
        ("migrations/versions/0001_core.py", "import models"),
        ("app.py", "from sandbox import start"),
        ("app.py", "import tests.conftest"),
    ],
)
def test_the_check_of_imports_is_awake(path: str, source: str) -> None:
    assert [module for _, module in imported(path, source) if wrong(path, module)]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("app.py", "from blueprints import auth"),
        ("blueprints/auth.py", "from flask import request\nfrom services.people import accounts"),
        ("cli/demo_sandbox.py", "from sandbox.__main__ import main"),
        ("services/sync/plan.py", "from .model import Plan\nimport decimal"),
        ("services/clients/sophos.py", "from services.sync.model import Month\nimport requests"),
        ("models/runs.py", "from services.sync.model import ChangeKind"),
    ],
)
def test_and_lets_through_what_is_meant(path: str, source: str) -> None:
    assert not [module for _, module in imported(path, source) if wrong(path, module)]


# --- the size of things -------------------------------------------------------------------------


def test_no_file_is_too_long_to_read() -> None:
    lines = {path: len((ROOT / path).read_text("utf-8").splitlines()) for path in all_files()}
    long = {
        path
        for path, count in lines.items()
        if count > (LONGEST_TEST if path.startswith("tests/") else LONGEST)
    }
    assert long <= LONGER.keys(), f"split these: {sorted(long - LONGER.keys())}"


def test_exceptions_have_a_file() -> None:
    gone = [path for path in LONGER if not (ROOT / path).exists()]
    assert not gone, "remove them from the list"


# --- what no file of ours does ------------------------------------------------------------------


def prints(source: str) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "breakpoint", "pprint")
    ]


def inexact(source: str) -> list[int]:
    """Floating point where money and seats are counted: float(), a literal, true division of ints.

    The annotation `float` and the name `float` itself are enough to be told.
    """
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]


def impure(source: str) -> list[str]:
    """Clocks, dice, files and the environment: what the pure core must be given instead."""
    forbidden = {
        "os", "io", "random", "secrets", "time", "socket", "pathlib", "subprocess", "threading",
        "logging", "urllib", "sqlite3", "tempfile", "shutil", "uuid",
    }  # fmt: skip
    found = [m for _, m in imported("services/sync/x.py", source) if m.split(".")[0] in forbidden]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow"):
            owner = ast.unparse(node.value)
            found += [f"{owner}.{node.attr}"] if owner.endswith(("datetime", "date")) else []
        if isinstance(node, ast.Name) and node.id in ("open", "input", "exec", "eval"):
            found.append(node.id)
    return found


@pytest.mark.parametrize("path", [*files("services", "blueprints", "cli", "models"), "app.py"])
def test_nothing_prints(path: str) -> None:
    assert prints((ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", list(files("services/sync")))
def test_the_core_is_exact_and_pure(path: str) -> None:
    source = (ROOT / path).read_text(encoding="utf-8")
    assert inexact(source) == []
    assert impure(source) == []


def test_no_money_is_a_float_in_the_tables() -> None:
    import sqlalchemy as sa

    from models import Base

    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            # SQLite keeps Numeric as a float as well.
            assert not isinstance(column.type, sa.Float | sa.Numeric), column


def test_these_checks_are_awake() -> None:
    assert prints("def f():\n    print(1)") == [2]
    assert inexact("x = 0.1\ny: float = z") == [1, 2]
    assert inexact("price = float(text)") == [1]
    assert impure("import random") == ["random"]
    assert impure("from os import environ") == ["os.environ"]
    assert impure("import datetime as dt\nd = dt.date.today()") == ["dt.date.today"]
    assert impure("open('x')") == ["open"]
    assert impure("situation.today") == []


def test_nothing_runs_at_import() -> None:
    """Importing any service needs no environment, no data directory and no database."""
    import subprocess

    modules = [
        path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for path in files("services", "models", "cli")
        if "__main__" not in path
    ]
    code = f"import importlib, os\nfor m in {modules!r}: importlib.import_module(m)\nimport app"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "TALLYBRIDGE_READ_ONLY": "broken", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
