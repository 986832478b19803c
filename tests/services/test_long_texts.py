"""Vendors' texts have any length: both databases keep each, or both refuse it in words."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from sandbox import Sandbox
from services.clients.errors import UnexpectedResponse
from services.context import SyncContext
from services.installation import Installation
from services.monitoring import findings
from services.products import catalog_copy
from services.runs import sync_runs
from services.secrets import Vault
from services.sync.model import PRODUCT_KEY_LENGTH, TENANT_ID_LENGTH
from services.tenants import company_directory
from services.tenants.tenant_mappings import Author, MappingError
from tests.services.workshop import config_of

LENGTH = 5_000
LETTERS = "".join(chr(code) for code in range(0x4E00, 0x5E00))
"""So many that nothing can be packed: an index of PostgreSQL packs before it measures."""


def long(text: str | None) -> str:
    """The text with so much behind it that it has 5,000 characters; the same for the same text."""
    start = f"{text} "
    return start + "".join(random.Random(start).choices(LETTERS, k=LENGTH - len(start)))


def lengthen(record: dict[str, Any], *names: str) -> None:
    record.update({name: long(record.get(name)) for name in names})


@pytest.fixture
def wordy(work: SyncContext, sandbox: Sandbox) -> Sandbox:
    """Both vendors with 5,000 characters in every text that is not a key.

    One product is to be made, one device belongs to nobody, and one agreement is not active.
    """
    for tenant in sandbox.sophos.tenants:
        lengthen(tenant, "name", "showAs", "billingType", "status")
    for firewall in sandbox.sophos.firewalls:
        lengthen(firewall, "serialNumber", "model")
    for line in (line for lines in sandbox.sophos.usage.values() for line in lines):
        serial = ("accountNumberOrSerialNumber",) if not line.get("accountId") else ()
        lengthen(
            line, "productDescription", "productGroup", "assignedAccountIdentifier", "orderNumber",
            "orderLineItemNumber", "unitPriceCurrency", *serial,
        )  # fmt: skip
    psa = sandbox.connectwise
    for company in psa.companies.rows.values():
        lengthen(company, "identifier", "name")
        lengthen(company["status"], "name")
    for agreement in psa.agreements.rows.values():
        lengthen(agreement, "name")
        lengthen(agreement["type"], "name")
    lengthen(psa.agreements.rows[max(psa.agreements.rows)], "agreementStatus")
    for item in psa.catalog.rows.values():
        lengthen(item, "identifier", "description", "customerDescription")
    lengthen(psa.catalog.rows[max(psa.catalog.rows)], "productClass")  # no default product's model
    for addition in (row for table in psa.additions.values() for row in table.rows.values()):
        lengthen(addition, "description")
    return sandbox


def here(work: SyncContext, sandbox: Sandbox) -> Installation:
    return Installation(config_of(sandbox), work.engine, Vault([], ""))


def test_a_whole_sync_with_texts_of_any_length(work: SyncContext, wordy: Sandbox) -> None:
    work = replace(work, actor=long("anna"))
    with work.session() as session, session.begin():
        product = session.scalars(
            sa.select(models.ProductMapping).where(models.ProductMapping.sync).limit(1)
        ).one()
        product.catalog_item_id = None  # a default product is made for it
        refresh = models.DirectoryRefresh(
            actor=work.actor, started_at=work.now(), seen_at=work.now(), stage="Starting"
        )
        session.add(refresh)
        session.flush()
        refresh_id, code = refresh.id, product.product_key
    catalog_copy.refresh(here(work, wordy), work.connectwise)
    company_directory.refresh_now(work, refresh_id)
    first = sync_runs.run(work, approve_all=True)
    assert first.error is None
    with Session(work.engine) as session:
        run = session.get_one(models.SyncRun, first.run_id)
        assert run.state is RunState.SUCCEEDED, run.message
        states = [change.state for change in run.changes]
        assert states.count(ChangeState.APPLIED) > 10
        assert ChangeState.FAILED not in states
        lines = session.scalars(sa.select(models.UsageLine)).all()
        assert {len(line.product_name) for line in lines} == {LENGTH}
        assert {len(line.order or "") for line in lines} == {2 * LENGTH + 1}
        assert LENGTH in {len(line.serial or "") for line in lines}
        assert session.get_one(models.ProductMapping, code).catalog_item_id is not None
        for column in (
            models.Company.identifier,
            models.CatalogItem.identifier,
            models.CatalogItem.product_class,
            models.TenantMapping.status,
            models.AuditEvent.actor,
        ):
            assert session.scalar(sa.select(sa.func.max(sa.func.length(column)))) == LENGTH
    second = sync_runs.run(work, approve_all=True)
    with Session(work.engine) as session:
        assert session.get_one(models.SyncRun, second.run_id).changes == []


def _long_code(sandbox: Sandbox) -> None:
    newest = max(sandbox.sophos.ready)
    sandbox.sophos.usage[newest][0]["productCode"] = "C" * (PRODUCT_KEY_LENGTH + 1)


def _long_sku(sandbox: Sandbox) -> None:
    line = sandbox.sophos.usage[max(sandbox.sophos.ready)][0]
    line["productCode"], line["sku"] = None, "S" * (PRODUCT_KEY_LENGTH + 1)


def _long_account(sandbox: Sandbox) -> None:
    line = sandbox.sophos.usage[max(sandbox.sophos.ready)][0]
    line["accountId"] = "a" * (TENANT_ID_LENGTH + 1)


def _long_customer(sandbox: Sandbox) -> None:
    sandbox.sophos.tenants[0]["id"] = "t" * (TENANT_ID_LENGTH + 1)


@pytest.mark.parametrize("spoil", [_long_code, _long_sku, _long_account, _long_customer])
def test_a_key_that_is_too_long_is_refused_in_words(
    work: SyncContext, sandbox: Sandbox, spoil: Callable[[Sandbox], None]
) -> None:
    """A key cut short could be taken for another one, so nothing of such a list is used."""
    spoil(sandbox)
    before = len(sandbox.log.writes())
    result = sync_runs.run(work)
    assert isinstance(result.error, UnexpectedResponse)
    assert "characters" in str(result.error)
    assert len(str(result.error)) < 400
    assert len(sandbox.log.writes()) == before
    with Session(work.engine) as session:
        assert session.get_one(models.SyncRun, result.run_id).state is RunState.FAILED


def test_keys_of_the_greatest_length_are_kept(work: SyncContext, sandbox: Sandbox) -> None:
    line = sandbox.sophos.usage[max(sandbox.sophos.ready)][0]
    line["productCode"] = "C" * PRODUCT_KEY_LENGTH
    line["accountId"] = sandbox.sophos.tenants[0]["id"] = "t" * TENANT_ID_LENGTH
    assert sync_runs.preview(work).error is None


def test_a_serial_number_too_long_to_be_kept_is_refused_in_words(
    work: SyncContext, wordy: Sandbox, now: dt.datetime
) -> None:
    sync_runs.preview(work)
    author = Author("anna", now)
    with Session(work.engine) as session, session.begin():
        line = models.UsageLine
        serial = session.scalars(
            sa.select(line.serial).where(line.serial.is_not(None), line.tenant_id.is_(None))
        ).first()
        assert serial is not None
        tenant = session.scalars(sa.select(models.TenantMapping.tenant_id)).first()
        with pytest.raises(MappingError, match="longer than 120 characters") as refused:
            findings.assign(session, serial, tenant or "", author)
        assert "Nothing was saved" in str(refused.value)
        assert len(str(refused.value)) < 400
    with Session(work.engine) as session:
        assert session.scalars(sa.select(models.SerialAssignment)).all() == []
