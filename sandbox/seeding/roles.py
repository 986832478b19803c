"""Which customer shows which oddity: by position, repeating every sixty customers."""

from __future__ import annotations

CYCLE = 60

# Sophos side
SUSPENDED = 3
WITHOUT_API_HOST = (5, 17)
TRIAL = (7, 23)
CANCELED_ACCOUNT = 9
TERM = (11, 41)
WITHOUT_USAGE = 13
SPLIT_LINES = (0, 4, 8, 20, 36)

# ConnectWise side
TWO_AGREEMENTS = 2
CANCELLED_AGREEMENT = 10
LESS_INCLUDED = 12
EXPIRED_AGREEMENT = 14
CUSTOM_PRICE = 15
INACTIVE_AGREEMENT = 18
ENDED_AGREEMENT = 22
CANCELLED_ADDITION = 24
CYCLE_NONE = 26
ENDING_ADDITION = 27
STARTS_MID_MONTH = 30
OLD_BAD_ADDITION = 33
INVOICED = 34
INVOICED_PRORATED = 38
CHILD_AGREEMENT = 42
AMBIGUOUS_ADDITIONS = 46
RECYCLED_DUPLICATE = 1

# Sample configuration
SHARES_WITH_PREVIOUS = 21
SYNC_OFF = (19, 29)
LEFT_OUT = (13, 14, 18, 39, 44)


def role(index: int) -> int:
    """The position of a customer within its sixty."""
    return index % CYCLE
