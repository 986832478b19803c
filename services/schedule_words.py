"""When runs begin by themselves, in one sentence."""

from __future__ import annotations

from services.settings import AppSettings


def schedule_words(settings: AppSettings) -> str:
    """The schedule as a person would say it; without one, runs begin by hand only."""
    schedule = getattr(settings, "schedule", None)
    when = getattr(schedule, "when", "by_hand")
    at = f"at {getattr(schedule, 'time', '')} ({settings.timezone})"
    return {
        "invoice": f"with the monthly Sophos invoice, looked for daily {at}",
        "monthly": f"once a month on day {getattr(schedule, 'day', '')} {at}",
        "daily": f"once a day {at}",
    }.get(when, "by hand only")
