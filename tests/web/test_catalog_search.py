"""What the type-ahead finds, in which order, and what it never offers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from services.products.catalog_search import Index, by_identifier, search

ITEMS = [
    (1, "XDR", "Detection"),
    (2, "XDR-Server", "Detection for servers"),
    (3, "SKU-1", "xdr promotion"),
    (4, "SKU-2", "Advanced with XDR"),
    (5, "SKU-3", "Foxdrop cable"),
    (6, "Größe_Ä", "Straße naïve café"),
    (7, "Sophos_Intercept_X_Advanced", "Sophos Intercept X Advanced"),
    (8, "100%_O'Brien", 'the "quoted" <b>one</b> 😀'),
]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as made:
        for number, identifier, description in ITEMS:
            made.add(
                models.CatalogItem(
                    id=number,
                    identifier=identifier,
                    description=description,
                    inactive=False,
                    gone=False,
                )
            )
        made.add(
            models.Marker(name="catalog", number=1, at=dt.datetime(2026, 11, 1, tzinfo=dt.UTC))
        )
        made.commit()
        yield made


def ids(session: Session, query: str) -> list[int]:
    return [item.id for item in search(session, query).items]


def test_best_first_exact_prefix_word_elsewhere(session: Session) -> None:
    assert ids(session, "xdr") == [1, 2, 3, 4, 5]


def test_two_characters_are_needed(session: Session) -> None:
    assert ids(session, "x") == []
    assert ids(session, " x ") == []
    assert ids(session, "xd")


def test_all_words_must_be_there_in_any_order(session: Session) -> None:
    assert ids(session, "xdr advanced") == [4]
    assert ids(session, "advanced xdr") == [4]


@pytest.mark.parametrize("query", ["grosse_a", "GRÖSSE_Ä", "größe", "cafe", "CAFÉ", "strasse"])
def test_case_and_accents_do_not_matter(session: Session, query: str) -> None:
    found = search(session, query)
    assert 6 in [item.id for item in found.items] or found.similar


@pytest.mark.parametrize("query", ["100%", "o'brien", '"quoted"', "<b>one", "😀 the", "\\", "%_"])
def test_signs_are_only_text(session: Session, query: str) -> None:
    assert set(ids(session, query)) <= {8}


def test_a_slip_of_the_finger_finds_what_is_similar(session: Session) -> None:
    found = search(session, "intrcept advancd")
    assert found.similar
    assert 7 in [item.id for item in found.items]
    assert search(session, "qqqqqqqq").items == ()


@pytest.mark.parametrize(
    "change", [{"inactive": True}, {"gone": True}, {"product_class": "Bundle"}]
)
def test_what_cannot_be_billed_is_not_offered(session: Session, change: dict[str, object]) -> None:
    session.execute(
        sa.update(models.CatalogItem).where(models.CatalogItem.id == 1).values(**change)
    )
    session.execute(sa.update(models.Marker).values(number=2))
    session.commit()
    assert 1 not in ids(session, "xdr")
    assert by_identifier(session, "XDR") is None
    assert by_identifier(session, 1) is None


def test_the_identifier_as_typed_decides_between_two_of_another_case(session: Session) -> None:
    session.add(
        models.CatalogItem(id=9, identifier="xdr", description="", inactive=False, gone=False)
    )
    session.commit()
    found = by_identifier(session, "xdr")
    assert found == (9, "xdr")
    assert by_identifier(session, "xDr") is None


def test_at_most_twenty_of_very_many_and_the_better_ones_among_them() -> None:
    many = [(n, f"AAA-{n:05}", f"thing{n} server") for n in range(30_000)]
    index = Index([*many, (90_000, "ZZZ", "server rack"), (90_001, "SERVER", "the one")])
    found, similar = index.search("server")
    assert not similar
    assert len(found) == 20
    assert found[:2] == [90_001, 90_000]


def test_a_rare_pair_of_common_words_is_found() -> None:
    many = [(n, f"A-{n:05}", "server plan" if n % 2 else "backup care") for n in range(20_000)]
    index = Index([*many, (90_000, "ZZZ", "server care")])
    assert index.search("server care")[0] == [90_000]


def test_an_empty_catalog_finds_nothing() -> None:
    assert Index([]).search("anything") == ([], False)
