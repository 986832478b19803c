"""Every vendored file is the one that its list names, unchanged, and none is unlisted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LISTS = [ROOT / "static/vendor/vendored.json", ROOT / "tests/browser/vendor/vendored.json"]
LICENCES = {"MIT", "0BSD", "ISC", "MPL-2.0"}

Entry = dict[str, Any]


def entries(file: Path) -> list[Entry]:
    found: list[Entry] = json.loads(file.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("file", LISTS, ids=lambda f: f.parent.parent.name)
def test_each_file_is_unchanged(file: Path) -> None:
    for entry in entries(file):
        content = (file.parent / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]


@pytest.mark.parametrize("file", LISTS, ids=lambda f: f.parent.parent.name)
def test_each_file_says_what_it_is(file: Path) -> None:
    for entry in entries(file):
        assert re.fullmatch(r"\d+\.\d+\.\d+", entry["version"]), entry
        assert entry["licence"] in LICENCES, entry
        assert entry["package"]
        assert entry["path"]


@pytest.mark.parametrize("file", LISTS, ids=lambda f: f.parent.parent.name)
def test_no_file_is_unlisted(file: Path) -> None:
    there = {str(f.relative_to(file.parent)) for f in file.parent.rglob("*") if f.is_file()}
    assert there == {entry["file"] for entry in entries(file)} | {"vendored.json"}


def test_pages_load_nothing_from_elsewhere() -> None:
    ours = [*(ROOT / "static").glob("*.*s"), *(ROOT / "templates").rglob("*.html")]
    for file in ours:
        text = file.read_text(encoding="utf-8")
        found = re.findall(r"""(?:src|href|url|import)\W{1,3}(https?:)?//[^\s"')]+""", text)
        assert not found, file
