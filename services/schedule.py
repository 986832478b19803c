"""When sync runs start, in words."""

from __future__ import annotations

from services.settings import Schedule


def in_words(schedule: Schedule) -> str:
    """What a schedule means, as a person would say it."""
    return {
        "by_hand": "Only by hand, with Sync now",
        "invoice": f"With the monthly Sophos invoice, looked for every day at {schedule.time}",
        "monthly": f"Once a month, on day {schedule.day} at {schedule.time}",
        "daily": f"Once a day at {schedule.time}",
    }[schedule.when]
