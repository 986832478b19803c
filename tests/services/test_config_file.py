"""The YAML file itself: shape, lines, and an export that is read as it was written."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

import models
from services.context import SyncContext
from services.formats.config_file import ConfigFile, export_config, read_config
from services.formats.lined_yaml import ConfigFileError
from services.settings import AppSettings


def read(tmp_path: Path, text: str) -> ConfigFile:
    file = tmp_path / "file.yaml"
    file.write_text(text, encoding="utf-8")
    return read_config(file, AppSettings())


def test_entries_know_the_line_they_begin_in(tmp_path: Path) -> None:
    text = "# one\n\nproducts:\n  - code: A\n\n  - sync: true\n    code: B\ntenants: [{id: t}]\n"
    found = read(tmp_path, text)
    assert [(line, entry.code, entry.sync) for line, entry in found.products] == [
        (4, "A", False),
        (6, "B", True),
    ]
    assert [line for line, _ in found.tenants] == [8]
    assert found.settings is None


def test_numbers_are_names(tmp_path: Path) -> None:
    text = (
        "products: [{code: 4711, catalog_item: 12}]\ntenants: [{id: 1, company: 2, agreement: 3}]"
    )
    found = read(tmp_path, text)
    assert (found.products[0][1].code, found.products[0][1].catalog_item) == ("4711", "12")
    tenant = found.tenants[0][1]
    assert (tenant.id, tenant.company, tenant.agreement) == ("1", "2", 3)


def test_all_problems_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigFileError) as caught:
        read(tmp_path, "tenants:\n- {}\n- id: a\n- id: a\nproducts:\n- 3\nother: 1\n")
    assert [problem.line for problem in caught.value.problems] == [2, 4, 5, 7]


@given(st.text(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_text_makes_it_stumble(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever stands in a file: entries or problems, never another exception."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    for document in (text, f"products:\n- code: {text}\n", f"settings:\n  timezone: {text}\n"):
        file.write_bytes(document.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(ConfigFileError):
            read_config(file, AppSettings())


AWKWARD = [
    "yes", "no", "null", "~", "0123", "1e3", "1:30", "2026-01-01", "0x1F", "1_000", "- a", "a: b",
    "#x", "'", '"', "&a", "*a", "!t", "%", "@", "{code}", "ü", "日本", " a ", "a\tb", "<<", "=",
]  # fmt: skip


def test_awkward_names_survive_an_export(work: SyncContext, tmp_path: Path) -> None:
    with work.session() as session, session.begin():
        for number, name in enumerate(AWKWARD):
            session.add(
                models.ProductMapping(
                    product_key=name,
                    product_name=name,
                    earlier_names=[],
                    last_month="2026-10",
                    catalog_item_id=number + 1,
                    catalog_item_identifier=name,
                    first_seen_at=work.now(),
                )
            )
    with work.session() as session:
        text = export_config(session)
    found = {entry.code: entry.catalog_item for _, entry in read(tmp_path, text).products}
    for name in AWKWARD:
        assert found[name] == name


def test_an_export_of_nothing_can_be_read(session: Session, tmp_path: Path) -> None:
    text = export_config(session)
    found = read(tmp_path, text)
    assert (found.products, found.tenants, found.settings) == ((), (), AppSettings())
    assert yaml.safe_load(text)["settings"]["read_only"] is False
