"""Which company a customer may be: the exact name, else similar ones with a score.

A suggestion is never applied by itself.
"""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from rapidfuzz import fuzz, process
from sqlalchemy.orm import Session

import models

LOWEST_SCORE = 75
_NOISE = re.compile(r"[^\w]+")


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A company that a customer may be; `score` counts to 100, and `reason` says what it is of."""

    company_id: int
    identifier: str
    name: str
    score: int
    reason: str

    @property
    def exact(self) -> bool:
        """Whether name and name are the same, and no other company has it."""
        return self.score == 100


def suggestions(session: Session, rows: Iterable[models.TenantMapping]) -> dict[str, Suggestion]:
    """The best suggestion for every customer without a company, by tenant id."""
    wanted = {row.tenant_id: row.tenant_name for row in rows if row.company_id is None}
    names = _companies(session) if wanted else ()
    found = {tenant_id: best(name, names) for tenant_id, name in wanted.items()}
    return {tenant_id: each for tenant_id, each in found.items() if each is not None}


def candidates(session: Session, name: str) -> tuple[Suggestion, ...]:
    """The few companies that a customer of this name may be, best first."""
    return ranking(name, _companies(session))


def _companies(session: Session) -> tuple[tuple[int, str, str], ...]:
    rows = session.execute(
        sa.select(models.Company.id, models.Company.identifier, models.Company.name)
        .where(~models.Company.gone)
        .order_by(models.Company.id)
    )
    return tuple((row.id, row.identifier, row.name) for row in rows)


def best(name: str, companies: tuple[tuple[int, str, str], ...]) -> Suggestion | None:
    """The company whose name fits best; two companies of the same name are never exact."""
    ranked = ranking(name, companies, limit=1)
    return ranked[0] if ranked else None


@functools.lru_cache(maxsize=4096)
def ranking(
    name: str, companies: tuple[tuple[int, str, str], ...], *, limit: int = 5
) -> tuple[Suggestion, ...]:
    """The companies whose names fit, best first."""
    same = _by_name(companies).get(_plain(name), [])
    if len(same) == 1:
        return (_suggest(same[0], 100, "exact name"),)
    if same:
        reason = f"{len(same)} companies have this name"
        return tuple(_suggest(each, 99, reason) for each in same[:limit])
    hits = process.extract(
        _plain(name),
        _plain_names(companies),
        scorer=fuzz.token_sort_ratio,
        score_cutoff=LOWEST_SCORE,
        limit=limit,
    )
    # What is not the exact name never scores like it.
    return tuple(
        _suggest(companies[position], min(round(score), 99), "similar name")
        for _, score, position in hits
    )


def _suggest(company: tuple[int, str, str], score: int, reason: str) -> Suggestion:
    return Suggestion(*company, score=score, reason=reason)


@functools.lru_cache(maxsize=4)
def _by_name(
    companies: tuple[tuple[int, str, str], ...],
) -> Mapping[str, list[tuple[int, str, str]]]:
    found: defaultdict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for company in companies:
        found[_plain(company[2])].append(company)
    return found


@functools.lru_cache(maxsize=4)
def _plain_names(companies: tuple[tuple[int, str, str], ...]) -> list[str]:
    return [_plain(name) for _, _, name in companies]


def _plain(name: str) -> str:
    """A name without case, punctuation and needless spaces."""
    return " ".join(_NOISE.sub(" ", name.casefold()).split()) or name.casefold()
