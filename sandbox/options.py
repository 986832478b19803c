"""What can be chosen when the sandbox starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

RIGHTS = (
    "company/companies",
    "finance/agreements",
    "procurement/catalog",
    "system/tables",
)
CredentialKind = Literal["partner", "organization", "tenant"]


def month_of(day: date, back: int = 0) -> tuple[int, int]:
    """The (year, month) of a day, or the one `back` months before it."""
    index = day.year * 12 + day.month - 1 - back
    return index // 12, index % 12 + 1


def clock_for(today: date | None) -> Callable[[], datetime]:
    """A running UTC clock; with `today` it shows that date and the real time of day."""
    real = datetime.now(UTC)
    shift = timedelta(0) if today is None else timedelta(days=(today - real.date()).days)
    return lambda: datetime.now(UTC) + shift


@dataclass(frozen=True)
class Options:
    """All choices with their defaults. The same options always seed the same data."""

    # How much there is. At least the fixed examples are made, so a tiny catalog is a bit larger.
    tenants: int = 60
    products: int = 16
    catalog: int = 400
    months: int = 4
    seed: int = 1
    today: date | None = None

    # The current month's report exists from this day on; `report_ready` overrules the day.
    report_ready_day: int = 25
    report_ready: bool | None = None

    latency_ms: float = 0
    sophos_port: int = 0
    connectwise_port: int = 0

    # Sophos
    credential_kind: CredentialKind = "partner"
    credential_disabled: bool = False
    token_seconds: float = 3600
    sophos_max_page_size: int = 100
    # (requests, seconds) pairs; an empty tuple switches the limits off.
    sophos_limits: tuple[tuple[int, float], ...] = ((10, 1), (100, 60), (1000, 3600))
    sophos_retry_after: bool = True

    # ConnectWise
    connectwise_rate_per_minute: int = 1000
    # Rights taken away, e.g. "finance/agreements:write", "system/tables:read".
    denied: frozenset[str] = frozenset()
    is_cloud: bool = False
    codebase: str = "v2026_4/"
    wrong_credentials_status: int = 401
    missing_client_id_status: int = 400
    system_info_needs_auth: bool = True
    identifier_max_length: int = 75

    def __post_init__(self) -> None:
        known = {f"{right}:{kind}" for right in RIGHTS for kind in ("read", "write")}
        unknown = sorted(self.denied - known)
        if unknown:
            raise ValueError(f"unknown right: {unknown[0]}; known are {', '.join(sorted(known))}")

    def current_day(self) -> date:
        """The day that counts as today when the data is seeded."""
        return self.today or datetime.now(UTC).date()

    def newest_month(self) -> tuple[int, int]:
        """The newest month that has a report at the start."""
        day = self.current_day()
        ready = day.day >= self.report_ready_day if self.report_ready is None else self.report_ready
        return month_of(day, 0 if ready else 1)
