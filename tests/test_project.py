"""The repository itself: locked dependencies, no hosts, the licence, docstrings that promise."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.txt", "requirements-dev.txt")
COMMANDS = ["make demo", "make test"]
REGISTRIES = re.compile(
    r"(https?://|index-url|trusted-host|registry\s*=)[^\s\"'`)]*"
    r"(simple|artifactory|nexus|devpi|mirror|pypi\.internal)",
    re.IGNORECASE,
)


def tracked() -> list[Path]:
    """What git tracks, and would track; without git, everything that is text."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a clone")
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


def packages(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_by_hash_and_no_host_is_named(name: str) -> None:
    lines = packages(name)
    assert len(lines) > 20
    for line in lines:
        assert re.match(r"[a-z0-9._\[\],-]+==[^ ]+ ", line), line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", line), line
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(
        r"^\s*(-i|--index-url|--extra-index-url|--find-links)\b", text, re.MULTILINE
    )


def test_what_runs_is_locked_alike_for_development() -> None:
    run, develop = (
        {line.split(" ")[0] for line in packages(name) if "==" in line} for name in LOCKS
    )
    assert run <= develop


@pytest.mark.parametrize("name", ["requirements.in", "requirements-dev.in"])
def test_every_direct_dependency_is_in_its_lock(name: str) -> None:
    locked = {re.split(r"[=\[]", line)[0] for line in packages(name.replace(".in", ".txt"))}
    for line in packages(name):
        if line.startswith("-"):
            continue
        wanted = re.split(r"[=<>~!\[; #]", line)[0].lower().replace("_", "-")
        assert wanted in locked, wanted


def test_no_file_names_a_private_registry() -> None:
    """Whoever clones this installs from where they are used to."""
    for file in tracked():
        if file == Path(__file__).resolve():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = REGISTRIES.search(text)
        assert not found, f"{file.relative_to(ROOT)}: {found and found[0]}"


def test_nothing_private_is_tracked() -> None:
    for file in tracked():
        assert file.suffix not in {".db", ".sqlite3", ".pem", ".key", ".log", ".lock"}, file
        assert not file.name.startswith(".env") or file.name == ".env.example", file
        assert "__pycache__" not in file.parts


def test_the_licence_is_mit() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License\n")
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "MIT"


def test_the_readme_names_the_two_commands_first() -> None:
    """One to see it, one to check it; each stands alone, and the Makefile has both."""
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("there is none yet")
    blocks = re.findall(r"```[a-z]*\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert [block.strip() for block in blocks[:2]] == COMMANDS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in COMMANDS:
        assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)


def promises(source: str) -> list[str]:
    """Public functions, classes and methods without a docstring that ends a sentence."""
    found = []
    tree = ast.parse(source)
    if not (ast.get_docstring(tree) or "").strip():
        found.append("the module")
    for parent in ast.walk(tree):
        if not isinstance(parent, ast.Module | ast.ClassDef):
            continue
        hidden = isinstance(parent, ast.ClassDef) and parent.name.startswith("_")
        for node in parent.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not hidden:
                text = ast.get_docstring(node) or ""
                if not node.name.startswith("_") and not text.split("\n\n")[0].endswith((".", ":")):
                    found.append(node.name)
    return found


@pytest.mark.parametrize(
    "path",
    [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / "services").rglob("*.py"))
        if file.read_text(encoding="utf-8").strip()
    ],
)
def test_services_promise_something_in_a_sentence(path: str) -> None:
    assert promises((ROOT / path).read_text(encoding="utf-8")) == []


def test_that_check_is_awake() -> None:
    assert promises("def f(): pass") == ["the module", "f"]
    assert promises('"""M."""\nclass C:\n    """Says."""\n    def m(self): pass') == ["m"]
    assert promises('"""M."""\nclass _C:\n    def m(self): pass') == []
