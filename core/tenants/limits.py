"""What a workspace may use, and what it used. No function commits; time is an argument."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from sqlalchemy.orm import Session

from core.errors import InvalidInputError
from core.tenants.records import TenantLimits, UsageDay
from core.tenants.service import get_tenant
from core.tenants.store import limits as store

MOST: Mapping[str, int] = {
    "requests_per_minute": 1_000_000,
    "tokens_per_minute": 1_000_000_000,
    "tokens_per_day": 1_000_000_000_000,
    "concurrent_requests": 100_000,
}
MOST_WEIGHT, MOST_PRIORITY = 1000, 10
MOST_DAYS = 400


def get_limits(s: Session, tenant_id: str) -> TenantLimits:
    """What was set for a workspace; where nothing was, the settings decide. Raises NotFoundError."""
    get_tenant(s, tenant_id)
    return store.limits_of(s, tenant_id) or TenantLimits()


def set_limits(s: Session, tenant_id: str, limits: TenantLimits, *, now: datetime) -> TenantLimits:
    """Set all of them; None gives one back to the settings. Raises NotFoundError, InvalidInputError."""
    get_tenant(s, tenant_id)
    for name, most in MOST.items():
        value = getattr(limits, name)
        if value is not None and not 1 <= value <= most:
            raise _out_of_range(name, 1, most)
    if not 1 <= limits.weight <= MOST_WEIGHT:
        raise _out_of_range("weight", 1, MOST_WEIGHT)
    if not -MOST_PRIORITY <= limits.priority <= MOST_PRIORITY:
        raise _out_of_range("priority", -MOST_PRIORITY, MOST_PRIORITY)
    store.put_limits(s, tenant_id, limits, now)
    return limits


def add_usage(s: Session, tenant_id: str, usage: UsageDay) -> None:
    """Count what a workspace used on a day."""
    store.add_usage(s, tenant_id, usage)


def usage_of(s: Session, tenant_id: str, *, days: int, now: datetime) -> list[UsageDay]:
    """The last days (UTC, today among them) that have any, newest first. Raises NotFoundError, InvalidInputError."""
    get_tenant(s, tenant_id)
    if not 1 <= days <= MOST_DAYS:
        raise _out_of_range("days", 1, MOST_DAYS)
    return store.usage_since(s, tenant_id, day_of(now) - timedelta(days=days - 1))


def used_on(s: Session, tenant_id: str, day: date) -> UsageDay:
    """What is counted for one day; nothing yet is 0."""
    return next((each for each in store.usage_since(s, tenant_id, day) if each.day == day), UsageDay(day))


def day_of(now: datetime) -> date:
    """The day that a moment counts for: UTC."""
    return now.astimezone(UTC).date()


def _out_of_range(name: str, least: int, most: int) -> InvalidInputError:
    return InvalidInputError(
        f"«{name}» cannot be that.", f"It is a whole number from {least:,} to {most:,}.", "Correct it."
    )
