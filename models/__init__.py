"""The tables. No rules live here: what the rows mean is decided in services/.

Instants are UTC and end in `_at`; quantities and money are exact decimals.
"""

from models.base import Base, ExactDecimal, UtcDateTime, db
from models.catalog import CatalogItem, Marker
from models.directory import Agreement, Company, DirectoryRefresh
from models.mappings import (
    OwnedAddition,
    ProductAgreement,
    ProductMapping,
    SerialAssignment,
    StagedEdit,
    TenantMapping,
)
from models.people import (
    AuditEvent,
    ConnectionValue,
    LoginAttempt,
    LoginSession,
    Role,
    Setting,
    User,
)
from models.runs import OPEN_INTENTS, Change, ChangeState, Finding, RunState, SyncRun
from models.usage import UsageLine, UsageReport

__all__ = [
    "OPEN_INTENTS",
    "Agreement",
    "AuditEvent",
    "Base",
    "CatalogItem",
    "Change",
    "ChangeState",
    "Company",
    "ConnectionValue",
    "DirectoryRefresh",
    "ExactDecimal",
    "Finding",
    "LoginAttempt",
    "LoginSession",
    "Marker",
    "OwnedAddition",
    "ProductAgreement",
    "ProductMapping",
    "Role",
    "RunState",
    "SerialAssignment",
    "Setting",
    "StagedEdit",
    "SyncRun",
    "TenantMapping",
    "UsageLine",
    "UsageReport",
    "User",
    "UtcDateTime",
    "db",
]
