"""Limits of a workspace and its usage by day, on every database."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from core.errors import InvalidInputError, NotFoundError
from core.storage.database import Database
from core.tenants import limits
from core.tenants.records import Tenant, TenantLimits, UsageDay


def test_limits_are_set_changed_and_given_back_to_the_settings(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    given = TenantLimits(60, 10_000, 5_000_000_000, 4, priority=-2, weight=3)
    with database.transaction() as s:
        assert limits.get_limits(s, tenant.id) == TenantLimits()
        limits.set_limits(s, tenant.id, given, now=now)
    with database.transaction() as s:
        assert limits.get_limits(s, tenant.id) == given
        assert limits.get_limits(s, other_tenant.id) == TenantLimits()
        limits.set_limits(s, tenant.id, TenantLimits(tokens_per_minute=7), now=now)
        assert limits.get_limits(s, tenant.id) == TenantLimits(tokens_per_minute=7)
    defaults = TenantLimits(requests_per_minute=100, tokens_per_minute=50)
    assert TenantLimits(tokens_per_minute=7, weight=2).over(defaults) == TenantLimits(100, 7, weight=2)


@pytest.mark.parametrize(
    "wrong",
    [
        TenantLimits(requests_per_minute=0),
        TenantLimits(tokens_per_day=10**13),
        TenantLimits(weight=0),
        TenantLimits(weight=1001),
        TenantLimits(priority=11),
    ],
)
def test_limits_that_cannot_be_are_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, wrong: TenantLimits
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(InvalidInputError):
        limits.set_limits(s, sqlite_tenant.id, wrong, now=now)
    with sqlite_database.transaction() as s, pytest.raises(NotFoundError):
        limits.set_limits(s, "ten_nobody", TenantLimits(), now=now)


def test_usage_adds_up_by_day_also_when_many_count_the_first_of_a_day(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    today = limits.day_of(now)

    def count(_: int) -> None:
        with database.transaction() as s:
            limits.add_usage(s, tenant.id, UsageDay(today, 1, 10, 3))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(8)))
    with database.transaction() as s:
        for days in (1, 29, 30):
            limits.add_usage(s, tenant.id, UsageDay(today - timedelta(days=days), 1, 1, 1))
        limits.add_usage(s, other_tenant.id, UsageDay(today, 99, 99, 99))
    with database.reading() as s:
        found = limits.usage_of(s, tenant.id, days=30, now=now)
        assert found[0] == UsageDay(today, 8, 80, 24) == limits.used_on(s, tenant.id, today)
        assert [(today - each.day).days for each in found] == [0, 1, 29]
        assert limits.used_on(s, tenant.id, today - timedelta(days=5)).tokens == 0
        with pytest.raises(InvalidInputError):
            limits.usage_of(s, tenant.id, days=0, now=now)
