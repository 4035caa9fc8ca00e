"""All SQL of limits and usage."""

from datetime import date, datetime

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.storage.tables import TenantLimitRow, UsageDayRow
from core.tenants.records import TenantLimits, UsageDay
from core.tenants.store.rows import changed, fresh


def limits_of(s: Session, tenant_id: str) -> TenantLimits | None:
    """What was set for a tenant; None when nothing was."""
    found = fresh(s, select(TenantLimitRow).where(TenantLimitRow.tenant_id == tenant_id))
    return next((_limits(row) for row in found), None)


def put_limits(s: Session, tenant_id: str, limits: TenantLimits, now: datetime) -> None:
    """Set all limits of a tenant."""
    columns = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "tokens_per_day": limits.tokens_per_day,
        "concurrent_requests": limits.concurrent_requests,
        "priority": limits.priority,
        "weight": limits.weight,
        "updated_at": now,
    }
    change = update(TenantLimitRow).where(TenantLimitRow.tenant_id == tenant_id).values(**columns)
    if changed(s, change):
        return
    try:
        with s.begin_nested():
            s.execute(insert(TenantLimitRow).values(tenant_id=tenant_id, **columns))
    except IntegrityError:  # another transaction was first
        changed(s, change)


def add_usage(s: Session, tenant_id: str, usage: UsageDay) -> None:
    """Add to what is counted for a tenant and day."""
    row = UsageDayRow
    change = (
        update(row)
        .where(row.tenant_id == tenant_id, row.day == usage.day)
        .values(
            requests=row.requests + usage.requests,
            prompt_tokens=row.prompt_tokens + usage.prompt_tokens,
            completion_tokens=row.completion_tokens + usage.completion_tokens,
        )
        .execution_options(synchronize_session=False)
    )
    if changed(s, change):
        return
    try:
        with s.begin_nested():
            s.execute(
                insert(row).values(
                    tenant_id=tenant_id,
                    day=usage.day,
                    requests=usage.requests,
                    prompt_tokens=usage.prompt_tokens,
                    completion_tokens=usage.completion_tokens,
                )
            )
    except IntegrityError:  # another process counted the first of this day
        changed(s, change)


def usage_since(s: Session, tenant_id: str, first: date) -> list[UsageDay]:
    """Days with any usage from `first` on, newest first."""
    statement = (
        select(UsageDayRow)
        .where(UsageDayRow.tenant_id == tenant_id, UsageDayRow.day >= first)
        .order_by(UsageDayRow.day.desc())
    )
    return [
        UsageDay(row.day, row.requests, row.prompt_tokens, row.completion_tokens)
        for row in fresh(s, statement)
    ]


def _limits(row: TenantLimitRow) -> TenantLimits:
    return TenantLimits(
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        tokens_per_day=row.tokens_per_day,
        concurrent_requests=row.concurrent_requests,
        priority=row.priority,
        weight=row.weight,
    )
