"""All tables. Only stores (and migrations) import from here."""

from core.storage.tables.adapters import AdapterRow
from core.storage.tables.base import Base
from core.storage.tables.compositions import FederationRow, GateRow, ServedVersionRow, SwapRow
from core.storage.tables.datasets import DatasetRow
from core.storage.tables.feedback import PreferencePairRow
from core.storage.tables.jobs import JobPointRow, JobRow
from core.storage.tables.mappings import HarmonizedRunRow, MappingRow, MappingVersionRow
from core.storage.tables.tenants import (
    ApiKeyRow,
    AuditHeadRow,
    AuditRow,
    SignInLinkRow,
    TenantLimitRow,
    TenantRow,
    UsageDayRow,
    UserRow,
    WebSessionRow,
)

__all__ = [
    "AdapterRow",
    "ApiKeyRow",
    "AuditHeadRow",
    "AuditRow",
    "Base",
    "DatasetRow",
    "FederationRow",
    "GateRow",
    "HarmonizedRunRow",
    "JobPointRow",
    "JobRow",
    "MappingRow",
    "MappingVersionRow",
    "PreferencePairRow",
    "ServedVersionRow",
    "SignInLinkRow",
    "SwapRow",
    "TenantLimitRow",
    "TenantRow",
    "UsageDayRow",
    "UserRow",
    "WebSessionRow",
]
