"""Vendors that misbehave: what we read is right or refused, what we write happens once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Literal

import pytest

from sandbox import FAULT_KINDS, Fault, FaultKind, Options, Sandbox, start
from services.clients.connectwise import ConnectWiseClient
from services.clients.errors import AuthenticationFailed, PermissionDenied, VendorError
from services.clients.sophos import SophosClient
from services.sync.model import Month
from tests.contract.conftest import connectwise_of

# An answer that is wrong, but says of itself that it is whole. Only a person or a guard rail can
# notice it. For Sophos a month that is "not found" is one that is not ready.
LIES: dict[str, set[FaultKind]] = {
    "sophos": {"empty_list", "not_found"},
    "connectwise": {"empty_list", "short_list", "lagging_list"},
}
READS: dict[str, tuple[str, Callable[[SophosClient, ConnectWiseClient, Month], object]]] = {
    "/partner/v1/tenants": ("sophos", lambda s, c, m: s.tenants()),
    "/partner/v1/billing/usage": ("sophos", lambda s, c, m: s.usage(m)),
    "/licenses/firewalls": ("sophos", lambda s, c, m: s.firewalls()),
    "/procurement/catalog": ("connectwise", lambda s, c, m: c.catalog_items()),
    "/finance/agreements$": ("connectwise", lambda s, c, m: c.agreements()),
    "/additions": ("connectwise", lambda s, c, m: c.additions(c.agreements()[0].id)),
}
# A refusal after the change was made would be a lie too.
REFUSALS: set[FaultKind] = {"rate_limited", "unauthorized", "forbidden", "not_found"}
When = Literal["before", "after"]


def outcome_of(act: Callable[[], object]) -> tuple[object, VendorError | None]:
    try:
        return act(), None
    except VendorError as error:
        return None, error


@pytest.fixture
def month(sandbox: Sandbox) -> Month:
    return Month(*max(sandbox.sophos.ready))


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        (kind, times)
        for kind in FAULT_KINDS
        for times in (1, None)
        if times or kind not in {"timeout", "slow"}
    ],
)
def test_a_read_is_right_or_refused(
    kind: FaultKind,
    times: int | None,
    sandbox: Sandbox,
    sophos: SophosClient,
    connectwise: ConnectWiseClient,
    month: Month,
) -> None:
    for path, (vendor, read) in READS.items():
        if kind in LIES[vendor]:
            continue
        honest = read(sophos, connectwise, month)
        sandbox.faults.add(
            Fault(
                kind,
                "sophos" if vendor == "sophos" else "connectwise",
                path=path,
                times=times,
                seconds=0.4,
            )
        )
        answer, error = outcome_of(partial(read, sophos, connectwise, month))
        assert answer == honest or error
        assert error is None or not (error.unclear or "<" in str(error))
        sandbox.faults.clear()


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        (k, w)
        for k in FAULT_KINDS
        for w in ("before", "after")
        if w == "before" or k not in REFUSALS
    ],
)
def test_a_write_happens_once_and_is_never_wrongly_called_undone(
    kind: FaultKind, when: When, sandbox: Sandbox, connectwise: ConnectWiseClient
) -> None:
    calm = connectwise_of(sandbox)
    today = dt.datetime.now(dt.UTC).date()
    agreement = next(a for a in calm.agreements() if not a.why_not_writable(today))
    item = next(i for i in calm.catalog_items() if not (i.is_bundle or i.inactive))
    addition = calm.create_addition(
        agreement.id, catalog_item_id=item.id, quantity=Decimal(1), effective_date=today
    )
    writes: list[Callable[[], object]] = [
        lambda: connectwise.create_addition(
            agreement.id, catalog_item_id=item.id, quantity=Decimal(3), effective_date=today
        ),
        lambda: connectwise.update_addition(agreement.id, addition.id, quantity=Decimal(7)),
        lambda: connectwise.update_catalog_item(item.id, {"price": Decimal("9.75")}),
    ]
    for method, write in zip(("POST", "PATCH", "PATCH"), writes, strict=True):
        sandbox.log.clear()
        fault = Fault(kind, "connectwise", method=method, when=when, seconds=0.4)
        sandbox.faults.add(fault)
        _, error = outcome_of(write)
        effects = len(sandbox.log.effects())
        assert effects <= 1
        if error is None:
            assert effects == 1
        elif not error.unclear:
            assert effects == 0
        sandbox.faults.clear()


def test_keys_without_a_right_name_it() -> None:
    options = Options(tenants=3, catalog=20, denied=frozenset({"finance/agreements:read"}))
    with start(options) as sandbox:
        client = connectwise_of(sandbox)
        client.probe("catalog")
        with pytest.raises(PermissionDenied, match="Finance > Agreements: Inquire All"):
            client.probe("agreements")


@pytest.mark.parametrize("status", [400, 403])
def test_a_client_id_that_is_missing(status: int) -> None:
    with start(Options(tenants=3, catalog=20, missing_client_id_status=status)) as sandbox:
        client = connectwise_of(sandbox, client_id="")
        with pytest.raises(AuthenticationFailed, match="client id"):
            client.probe("catalog")


def test_both_clients_serve_four_threads(
    sandbox: Sandbox, sophos: SophosClient, connectwise: ConnectWiseClient, month: Month
) -> None:
    agreements = connectwise.agreements()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda a: connectwise.additions(a.id), agreements))
        reports = list(pool.map(lambda _: sophos.usage(month), range(8)))
    assert found == [connectwise.additions(agreement.id) for agreement in agreements]
    assert all(report == reports[0] for report in reports)
    assert sophos.calls + connectwise.calls == len(sandbox.log)
