"""What came of requests is noted without waiting and written a second later, whatever the database does meanwhile."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app import impression_book
from app.impression_book import ImpressionBook
from app.variants import Routed
from core.engine.records import Message
from core.experiments import service
from core.experiments.records import Assignment, Experiment, MetricDraft
from core.serve.records import InferenceAnswer, InferenceRequest, RequestOutcome
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.experiments.drafted import started


class Away(Database):
    """A database that is away for a while."""

    away = False

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        if self.away:
            raise ConnectionError("the database is away")
        with super().transaction() as s:
            yield s


@pytest.fixture
def database(sqlite_database: Database) -> Iterator[Away]:
    made = Away(str(sqlite_database.engine.url))
    yield made
    made.close()


@pytest.fixture
def book(database: Away, now: datetime) -> Iterator[ImpressionBook]:
    made = ImpressionBook(database, lambda: now)
    yield made
    database.away = False
    made.close()


@pytest.fixture
def running(database: Away, sqlite_tenant: Tenant, now: datetime) -> Experiment:
    tokens = MetricDraft(name="completion_tokens", kind="mean", higher_is_better=False)  # type: ignore[arg-type]
    with database.transaction() as s:
        return started(s, sqlite_tenant.id, now, guardrails=(tokens,))


def routed(experiment: Experiment, arm: str = "v1", user: str | None = "ann") -> Routed:
    request = InferenceRequest(messages=(Message("user", "hello"),), user_id=user, task="mapping")
    found = experiment.arm(arm)
    assert found is not None
    return Routed(request, experiment, found, Assignment(experiment.id, arm), None)


def over(of: Routed, request_id: str, at: datetime, error: str = "", **answer: Any) -> RequestOutcome:
    given = InferenceAnswer(
        request_id, "text", answer.get("finish", "stop"), "m", (), "0" * 64, "base", 5, 7, 120.0, 0.0, -0.1
    )
    return RequestOutcome(
        of.experiment.tenant_id, "ann", request_id, of.request, None if error else given, error, 0.1, at
    )


def counted(database: Database, experiment: Experiment, now: datetime) -> dict[str, Any]:
    with database.transaction() as s:
        results = service.get_experiment_results(s, experiment.tenant_id, experiment.id, now=now)
    return {arm.arm: arm for arm in results.arms}


def test_an_answer_is_in_the_database_a_second_later(
    book: ImpressionBook, database: Away, running: Experiment, now: datetime
) -> None:
    of = routed(running)
    book.expect("req_1", of)
    begun = time.perf_counter()
    book(over(of, "req_1", now))
    book(over(of, "req_other", now))  # belongs to no experiment
    assert time.perf_counter() - begun < 0.2
    time.sleep(1.6)
    found = counted(database, running, now)["v1"]
    assert (found.units, found.requests, found.latency_mean_ms) == (1, 1, 120.0)
    assert found.metrics["completion_tokens"] == 7.0
    assert found.success_rate.value == 1.0


@pytest.mark.parametrize(
    ("error", "finish", "requests", "rate"),
    [
        ("", "stop", 1, 1.0),
        ("", "length", 1, 1.0),
        ("", "timeout", 1, 0.0),
        ("unavailable", "stop", 1, 0.0),
        ("stage_failed", "stop", 1, 0.0),
        ("error", "stop", 1, 0.0),
        ("busy", "stop", 0, None),
        ("invalid_input", "stop", 0, None),
        ("cancelled", "stop", 0, None),
    ],
)
def test_what_the_arm_is_to_blame_for_counts_and_what_it_is_not_is_an_exposure(
    book: ImpressionBook,
    database: Away,
    running: Experiment,
    now: datetime,
    error: str,
    finish: str,
    requests: int,
    rate: float | None,
) -> None:
    of = routed(running)
    book.expect("req_1", of)
    book(over(of, "req_1", now, error, finish=finish))
    book.write()
    found = counted(database, running, now)["v1"]
    assert (found.exposed, found.requests) == (1, requests)
    assert (None if found.success_rate is None else found.success_rate.value) == rate


def test_what_cannot_be_written_waits_until_the_database_is_back(
    book: ImpressionBook, database: Away, running: Experiment, now: datetime
) -> None:
    database.away = True
    for number in range(3):
        of = routed(running, user=f"u{number}")
        book.expect(f"req_{number}", of)
        book(over(of, f"req_{number}", now))
    book.write()
    database.away = False
    book.write()
    book.write()
    assert counted(database, running, now)["v1"].units == 3


def test_only_so_much_waits_and_what_is_dropped_is_the_oldest(
    book: ImpressionBook,
    database: Away,
    running: Experiment,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(impression_book, "MOST_WAITING", 5)
    database.away = True
    for number in range(8):
        of = routed(running, user=f"u{number}")
        book.note(of, f"req_{number}", None, "error", now)
    database.away = False
    book.write()
    assert counted(database, running, now)["v1"].units == 5


def test_what_ended_before_the_stop_counts_and_what_came_after_it_does_not(
    book: ImpressionBook, database: Away, running: Experiment, now: datetime
) -> None:
    for number, at in enumerate((now, now + timedelta(hours=2))):
        of = routed(running, user=f"u{number}")
        book.expect(f"req_{number}", of)
        book(over(of, f"req_{number}", at))
    with Database.transaction(database) as s:
        service.stop_experiment(s, running.tenant_id, running.id, now=now + timedelta(hours=1))
    book.write()
    assert counted(database, running, now)["v1"].units == 1


def test_closing_writes_what_is_left(database: Away, running: Experiment, now: datetime) -> None:
    made = ImpressionBook(database, lambda: now)
    of = routed(running)
    made.expect("req_1", of)
    made(over(of, "req_1", now))
    made.close()
    assert counted(database, running, now)["v1"].units == 1


def test_one_that_cannot_be_counted_takes_no_other_with_it(
    book: ImpressionBook, database: Away, running: Experiment, now: datetime
) -> None:
    for number in range(3):
        book.note(routed(running, "v2", f"u{number}"), f"req_{number}", None, "error", now)
    wrong = Routed(
        routed(running).request,
        running,
        replace(running.control, id="gone"),
        Assignment(running.id, "gone"),
        None,
    )
    book.note(wrong, "req_wrong", None, "error", now)
    book.write()
    assert counted(database, running, now)["v2"].units == 3


def test_answers_that_waited_while_the_experiment_was_paused_count(
    book: ImpressionBook, database: Away, running: Experiment, now: datetime
) -> None:
    book.note(routed(running), "req_1", None, "error", now)
    with Database.transaction(database) as s:
        service.pause_experiment(s, running.tenant_id, running.id, now=now)
    book.write()
    assert counted(database, running, now)["v1"].units == 1
