"""Simulated requests: once, seeded, and marked."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from core.analytics import service
from core.analytics.records import Scope, Source, Step
from core.analytics.rollups import roll_up
from core.demo.requests import REQUESTS, simulate_requests
from core.registry.records import AdapterType
from core.storage.database import Database
from core.tenants.records import Tenant


def test_a_workspace_gets_a_week_of_requests_that_say_that_they_are_simulated(
    database: Database, tenant: Tenant, now: datetime, register: Callable[..., Any]
) -> None:
    with database.transaction() as s:
        assert simulate_requests(s, tenant.id, now=now) == 0
        for seed, kind in enumerate((AdapterType.RETAILER, AdapterType.BRAND)):
            register(s, tenant, f"{kind}_one", seed, type=kind)
        began = time.process_time()
        assert simulate_requests(s, tenant.id, now=now) == REQUESTS
        assert time.process_time() - began < 6
        assert simulate_requests(s, tenant.id, now=now) == 0
    week = Scope(now - timedelta(days=8), now)
    with database.reading() as s:
        before = service.totals(s, tenant.id, week)
        table = service.summaries(s, tenant.id, week)
        (row,) = service.requests(s, tenant.id, week, limit=1).rows
        points = service.series(s, tenant.id, None, now - timedelta(days=8), now, Step.HOUR)
    assert before.now.requests == before.now.simulated == REQUESTS
    assert before.now.source == f"{REQUESTS:,} simulated"
    assert row.source is Source.SIMULATED
    assert sum(each.requests for each in table) == REQUESTS
    assert sum(point.requests for point in points) == REQUESTS
    assert {each.subject.registered for each in table} == {True}
    assert before.now.rating.n == before.now.thumbs_up + before.now.thumbs_down > 50
    with database.transaction() as s:
        roll_up(s, now + timedelta(hours=1))
        assert service.totals(s, tenant.id, week) == before
