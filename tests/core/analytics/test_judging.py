"""What people think of answers."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest

from core.analytics import judging, service
from core.analytics.judging import record_feedback
from core.analytics.recorder import Recorder
from core.analytics.records import Scope, Thumbs
from core.analytics.rollups import roll_up
from core.errors import BusyError, InvalidInputError, NotFoundError
from core.storage.database import Database
from core.tenants.records import Tenant

HOUR = timedelta(hours=1)


@pytest.fixture
def asked(database: Database, tenant: Tenant, now: datetime, record: Callable[..., Recorder]) -> str:
    record(database, tenant.id, now, [("alpha", 5.0, True)], request_id="req_1", task_type="mapping")
    return "req_1"


def figures(database: Database, tenant: Tenant, now: datetime, adapter: str | None = None) -> Any:
    with database.reading() as s:
        return service.summary(s, tenant.id, Scope(now - 2 * HOUR, now + HOUR, adapter))


def test_the_seeds_call_works_and_counts_for_the_adapter_and_the_workspace(
    database: Database, tenant: Tenant, now: datetime, asked: str
) -> None:
    with database.transaction() as s:
        said = record_feedback(
            s,
            tenant.id,
            adapter_id="alpha",
            rating=4.5,
            thumbs="up",
            task_type="mapping",
            accuracy=0.92,
            created_by="ann",
            now=now,
        )
    assert (said.adapters, said.thumbs, said.request_id) == (("alpha",), Thumbs.UP, None)
    for adapter in ("alpha", None):
        found = figures(database, tenant, now, adapter)
        assert (found.rating.value, found.rating.n) == (4.5, 1)
        assert (found.thumbs_up, found.thumbs_down) == (1, 0)
        assert found.accuracy.value == pytest.approx(0.92)
        assert found.requests == 1
    with database.reading() as s:
        (task,) = service.tasks(s, tenant.id, Scope(now - HOUR, now + HOUR))
    assert (task.task, task.accuracy.value) == ("mapping", pytest.approx(0.92))


def test_a_person_counts_once_for_an_answer_and_the_newest_word_holds(
    database: Database, tenant: Tenant, now: datetime, asked: str
) -> None:
    later = now + timedelta(minutes=30)
    for at, who, more in (
        (now, "ann", {"thumbs": "down"}),
        (now, "ann", {"rating": 2.0}),
        (later, "ann", {"thumbs": "up"}),
        (now, "bob", {"thumbs": "up", "rating": 5}),
    ):
        with database.transaction() as s:
            record_feedback(s, tenant.id, request_id=asked, created_by=who, now=at, **more)
        with database.transaction() as s:
            roll_up(s, at)
    found = figures(database, tenant, now, "alpha")
    assert (found.thumbs_up, found.thumbs_down) == (2, 0)
    assert (found.rating.value, found.rating.n) == (3.5, 2)
    with database.reading() as s:
        (row,) = service.requests(s, tenant.id, Scope(now - HOUR, now + HOUR)).rows
    assert (row.thumbs, row.rating) == (Thumbs.UP, 2.0)


def test_many_judge_at_once_and_all_count(
    database: Database, tenant: Tenant, now: datetime, asked: str
) -> None:
    def judge(number: int) -> None:
        with database.transaction() as s:
            record_feedback(
                s, tenant.id, request_id=asked, thumbs="up", created_by=f"person {number % 4}", now=now
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(judge, range(8)))
    found = figures(database, tenant, now)
    assert (found.thumbs_up, found.thumbs.n) == (4, 4)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rating": 0.9}, "1 to 5"),
        ({"rating": 5.1}, "1 to 5"),
        ({"rating": math.nan}, "1 to 5"),
        ({"rating": math.inf}, "1 to 5"),
        ({"accuracy": 1.01}, "0 to 1"),
        ({"accuracy": math.nan}, "0 to 1"),
        ({"thumbs": "sideways"}, "up or down"),
        ({}, "Nothing was said"),
    ],
)
def test_what_cannot_be_said_is_refused(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime, wrong: dict[str, Any], why: str
) -> None:
    with sqlite_database.transaction() as s, pytest.raises(InvalidInputError, match=why):
        record_feedback(s, sqlite_tenant.id, adapter_id="alpha", created_by="ann", now=now, **wrong)


def test_what_is_not_there_cannot_be_judged(
    database: Database, tenant: Tenant, other_tenant: Tenant, now: datetime, asked: str
) -> None:
    with database.transaction() as s:
        with pytest.raises(NotFoundError, match="no adapter «nobody»"):
            record_feedback(s, tenant.id, adapter_id="nobody", rating=3, created_by="ann", now=now)
        for who, request in ((tenant, "req_2"), (other_tenant, asked), (tenant, "req\0")):
            with pytest.raises(NotFoundError, match="no request"):
                record_feedback(s, who.id, request_id=request, rating=3, created_by="ann", now=now)
        with pytest.raises(InvalidInputError, match="not clear what is judged"):
            record_feedback(s, tenant.id, rating=3, created_by="ann", now=now)
        with pytest.raises(InvalidInputError, match="not clear what is judged"):
            record_feedback(
                s, tenant.id, request_id=asked, adapter_id="alpha", rating=3, created_by="ann", now=now
            )


@pytest.mark.parametrize("backend", ["sqlite"])
def test_one_account_cannot_judge_without_end(
    database: Database, tenant: Tenant, now: datetime, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MOST_A_DAY", 2)
    with database.transaction() as s:
        for _ in range(2):
            record_feedback(s, tenant.id, adapter_id="alpha", thumbs="up", created_by="ann", now=now)
        with pytest.raises(BusyError, match="enough for today"):
            record_feedback(s, tenant.id, adapter_id="alpha", thumbs="up", created_by="ann", now=now)
        record_feedback(s, tenant.id, adapter_id="alpha", thumbs="up", created_by="bob", now=now)
