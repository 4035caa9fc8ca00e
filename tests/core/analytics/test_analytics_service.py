"""Every question, on every database, beside the same answered from the plain list of requests."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from core.analytics import service
from core.analytics.costs import Prices
from core.analytics.recorder import Recorder
from core.analytics.records import Outlook, RankMetric, Scope, Source, Step, SubjectKind
from core.analytics.rollups import roll_up
from core.errors import InvalidInputError, NotFoundError
from core.registry import service as registry
from core.storage.database import Database
from core.tenants.records import Tenant

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Request:
    """A request as the test knows it."""

    def __init__(self, draw: random.Random, now: datetime, number: int) -> None:
        self.adapter = draw.choices(["alpha", "beta", "gamma"], [5, 3, 1])[0]
        self.task = draw.choice(["mapping", "copy"])
        self.latency = draw.lognormvariate({"alpha": 3.5, "beta": 4.5, "gamma": 4.0}[self.adapter], 0.5)
        self.error = "" if draw.random() < 0.9 else draw.choice(["timeout", "busy", "cancelled"])
        self.at = now - timedelta(seconds=draw.uniform(1, 6 * 86_400))
        self.tokens = number


@pytest.fixture
def known(database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime) -> list[Request]:
    draw = random.Random(8)
    made = [Request(draw, now, number) for number in range(400)]
    recorder = Recorder(database, prices=Prices(1.0, 0.0), seconds=now.timestamp)
    for place, each in enumerate(made):
        recorder.record_request(
            tenant.id, each.adapter, "task", each.latency, not each.error, each.task,
            error_type=each.error, tokens_in=each.tokens, at=each.at.timestamp(), request_id=f"req_{place}",
        )  # fmt: skip
    recorder.record_request(other_tenant.id, "alpha", "task", 1e6, False, "mapping")
    assert recorder.write()
    recorder.close()
    with database.transaction() as s:
        roll_up(s, now)
    return made


def answered(requests: list[Request]) -> np.ndarray:
    return np.sort([each.latency for each in requests if not each.error])


def test_totals_are_those_of_the_requests_and_of_the_period_before(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    with database.reading() as s:
        found = service.totals(s, tenant.id, Scope(now - 3 * DAY, now), prices=Prices(1.0, 0.0))
    since = found.now.since
    mine = [each for each in known if each.at >= since]
    before = [each for each in known if found.before.since <= each.at < since]
    assert 0 < len(before) < len(known)
    for told, true in ((found.now, mine), (found.before, before)):
        times = answered(true)
        assert told.requests == len(true)
        assert told.cancelled == sum(each.error == "cancelled" for each in true)
        assert told.success_rate.value == pytest.approx(len(times) / (len(true) - told.cancelled))
        assert told.latency_mean.value == pytest.approx(times.mean())
        exact = np.quantile(times, 0.95, method="inverted_cdf")
        assert told.latency_p95.value == pytest.approx(exact, rel=0.008)
        assert told.cost.value == pytest.approx(sum(each.tokens for each in true) / 1e6)
        assert told.errors == {
            code: sum(each.error == code for each in true)
            for code in ("busy", "timeout")
            if any(e.error == code for e in true)
        }
    assert found.changes["requests"].difference.value == len(mine) - len(before)
    assert found.changes["success_rate"].outlook is Outlook.UNCLEAR


@pytest.mark.parametrize("backend", ["sqlite"])
def test_adapters_tasks_and_both_together_are_told_apart(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    week = Scope(now - 7 * DAY, now)
    with database.reading() as s:
        table = service.summaries(s, tenant.id, week)
        copies = service.summaries(s, tenant.id, Scope(now - 7 * DAY, now, task="copy"))
        one = service.summary(s, tenant.id, Scope(now - 7 * DAY, now, "beta", task="copy"))
        tasks = service.tasks(s, tenant.id, week)
        with pytest.raises(NotFoundError, match="nobody"):
            service.summary(s, tenant.id, Scope(now - 7 * DAY, now, "nobody"))
        with pytest.raises(InvalidInputError, match="an adapter or a composition"):
            service.summary(s, tenant.id, Scope(now - 7 * DAY, now, "beta", "digest"))
    counts = {name: sum(each.adapter == name for each in known) for name in ("alpha", "beta", "gamma")}
    assert [(each.subject.id, each.requests) for each in table] == sorted(counts.items(), key=lambda i: -i[1])
    assert {each.subject.id: each.requests for each in copies} == {
        name: sum(each.adapter == name and each.task == "copy" for each in known) for name in counts
    }
    assert one.requests == sum(each.adapter == "beta" and each.task == "copy" for each in known)
    assert {each.task: each.requests for each in tasks} == {
        name: sum(each.task == name for each in known) for name in ("mapping", "copy")
    }


def test_series_have_every_step_and_add_up(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    with database.reading() as s:
        hours = service.series(s, tenant.id, None, now - 2 * DAY, now, Step.HOUR)
        days = service.series(s, tenant.id, "alpha", now - 7 * DAY, now, Step.DAY)
        with pytest.raises(InvalidInputError, match="Minutes are not kept"):
            service.series(s, tenant.id, None, now - DAY, now, Step.MINUTE)
        with pytest.raises(InvalidInputError, match="cannot be drawn"):
            service.series(s, tenant.id, None, now, now - DAY, Step.HOUR)
        with pytest.raises(InvalidInputError, match="cannot be drawn"):
            service.series(s, tenant.id, None, now - 3000 * DAY, now, Step.HOUR)
    assert [point.at for point in hours] == [hours[0].at + number * HOUR for number in range(49)]
    for point in hours:
        inside = [each for each in known if point.at <= each.at < point.at + HOUR]
        assert point.requests == len(inside)
        assert point.failures == sum(each.error in ("busy", "timeout") for each in inside)
        assert point.latency.count == len(answered(inside))
    assert len(days) == 8
    assert sum(point.requests for point in days) == sum(each.adapter == "alpha" for each in known)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_last_hour_has_minutes_also_after_they_were_rolled_up(
    database: Database, tenant: Tenant, now: datetime, record: Callable[..., Recorder]
) -> None:
    for minutes in (1, 10, 10, 59, 70):
        record(database, tenant.id, now - timedelta(minutes=minutes), [("alpha", 5.0, True)])
    with database.transaction() as s:
        roll_up(s, now)
    with database.reading() as s:
        points = service.series(s, tenant.id, None, now - HOUR, now, Step.MINUTE)
        hour = service.totals(s, tenant.id, Scope(now - HOUR, now))
    assert len(points) == 61
    assert [number for number, point in enumerate(points) if point.requests] == [1, 50, 59]
    assert (hour.now.requests, hour.before.requests) == (4, 1)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_the_heat_map_goes_by_the_hours_of_a_time_zone(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    zone = ZoneInfo("America/New_York")
    with database.reading() as s:
        cells = service.heat_map(s, tenant.id, Scope(now - 7 * DAY, now), zone="America/New_York")
        with pytest.raises(InvalidInputError, match="no time zone"):
            service.heat_map(s, tenant.id, Scope(now - DAY, now), zone="../etc/passwd")
    assert [(cell.weekday, cell.hour) for cell in cells] == [(d, h) for d in range(7) for h in range(24)]
    found = {(cell.weekday, cell.hour): cell.requests for cell in cells if cell.requests}
    true: dict[tuple[int, int], int] = {}
    for each in known:
        local = each.at.astimezone(zone)
        true[local.weekday(), local.hour] = true.get((local.weekday(), local.hour), 0) + 1
    assert found == true


def test_errors_have_their_share_and_lead_to_their_requests(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    week = Scope(now - 7 * DAY, now, "alpha")
    mine = [each for each in known if each.adapter == "alpha"]
    with database.reading() as s:
        found = service.errors(s, tenant.id, week)
        behind = {e.code: service.requests(s, tenant.id, week, error=e.code, limit=500) for e in found}
        cancelled = service.requests(s, tenant.id, week, error="cancelled")
    assert {each.code: each.count for each in found} == {
        code: sum(each.error == code for each in mine) for code in ("timeout", "busy")
    }
    n = sum(each.error != "cancelled" for each in mine)
    for each in found:
        assert (each.share.n, each.share.value) == (n, each.count / n)
        assert behind[each.code].total == len(behind[each.code].rows) == each.count
        assert {row.error for row in behind[each.code].rows} == {each.code}
        assert not any(row.success for row in behind[each.code].rows)
    assert cancelled.total == len(cancelled.rows) == sum(each.error == "cancelled" for each in mine)


def test_requests_come_newest_first_page_by_page(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    scope, pages, before = Scope(now - 7 * DAY, now, task="copy"), [], None
    with database.reading() as s:
        while True:
            page = service.requests(s, tenant.id, scope, before_id=before, limit=37)
            pages.append(page)
            before = page.next_before
            if before is None:
                break
        slow = service.requests(
            s, tenant.id, Scope(now - 7 * DAY, now, "beta"), slower_than_ms=120, limit=500
        )
        with pytest.raises(InvalidInputError, match="1 to 500"):
            service.requests(s, tenant.id, scope, limit=501)
    rows = [row for page in pages for row in page.rows]
    true = sorted((each for each in known if each.task == "copy"), key=lambda each: each.at, reverse=True)
    assert [row.at for row in rows] == [each.at for each in true]
    assert [row.latency_ms for row in rows] == [each.latency for each in true]
    assert {page.total for page in pages} == {len(true)}
    assert rows[0].source is Source.REPORTED
    beta = [each for each in known if each.adapter == "beta" and not each.error and each.latency > 120]
    assert len(slow.rows) == len(beta)
    assert slow.total == pytest.approx(len(beta), abs=5)


@pytest.mark.parametrize("backend", ["sqlite"])
def test_top_adapters_comparison_and_trends(
    database: Database, tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    week = Scope(now - 7 * DAY, now)
    with database.reading() as s:
        fastest = service.get_top_adapters(s, tenant.id, week, "p95_latency_ms", limit=2)
        with pytest.raises(InvalidInputError, match="cannot be ranked by «beauty»"):
            service.get_top_adapters(s, tenant.id, week, "beauty")
        compared = service.get_adapter_comparison(s, tenant.id, ["alpha", "beta", "gamma"], week)
        trends = service.trends(s, tenant.id, Scope(now - 2 * DAY, now))
        for wrong in ([], ["alpha"] * 2, ["alpha"] + [f"x{n}" for n in range(21)]):
            with pytest.raises((InvalidInputError, NotFoundError)):
                service.get_adapter_comparison(s, tenant.id, wrong, week)
        with pytest.raises(InvalidInputError, match="cannot be listed"):
            service.get_top_adapters(s, tenant.id, week, limit=0)
    assert fastest[0].subject.id == "alpha"
    assert [each.subject.id for each in compared.summaries] == ["alpha", "beta", "gamma"]
    slower = {d.other: d.outlook for d in compared.differences if d.metric == RankMetric.P95_LATENCY_MS}
    assert slower["beta"] is Outlook.WORSE
    assert "hold together" in compared.note
    assert trends[0].subject.id == "alpha"
    for trend in trends:
        assert sum(point.requests for point in trend.points) == trend.totals.now.requests
        assert len(trend.points) == 49


def test_an_adapter_of_the_registry_is_found_by_id_name_and_version_and_keeps_its_records_under_its_id(
    database: Database,
    tenant: Tenant,
    now: datetime,
    register: Callable[..., Any],
    record: Callable[..., Recorder],
) -> None:
    with database.transaction() as s:
        adapter = register(s, tenant, "amazon_schema_v1")
    record(
        database,
        tenant.id,
        now,
        [("amazon_schema_v1", 145.3, True), (adapter.id, 90.0, True)],
        task_type="mapping",
    )
    with database.transaction() as s:
        for name in (adapter.id, "amazon_schema_v1", "amazon_schema_v1@1"):
            found = service.summary(s, tenant.id, Scope(now - HOUR, now, name))
            assert (found.requests, found.subject.id, found.subject.registered) == (2, adapter.id, True)
            assert (found.subject.label, found.size.value) == (adapter.label, adapter.size_bytes)
        registry.archive_adapter(s, tenant.id, adapter.id)
        (left,) = service.summaries(s, tenant.id, Scope(now - HOUR, now))
        assert (left.subject.label, left.requests) == (adapter.label, 2)
        assert [each.id for each in service.subjects(s, tenant.id)] == [adapter.id]
        assert service.task_names(s, tenant.id) == ["mapping"]
        assert service.subjects(s, tenant.id, SubjectKind.COMPOSITION) == []


def test_an_adapter_without_requests_has_figures_that_say_so(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, register: Callable[..., Any]
) -> None:
    with sqlite_database.transaction() as s:
        adapter = register(s, sqlite_tenant, "fresh")
        found = service.summary(s, sqlite_tenant.id, Scope(now - DAY, now, adapter.id))
        points = service.series(s, sqlite_tenant.id, adapter.id, now - DAY, now, Step.HOUR)
    assert (found.requests, found.success_rate.value, found.latency_p95.note) == (
        0,
        None,
        "Nothing was recorded.",
    )
    assert len(points) == 25
    assert {point.requests for point in points} == {0}


def test_nobody_sees_figures_of_another_workspace(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, known: list[Request]
) -> None:
    week = Scope(now - 7 * DAY, now + HOUR)
    with database.reading() as s:
        assert service.summary(s, other_tenant.id, week).requests == 1
        assert service.requests(s, other_tenant.id, week).total == 1
        with pytest.raises(NotFoundError):
            service.summary(s, other_tenant.id, Scope(now - DAY, now, "beta"))
        assert [each.id for each in service.subjects(s, other_tenant.id)] == ["alpha"]
