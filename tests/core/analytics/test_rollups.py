"""Minutes become hours and days: no figure changes by it, in whatever order it happens."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.analytics import service
from core.analytics.recorder import Recorder
from core.analytics.records import Scope, Step
from core.analytics.rollups import Retention, retire, roll_up
from core.storage.database import Database
from core.tenants.records import Tenant

HOUR = timedelta(hours=1)


def fill(database: Database, tenant: Tenant, now: datetime, writers: int = 3) -> None:
    """300 requests of the last three days, by several processes, some late."""
    draw = random.Random(5)
    for writer in range(writers):
        recorder = Recorder(database, seconds=now.timestamp)
        for number in range(100):
            back = draw.choice([draw.uniform(0, 3600), draw.uniform(0, 3 * 86_400)])
            recorder.record_request(
                tenant.id,
                f"adapter_{(number + writer) % 3}",
                "task",
                draw.lognormvariate(4, 1),
                draw.random() < 0.9,
                draw.choice(["mapping", "copy"]),
                at=now.timestamp() - back,
                tokens_in=number,
            )
        assert recorder.write()
        recorder.close()


def figures(database: Database, tenant: Tenant, now: datetime) -> list[Any]:
    week, hour = Scope(now - timedelta(days=7), now), Scope(now - HOUR, now)
    with database.reading() as s:
        return [
            service.totals(s, tenant.id, week),
            service.summaries(s, tenant.id, week),
            service.summary(s, tenant.id, hour),
            service.series(s, tenant.id, None, now - timedelta(days=3), now, Step.HOUR),
            service.series(s, tenant.id, "adapter_1", now - timedelta(days=4), now, Step.DAY),
            service.series(s, tenant.id, None, now - HOUR, now, Step.MINUTE, task="copy"),
            service.heat_map(s, tenant.id, week),
            service.errors(s, tenant.id, week),
        ]


def stored(database: Database, grain: str) -> list[tuple[Any, ...]]:
    query = (
        "SELECT kind, start, subject, task, writer, requests, successes, latency, prompt_tokens FROM analytics_cells "
        f"WHERE grain = '{grain}' ORDER BY kind, start, subject, task, writer"
    )
    with database.engine.connect() as connection:
        return [
            tuple(bytes(part) if isinstance(part, memoryview) else part for part in row)
            for row in connection.exec_driver_sql(query)
        ]


def test_no_figure_changes_when_minutes_are_rolled_up(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    fill(database, tenant, now)
    before = figures(database, tenant, now)
    assert before[0].now.requests == 300
    assert sum(point.requests for point in before[3]) == 300
    with database.transaction() as s:
        assert roll_up(s, now) > 0
    assert figures(database, tenant, now) == before
    with database.transaction() as s:
        assert roll_up(s, now) == 0
    with database.transaction() as s:  # an hour later the last minutes are settled
        assert roll_up(s, now + HOUR) > 0
    assert figures(database, tenant, now) == before
    assert stored(database, "minute") == []


def test_the_order_in_which_processes_write_and_roll_up_changes_no_byte(
    sqlite_database: Database, sqlite_tenant: Tenant, other_order: Database, now: datetime
) -> None:
    fill(sqlite_database, sqlite_tenant, now)
    with sqlite_database.transaction() as s:
        roll_up(s, now + HOUR)
    for part in (1, 2, 3):
        fill_part(other_order, sqlite_tenant, now, 3 - part)
        with other_order.transaction() as s:
            roll_up(s, now + HOUR)
    for grain in ("hour", "day"):
        assert stored(sqlite_database, grain) == stored(other_order, grain) != []


@pytest.fixture
def other_order(tmp_path: Any, sqlite_template: Any, sqlite_tenant: Tenant, sqlite_database: Database) -> Any:
    """A copy of the database, with the same workspace in it."""
    import shutil

    source = str(sqlite_database.engine.url.database)
    copy = tmp_path / "other.sqlite"
    shutil.copy(source, copy)
    database = Database(f"sqlite:///{copy}")
    yield database
    database.close()


def fill_part(database: Database, tenant: Tenant, now: datetime, only: int) -> None:
    """What one of the processes of `fill` writes, last request first."""
    draw = random.Random(5)
    for writer in range(3):
        calls = []
        for number in range(100):
            back = draw.choice([draw.uniform(0, 3600), draw.uniform(0, 3 * 86_400)])
            latency, success = draw.lognormvariate(4, 1), draw.random() < 0.9
            task = draw.choice(["mapping", "copy"])
            calls.append((f"adapter_{(number + writer) % 3}", latency, success, task, back, number))
        if writer == only:
            recorder = Recorder(database, seconds=now.timestamp)
            for name, latency, success, task, back, tokens in reversed(calls):
                recorder.record_request(
                    tenant.id,
                    name,
                    "task",
                    latency,
                    success,
                    task,
                    at=now.timestamp() - back,
                    tokens_in=tokens,
                )
            assert recorder.write()
            recorder.close()


def test_several_processes_roll_up_at_once_while_others_write_and_nothing_is_counted_twice(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    def write(_: int) -> None:
        recorder = Recorder(database, seconds=now.timestamp)
        for back in range(40):
            recorder.record_request(
                tenant.id, "alpha", "task", 5.0, True, at=now.timestamp() - 300 * (back % 5)
            )
            recorder.write()
        recorder.close()

    def roll(_: int) -> None:
        for _ in range(8):
            with database.transaction() as s:
                roll_up(s, now)

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(write, number) for number in range(2)] + [
            pool.submit(roll, 0),
            pool.submit(roll, 1),
        ]
        for each in work:
            each.result()
    with database.transaction() as s:
        roll_up(s, now + HOUR)
    with database.reading() as s:
        found = service.summary(s, tenant.id, Scope(now - timedelta(days=2), now))
    assert (found.requests, found.latency_p50.n) == (80, 80)


def test_what_is_too_old_is_deleted_and_days_stay(
    database: Database, tenant: Tenant, now: datetime, record: Callable[..., Recorder]
) -> None:
    old, newer = now - timedelta(days=40), now - timedelta(days=3)
    record(database, tenant.id, old, [("alpha", 5.0, True)] * 3, request_id="req_old")
    record(database, tenant.id, newer, [("alpha", 7.0, True)] * 2)
    with database.transaction() as s:
        roll_up(s, now)
    with database.transaction() as s:
        assert retire(s, now, Retention(request_days=30, hour_days=35)) == 3
        assert retire(s, now, Retention(request_days=30, hour_days=35)) == 0
    with database.reading() as s:
        month = Scope(now - timedelta(days=60), now)
        assert service.summary(s, tenant.id, month).requests == 5
        page = service.requests(s, tenant.id, Scope(now - timedelta(days=60), now, "alpha"))
        assert (len(page.rows), page.total, page.kept_since) == (2, 5, newer)
        hours = service.series(s, tenant.id, None, old - HOUR, old + HOUR, Step.HOUR)
        assert sum(point.requests for point in hours) == 0
    assert {row[1] for row in stored(database, "kept")} == set()
