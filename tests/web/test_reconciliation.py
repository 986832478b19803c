"""Reconciliation: compared in the background, shown by money, each difference with its fix."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from models import ChangeState
from sandbox import Fault, Sandbox
from services.runs import reconciliation, reconciliation_pages, sync_runs
from services.runs.exports import BOM
from services.runs.reconciliation import Line
from services.sync.model import Month
from services.sync.reconcile import Obstacle
from tests.web.api_client import Api
from tests.web.client import Client, page_of
from tests.web.dom import Element
from tests.web.world import installation_of

Make = Callable[..., Flask]
SignIn = Callable[[Flask, str], Client]
PAGE = "/reconciliation"


@pytest.fixture(autouse=True)
def _runs_end(app: Flask, sandbox: Sandbox) -> Iterator[None]:
    sandbox.log.clear()
    yield
    wait(app)


@pytest.fixture
def compared(app: Flask) -> Flask:
    """The app after a comparison."""
    sync_runs.preview(installation_of(app).context(actor="anna", trigger="comparison"), whole=True)
    return app


def wait(app: Flask) -> None:
    """Until the background runs of the app have ended."""
    found = app.extensions.get("tallybridge_jobs")
    if found is not None:
        found.join()


def lines(app: Flask) -> list[Line]:
    with installation_of(app).reading() as session:
        found = reconciliation.newest(session)
        assert found is not None
        return reconciliation.lines(session, found)


def with_obstacle(app: Flask, obstacle: Obstacle) -> Line:
    return next(each for each in lines(app) if obstacle in each.obstacles and each.difference)


def row_of(page: Element, line: Line) -> Element:
    (row,) = [each for each in page.all("tr") if each.get("id") == f"line-{line.id}"]
    return row


def shown(client: Client, line: Line) -> Element:
    """The row of a line, found as a person would."""
    text = (line.tenant_names or (line.serial or "",))[0]
    page = client.get(PAGE, query_string={"show": "all", "q": text})
    return row_of(page_of(page), line)


def links(row: Element) -> list[str]:
    return [a["href"] for a in row.all("a") if "href" in a]


# --- comparing ------------------------------------------------------------------------------------


def test_compare_reads_and_writes_nothing(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    assert "Nothing was compared yet" in operator.page(PAGE).text
    answer = operator.fill(PAGE, {"month": ""}, button="Compare now")
    assert (answer.status_code, answer.location) == (303, PAGE)
    wait(app)
    assert not sandbox.log.writes()
    page = operator.page(PAGE)
    assert "2026-11 as read" in page.text
    assert len(page.all("table")) == 1
    with installation_of(app).reading() as session:
        run = session.get_one(models.SyncRun, 2)
        assert (run.trigger, run.actor, run.state.value) == ("comparison", "operator", "planned")


def test_progress_and_then_the_comparison(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=1))
    operator.fill(PAGE, {"month": ""}, button="Compare now")
    page = operator.page(PAGE)
    assert page.all("progress")
    assert "Compare now" not in [button.text for button in page.all("button")]
    assert "Run 2" in operator.get(f"{PAGE}/progress", htmx=True).text
    assert operator.get(f"{PAGE}/progress").status_code == 302
    wait(app)
    answer = operator.get(f"{PAGE}/progress", htmx=True)
    assert answer.headers["HX-Retarget"] == "#reconciliation"
    assert "as read" in answer.text


def test_a_comparison_that_failed_is_told(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("unauthorized", "connectwise"))
    operator.fill(PAGE, {"month": ""}, button="Compare now")
    wait(app)
    text = operator.page(PAGE).text
    assert "The last comparison came to nothing" in text
    assert "Nothing was written" in text


def test_a_month_without_a_report_is_told(app: Flask, operator: Client) -> None:
    operator.fill(PAGE, {"month": "2026-01"}, button="Compare now")
    wait(app)
    assert "Sophos has no billing report for 2026-01" in operator.page(PAGE).text


def test_a_month_that_is_none_is_refused(operator: Client) -> None:
    answer = operator.post(PAGE, data={"month": "rubbish", "key": "k"})
    assert answer.status_code == 422
    assert "Nothing was started" in answer.text


def test_without_vendors_it_says_where_to_go(make: Make, sign_in: SignIn) -> None:
    client = sign_in(make(full=False, vendors=False), "operator")
    answer = client.fill(PAGE, {"month": ""}, button="Compare now")
    assert answer.status_code == 409
    assert "Open the settings" in answer.text


def test_a_viewer_looks_and_starts_nothing(compared: Flask, viewer: Client) -> None:
    page = viewer.page(PAGE)
    assert page.all("table")
    assert "Compare now" not in page.text
    assert viewer.post(PAGE, data={"month": ""}).status_code == 403


def test_an_older_month_can_be_looked_at(compared: Flask, viewer: Client) -> None:
    context = installation_of(compared).context(actor="anna", trigger="comparison")
    sync_runs.preview(context, Month(2026, 10), whole=True)
    assert "2026-10 as read" in viewer.page(PAGE).text, "the one that was read last"
    assert "2026-11 as read" in viewer.page(f"{PAGE}?month=2026-11").text
    assert "2026-10 as read" in viewer.page(f"{PAGE}?month=2025-01").text


def test_a_newer_run_that_compared_nothing_is_told(compared: Flask, viewer: Client) -> None:
    sync_runs.run(installation_of(compared).context(actor="anna", trigger="sync now"))
    assert "Run 3 is newer, but it read only customers whose sync is on" in viewer.page(PAGE).text


# --- what is shown --------------------------------------------------------------------------------


def test_every_line_with_its_numbers(compared: Flask, viewer: Client) -> None:
    found = {each.id: each for each in lines(compared)}
    seen = set()
    for number in range(1, 10):
        page = viewer.page(f"{PAGE}?show=all&sort=customer&page={number}")
        rows = [row for row in page.all("tr") if row.get("id", "").startswith("line-")]
        for row in rows:
            line = found[int(row["id"].removeprefix("line-"))]
            seen.add(line.id)
            for name, value in (("sophos", line.sophos), ("connectwise", line.connectwise)):
                (cell,) = [c for c in row.all("td") if name in c.get("class", "").split()]
                assert Decimal(cell.text) == value
        if not any(a.get("rel") == "next" for a in page.all("a")):
            break
    assert seen == set(found)
    assert len(found) > 100, "more than one page"


def test_totals_are_the_sums_of_the_lines(compared: Flask, viewer: Client) -> None:
    found = lines(compared)
    lost = sum((each.money or Decimal(0) for each in found if each.difference > 0), Decimal(0))
    over = -sum((each.money or Decimal(0) for each in found if each.difference < 0), Decimal(0))
    (tiles,) = [each for each in viewer.page(PAGE).all("ul") if "tiles" in each.get("class", "")]
    assert f"Not billed {lost:,.2f} a month" in tiles.text
    assert f"Overbilled {over:,.2f} a month" in tiles.text
    assert "is not known" in tiles.text, "some have no price"


def test_searching_adds_up_what_fits(compared: Flask, viewer: Client) -> None:
    line = with_obstacle(compared, Obstacle.CUSTOMER_UNMAPPED)
    name = line.tenant_names[0]
    mine = [each for each in lines(compared) if name in each.tenant_names]
    assert all(each.difference >= 0 for each in mine)
    seats = sum((each.difference for each in mine), Decimal(0))
    text = viewer.get(PAGE, query_string={"q": name}).text
    assert f"{seats} seats in {sum(1 for each in mine if each.difference)} lines" in text
    assert "totals of what fits" in text
    assert "Nothing fits" in viewer.page(f"{PAGE}?q=zzzzzz").text


def test_every_number_is_explained_down_to_the_lines(compared: Flask, viewer: Client) -> None:
    line = next(each for each in lines(compared) if each.used and each.connectwise)
    with installation_of(compared).reading() as session:
        run = session.get_one(models.SyncRun, 2)
        told = session.scalars(
            sa.select(models.UsageLine).where(
                models.UsageLine.report_id == run.report_id,
                models.UsageLine.tenant_id.in_(line.tenant_ids),
                models.UsageLine.product_key.in_(line.product_keys),
            )
        ).all()
    text = shown(viewer, line).text
    assert told
    for each in told:
        assert f"{each.product_name}" in text
        assert each.order is None or each.order in text
    assert "Addition " in text


def test_all_agree(compared: Flask, viewer: Client) -> None:
    with installation_of(compared).session() as session, session.begin():
        for row in session.scalars(sa.select(models.ComparedRow)):
            row.facts = row.facts | {"additions": {"1": row.facts["sophos"]}}
    assert "Everything agrees" in viewer.page(PAGE).text
    assert "Show all 197" in viewer.page(PAGE).text
    assert "Everything agrees" in viewer.page(f"{PAGE}?show=overbilled").text


def test_nothing_to_compare(compared: Flask, viewer: Client) -> None:
    with installation_of(compared).session() as session, session.begin():
        session.execute(sa.delete(models.ComparedRow))
    assert "Nothing to compare in 2026-11" in viewer.page(PAGE).text


@pytest.mark.parametrize(
    "query", ["show=x&sort=y&dir=z&page=-1", "page=99999", "month=%00", "q=%3Cscript%3E", "page=x"]
)
def test_rubbish_in_the_address(compared: Flask, viewer: Client, query: str) -> None:
    viewer.page(f"{PAGE}?{query}")


@pytest.mark.parametrize("sort", reconciliation_pages.SORTS)
def test_every_sort_says_its_direction(compared: Flask, viewer: Client, sort: str) -> None:
    both = []
    for flip in ("", "&dir=flip"):
        page = viewer.page(f"{PAGE}?sort={sort}{flip}")
        (head,) = [each for each in page.all("th") if each.get("aria-sort")]
        both.append(head["aria-sort"])
    assert set(both) == {"ascending", "descending"}


# --- fixes ----------------------------------------------------------------------------------------


def test_each_difference_has_a_fix_that_is_there(compared: Flask, operator: Client) -> None:
    page = operator.page(f"{PAGE}?show=differences")
    rows = [row for row in page.all("tr") if row.get("id", "").startswith("line-")]
    assert len(rows) > 50
    found = {row["id"]: links(row) for row in rows}
    assert [key for key, urls in found.items() if not urls] == []
    for url in sorted({url.partition("#")[0] for urls in found.values() for url in urls}):
        assert operator.get(url).status_code == 200, url


@pytest.mark.parametrize(
    ("obstacle", "where"),
    [
        (Obstacle.CUSTOMER_UNMAPPED, "/customers/{tenant}/mapping"),
        (Obstacle.AGREEMENT_UNUSABLE, "/customers/{tenant}/mapping"),
        (Obstacle.PRODUCT_UNMAPPED, "text={product}"),
        (Obstacle.CUSTOMER_SYNC_OFF, "/customers?q={tenant}"),
        (Obstacle.NO_CUSTOMER, "/findings?show=unassigned_line"),
        (Obstacle.SEVERAL_ADDITIONS, "/findings?show=ambiguous_addition"),
    ],
)
def test_the_fix_of_an_obstacle(
    compared: Flask, operator: Client, obstacle: Obstacle, where: str
) -> None:
    line = with_obstacle(compared, obstacle)
    tenant = (line.tenant_ids or ("",))[0]
    wanted = where.format(tenant=tenant, product=line.product_keys[0])
    assert any(wanted in url for url in links(shown(operator, line)))


def test_the_fix_leads_to_the_product_that_is_switched_off(
    compared: Flask, operator: Client
) -> None:
    """Of several products on one line, to the one that stands in the way."""
    line = next(each for each in lines(compared) if each.difference and each.used and each.item_id)
    with installation_of(compared).session() as session, session.begin():
        other = session.scalars(
            sa.select(models.ProductMapping).where(
                models.ProductMapping.product_key.not_in(line.product_keys)
            )
        ).all()[0]
        other.catalog_item_id, other.sync = line.item_id, False
        row = session.get_one(models.ComparedRow, line.id)
        row.facts = row.facts | {
            "products": [*line.product_keys, other.product_key],
            "obstacles": [Obstacle.PRODUCT_SYNC_OFF.value],
        }
        key = other.product_key
    (link,) = [a for a in shown(operator, line).all("a") if a.text == "Switch the product on"]
    assert link["href"].endswith(f"text={key}")


def test_a_held_change_is_one_click_away(compared: Flask, operator: Client) -> None:
    with installation_of(compared).reading() as session:
        held = session.scalars(
            sa.select(models.Change).where(
                models.Change.run_id == 2, models.Change.state == ChangeState.HELD
            )
        ).all()
    places = {(each.agreement_id, each.catalog_item_id): each.id for each in held}
    line = next(each for each in lines(compared) if each.difference and each.place in places)
    (url,) = [url for url in links(shown(operator, line)) if "/runs/2" in url]
    assert url.endswith(f"#change-{places[line.place]}")
    assert f'id="change-{places[line.place]}"' in operator.get(url.partition("#")[0]).text


def test_what_was_mended_since_is_marked(compared: Flask, operator: Client) -> None:
    line = with_obstacle(compared, Obstacle.CUSTOMER_UNMAPPED)
    with installation_of(compared).session() as session, session.begin():
        session.get_one(models.TenantMapping, line.tenant_ids[0]).agreement_id = 201
    row = shown(operator, line)
    assert "Dealt with since" in row.text
    assert not any("/mapping" in url for url in links(row))


# --- files and programs ---------------------------------------------------------------------------


def test_the_file_has_every_line(compared: Flask, viewer: Client) -> None:
    response = viewer.get("/reconciliation.csv?show=all")
    assert "reconciliation-2026-11.csv" in response.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text.removeprefix(BOM))))
    found = lines(compared)
    assert len(rows) == len(found)
    assert sum(Decimal(row["Sophos quantity"]) for row in rows) == sum(
        each.sophos for each in found
    )
    assert "'@SUM(A1:A9) Accounting" in {row["Customer"] for row in rows}, "nothing calculates"
    known = [row for row in rows if row["Unit price"]]
    for row in known:
        assert Decimal(row["Money per billing cycle"]) == Decimal(row["Difference"]) * Decimal(
            row["Unit price"]
        )
    fewer = viewer.get("/reconciliation.csv?show=overbilled").text.removeprefix(BOM)
    assert len(list(csv.DictReader(io.StringIO(fewer)))) == sum(
        each.difference < 0 for each in found
    )
    assert viewer.get("/reconciliation.xlsx").data.startswith(b"PK")


def test_a_file_of_nothing_has_its_heads(viewer: Client) -> None:
    assert viewer.get("/reconciliation.csv").text.startswith(f"{BOM}Customer,")


def test_the_api(compared: Flask, reader: Api) -> None:
    found = lines(compared)
    document = reader.get("/reconciliation", show="all", size=200)
    assert (document["run"], document["month"], document["total"]) == (2, "2026-11", len(found))
    first = document["items"][0]
    assert Decimal(first["difference"]) == Decimal(first["sophos"]) - Decimal(first["connectwise"])
    totals = reconciliation_pages.totals(found)
    assert Decimal(document["not_billed"]["money"]) == totals.not_billed.money
    assert document["agree"] == totals.agree
    pages = reader.get("/reconciliation", size=10, page=2)
    assert (pages["page"], len(pages["items"])) == (2, 10)
    assert pages["total"] == totals.differ
    assert reader.get("/reconciliation", page=999)["items"] == []


def test_the_api_before_anything_was_compared(reader: Api, database: Session) -> None:
    assert database.scalar(sa.select(models.Comparison.run_id)) is None
    document = reader.get("/reconciliation")
    assert (document["run"], document["items"], document["pages"]) == (None, [], 1)
