"""All tables. Only stores (and migrations) import from here."""

from core.storage.tables.adapters import AdapterRow
from core.storage.tables.alerts import (
    AlertDeliveryRow,
    AlertEventRow,
    AlertRow,
    AlertRuleRow,
    LeaseRow,
    WatchedRow,
    WebhookRow,
)
from core.storage.tables.analytics import (
    AnalyticsCellRow,
    AnalyticsSubjectRow,
    AnalyticsWriterRow,
    RequestFeedbackRow,
    RequestRow,
    RequestSubjectRow,
)
from core.storage.tables.base import Base
from core.storage.tables.compositions import FederationRow, GateRow, ServedVersionRow, SwapRow
from core.storage.tables.datasets import DatasetRow
from core.storage.tables.experiments import (
    ExperimentEvidenceRow,
    ExperimentImpressionRow,
    ExperimentRow,
    ExperimentSnapshotRow,
    ExperimentUnitRow,
)
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
    "AlertDeliveryRow",
    "AlertEventRow",
    "AlertRow",
    "AlertRuleRow",
    "AnalyticsCellRow",
    "AnalyticsSubjectRow",
    "AnalyticsWriterRow",
    "ApiKeyRow",
    "AuditHeadRow",
    "AuditRow",
    "Base",
    "DatasetRow",
    "ExperimentEvidenceRow",
    "ExperimentImpressionRow",
    "ExperimentRow",
    "ExperimentSnapshotRow",
    "ExperimentUnitRow",
    "FederationRow",
    "GateRow",
    "HarmonizedRunRow",
    "JobPointRow",
    "JobRow",
    "LeaseRow",
    "MappingRow",
    "MappingVersionRow",
    "PreferencePairRow",
    "RequestFeedbackRow",
    "RequestRow",
    "RequestSubjectRow",
    "ServedVersionRow",
    "SignInLinkRow",
    "SwapRow",
    "TenantLimitRow",
    "TenantRow",
    "UsageDayRow",
    "UserRow",
    "WatchedRow",
    "WebSessionRow",
    "WebhookRow",
]
