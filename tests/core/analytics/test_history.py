"""Many requests of the past at once count as if they had been recorded then."""

from datetime import datetime, timedelta

from core.analytics import service
from core.analytics.costs import Prices
from core.analytics.history import has_records, insert_history
from core.analytics.recorder import Recorder
from core.analytics.records import RequestEvent, Scope, Source, Step, Thumbs
from core.analytics.rollups import roll_up
from core.analytics.tallies import judgement
from core.storage.database import Database
from core.tenants.records import Tenant


def past(tenant_id: str, now: datetime) -> list[RequestEvent]:
    return [
        RequestEvent(
            tenant_id, (now - timedelta(minutes=47 * number)).timestamp(), f"req_{number}", "alpha", "c" * 64,
            (("alpha", "task"),), (), "copy", "timeout" if number % 9 == 0 else "", 10.0 + number, 1.0, None, None,
            number, 2, 0, Source.REPORTED.value,
        )
        for number in range(200)
    ]  # fmt: skip


def test_history_and_recording_give_the_same_figures(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime
) -> None:
    prices = Prices(1.0, 2.0)
    with database.transaction() as s:
        assert not has_records(s, tenant.id)
        assert insert_history(s, past(tenant.id, now), prices=prices, now=now) == 200
        assert has_records(s, tenant.id)
    recorder = Recorder(database, prices=prices, seconds=now.timestamp)
    for event in past(other_tenant.id, now):
        recorder.record(event)
    assert recorder.write()
    recorder.close()
    for _ in range(2):
        with database.reading() as s:
            week = Scope(now - timedelta(days=8), now)
            one, other = (service.totals(s, each.id, week, prices=prices) for each in (tenant, other_tenant))
            hours, others = (
                service.series(s, each.id, "alpha", week.since, now, Step.HOUR)
                for each in (tenant, other_tenant)
            )
            pages = [service.requests(s, each.id, week, limit=200) for each in (tenant, other_tenant)]
        assert one == other
        assert hours == others
        assert [row.request_id for row in pages[0].rows] == [row.request_id for row in pages[1].rows]
        with database.transaction() as s:
            roll_up(s, now)


def test_what_was_said_of_them_counts_and_a_workspace_that_does_not_exist_gets_nothing(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    events = past(sqlite_tenant.id, now)
    judged = [(events[50], judgement(4.0, Thumbs.UP, None)), (events[0], judgement(2.0, None, None))]
    with sqlite_database.transaction() as s:
        assert insert_history(s, events, judged=judged, prices=Prices(), now=now) == 200
        assert insert_history(s, past("ten_nobody", now), prices=Prices(), now=now) == 0
        found = service.summary(s, sqlite_tenant.id, Scope(now - timedelta(days=8), now, "alpha"))
    assert (found.rating.value, found.rating.n, found.thumbs_up) == (3.0, 2, 1)
