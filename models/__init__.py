"""The tables. No rules live here: what the rows mean is decided in services/.

Instants are UTC and end in `_at`; quantities and money are exact decimals.
"""

from models.base import Base, ExactDecimal, UtcDateTime, db
from models.catalog import CatalogItem, Marker
from models.directory import Agreement, Company, DirectoryRefresh
from models.mappings import (
    SERIAL_LENGTH,
    OwnedAddition,
    ProductAgreement,
    ProductMapping,
    SerialAssignment,
    StagedEdit,
    TenantMapping,
)
from models.operation import Notice, NotificationTarget, ScheduledSlot, SlotState
from models.people import (
    ApiToken,
    AuditEvent,
    ConnectionValue,
    LoginAttempt,
    LoginSession,
    RecoveryCode,
    Role,
    Setting,
    TokenScope,
    User,
)
from models.reconciliation import ComparedRow, Comparison
from models.runs import OPEN_INTENTS, Change, ChangeState, Finding, RunState, SyncRun
from models.usage import UsageLine, UsageReport

__all__ = [
    "OPEN_INTENTS",
    "SERIAL_LENGTH",
    "Agreement",
    "ApiToken",
    "AuditEvent",
    "Base",
    "CatalogItem",
    "Change",
    "ChangeState",
    "Company",
    "ComparedRow",
    "Comparison",
    "ConnectionValue",
    "DirectoryRefresh",
    "ExactDecimal",
    "Finding",
    "LoginAttempt",
    "LoginSession",
    "Marker",
    "Notice",
    "NotificationTarget",
    "OwnedAddition",
    "ProductAgreement",
    "ProductMapping",
    "RecoveryCode",
    "Role",
    "RunState",
    "ScheduledSlot",
    "SerialAssignment",
    "Setting",
    "SlotState",
    "StagedEdit",
    "SyncRun",
    "TenantMapping",
    "TokenScope",
    "UsageLine",
    "UsageReport",
    "User",
    "UtcDateTime",
    "db",
]
