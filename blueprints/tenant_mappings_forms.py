"""What the forms of the Customers page say. Whatever cannot be read counts as not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.tenants.tenant_mappings import Wanted

_PREFIX = "agreement:"
_LARGEST = 2_147_483_647


@dataclass(frozen=True)
class MappingForm:
    """The company and the agreement of a customer; the button that clears leaves none."""

    version: int
    company_id: int | None
    agreement_id: int | None

    @classmethod
    def of(cls, form: Mapping[str, str]) -> MappingForm:
        version = number_or_none(form.get("version")) or 0
        if "clear" in form:
            return cls(version, None, None)
        company_id = number_or_none(form.get("company_id"))
        return cls(version, company_id, number_or_none(form.get("agreement_id")))


@dataclass(frozen=True)
class ProductAgreementsForm:
    """The agreement of each product; its fields are named after the products."""

    version: int
    wanted: Mapping[str, int | None]

    @classmethod
    def of(cls, form: Mapping[str, str]) -> ProductAgreementsForm:
        wanted = {
            name.removeprefix(_PREFIX): number_or_none(value)
            for name, value in form.items()
            if name.startswith(_PREFIX)
        }
        return cls(number_or_none(form.get("version")) or 0, wanted)


def number_or_none(text: str | None) -> int | None:
    """A number of a form or an address; None for anything else."""
    short = (text or "").strip()
    readable = short.isascii() and short.isdecimal() and len(short) <= 10
    return int(short) if readable and int(short) <= _LARGEST else None


def wanted_of(text: str, *, tenant_id: str | None = None) -> Wanted:
    """An offer that was taken: tenant, its version, company and agreement, or no agreement."""
    named, version, company_id, agreement_id = (text.split("|") + [""] * 4)[:4]
    return Wanted(
        tenant_id or named,
        number_or_none(version),
        number_or_none(company_id),
        number_or_none(agreement_id),
    )
