"""The conditions language, judged on real lists."""

from __future__ import annotations

import pytest

from tests.sandbox.callers import ConnectWise

CATALOG = "/procurement/catalog"
XDR = "Sophos_Intercept_X_Advanced_XDR"
SERVER = "Sophos_Intercept_X_Advanced_XDR_Srv"


def identifiers(caller: ConnectWise, conditions: str) -> set[str]:
    answer = caller.get(CATALOG, pageSize=1000, conditions=conditions)
    assert answer.status_code == 200, answer.text
    return {row["identifier"] for row in answer.json()}


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (f'identifier="{XDR}"', {XDR}),
        (f"identifier='{XDR.upper()}'", {XDR}),
        ("id=1001", {"Sophos_Intercept_X_Advanced"}),
        ("id<=1001", {"Sophos_Intercept_X_Advanced"}),
        ("id < 1002", {"Sophos_Intercept_X_Advanced"}),
        ("id in (1001,1003)", {"Sophos_Intercept_X_Advanced", XDR}),
        (f'identifier in ("{XDR}", "nothing")', {XDR}),
        ('identifier contains "xdr_s"', {SERVER}),
        ('identifier like "Sophos%XDR"', {XDR}),
        ("identifier like '*XDR_Srv'", {SERVER}),
        ('identifier like "%XDR_srv" or id=1001', {SERVER, "Sophos_Intercept_X_Advanced"}),
        ("price=19.0 and productClass='Bundle'", {"Sophos_Security_Bundle"}),
        ('price>=19 and price<19.5 and productClass="Bundle"', {"Sophos_Security_Bundle"}),
        ('productClass="Bundle" and inactiveFlag=false', {"Sophos_Security_Bundle"}),
        ('productClass="Bundle" and inactiveFlag=True', set()),
        ('category/name="Legacy"', {"Sophos_Web_Gateway"}),
        ("subcategory/id in (42)", {"Sophos_Web_Gateway"}),
        ('(id=1001 or id=1003) and not identifier contains "XDR"', {"Sophos_Intercept_X_Advanced"}),
        ("id=1001 or id=1003 and price<0", {"Sophos_Intercept_X_Advanced"}),
        ('identifier not contains "o" and id<1026 and id>1020', {"=1+1"}),
        ("not (id>1001)", {"Sophos_Intercept_X_Advanced"}),
        ("identifier='Café \"Gold\" seat'", {'Café "Gold" seat'}),
        ('description contains "*special*"', {"100%_Cloud"}),
        ("ID=1001 or id=1001", None),
    ],
)
def test_meaning(connectwise: ConnectWise, conditions: str, expected: set[str] | None) -> None:
    if expected is None:
        assert connectwise.get(CATALOG, conditions=conditions).status_code == 400
    else:
        assert identifiers(connectwise, conditions) == expected


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        ("endDate=null", 60),
        ("endDate!=null", 2),
        ("billStartDate=[2026-10-15T00:00:00Z]", 1),
        ("billStartDate>[2026-10-14]", 1),
        ("parentAgreement/id=244", 1),
        ("parentAgreement/id!=null", 1),
        ("endDate<[2030-01-01T00:00:00Z]", 2),
        ("endDate!=[2030-01-01T00:00:00Z]", 2),
        ("lastUpdated>[2026-01-01T00:00:00Z]", 0),
        ("_info/lastUpdated>[2024-01-01T00:00:00Z]", 62),
        ("company/identifier='BeaconPharmacy001'", 1),
    ],
)
def test_dates_references_and_null(connectwise: ConnectWise, conditions: str, count: int) -> None:
    answer = connectwise.get("/finance/agreements/count", conditions=conditions)
    assert answer.json() == {"count": count}


@pytest.mark.parametrize(
    "conditions",
    [
        "identifier",
        "identifier=",
        "identifier=abc",
        'identifier="abc',
        'identifier="a"b"',
        'identifier="a" identifier="b"',
        "nothing=5",
        'id="5"',
        "identifier=5",
        "inactiveFlag=1",
        "price contains 5",
        "id in 5",
        "id in ()",
        "id in (1,)",
        "(id=5",
        "id=5)",
        "id=5 and",
        "id==5",
        "id=5 && id=6",
        "id>null",
        "category=5",
        "category/nothing=5",
        'identifier not "x"',
        "price=[2026-01-01T00:00:00Z]",
        "((((((((((((((((((((((((((((((((((((((((((((((((((((((id=1",
    ],
)
def test_nonsense_is_refused(connectwise: ConnectWise, conditions: str) -> None:
    answer = connectwise.get(CATALOG, conditions=conditions)
    assert (answer.status_code, answer.json()["code"]) == (400, "InvalidConditions")


def test_a_date_must_be_one(connectwise: ConnectWise) -> None:
    for text in ("[2026-13-01]", "[yesterday]", '"2026-01-01"'):
        answer = connectwise.get("/finance/agreements", conditions=f"startDate>{text}")
        assert answer.status_code == 400
