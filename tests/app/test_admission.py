"""Who is let in: tokens a minute and a day, answers at once, usage by day, all with a clock of one's own."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.admission import Admission, estimate
from app.metrics import Metrics
from app.rates import Rates
from core.engine.records import Message
from core.errors import BusyError, UnavailableError
from core.serve.records import InferenceAnswer, InferenceRequest
from core.settings import Settings
from core.storage.database import Database
from core.tenants import limits
from core.tenants.records import Principal, Role, Tenant, TenantLimits, UsageDay

REQUEST = InferenceRequest(messages=(Message("user", "x" * 48),), max_new_tokens=80)  # 20 tokens and 80
START = datetime(2026, 11, 2, 23, 0, tzinfo=UTC)


class Clocks:
    """The time of day, and one that only goes on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self.passed

    def day(self) -> datetime:
        return START + timedelta(seconds=self.passed)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def admission(sqlite_database: Database, clocks: Clocks) -> Iterator[Admission]:
    rates = Rates(1000, clocks.monotonic)
    made = Admission(sqlite_database, Settings(max_new_tokens=512), rates, Metrics(), clocks.day)
    yield made
    made.usage.close()


@pytest.fixture
def caller(sqlite_tenant: Tenant) -> Principal:
    return Principal(sqlite_tenant.id, sqlite_tenant.name, "key", Role.VIEWER, key_id="key_1")


def allow(admission: Admission, database: Database, caller: Principal, given: TenantLimits) -> None:
    with database.transaction() as s:
        limits.set_limits(s, caller.tenant_id, given, now=START)
    admission.standings.forget(caller.tenant_id)


def answer(prompt: int, completion: int, **more: Any) -> InferenceAnswer:
    made = InferenceAnswer("req", "t", "stop", "m", (), "k", "b", prompt, completion, 50.0, 1.0, -0.1)
    return replace(made, **more)


def use(admission: Admission, caller: Principal, prompt: int, completion: int) -> None:
    with admission.enter(caller, REQUEST) as entry:
        entry.answered(answer(prompt, completion))


def test_a_request_is_guessed_by_its_bytes_and_its_longest_answer() -> None:
    assert estimate(REQUEST, 512) == (20, 80)
    assert estimate(REQUEST, 10) == (20, 10)


def test_tokens_of_a_minute_are_charged_before_and_corrected_after_an_answer(
    admission: Admission, sqlite_database: Database, caller: Principal, clocks: Clocks
) -> None:
    allow(admission, sqlite_database, caller, TenantLimits(tokens_per_minute=230))
    first, second = admission.enter(caller, REQUEST), admission.enter(caller, REQUEST)
    with pytest.raises(BusyError, match="230 a minute") as refused:
        admission.enter(caller, REQUEST)
    assert refused.value.retry_after_s == 60
    first.answered(answer(20, 5))
    first.end()
    use(admission, caller, 20, 80)  # the guess of the first was 75 too many
    clocks.passed = 30
    with pytest.raises(BusyError) as refused:
        admission.enter(caller, REQUEST)
    assert refused.value.retry_after_s == 30
    second.end(RuntimeError("failed"))  # nothing was used after all
    use(admission, caller, 20, 55)


def test_one_request_above_the_tokens_of_a_minute_passes_when_nothing_else_runs(
    admission: Admission, sqlite_database: Database, caller: Principal
) -> None:
    allow(admission, sqlite_database, caller, TenantLimits(tokens_per_minute=50))
    with admission.enter(caller, REQUEST), pytest.raises(BusyError):
        admission.enter(caller, REQUEST)
    use(admission, caller, 20, 10)


def test_tokens_of_a_day_count_what_is_written_what_is_not_yet_and_what_runs(
    admission: Admission, sqlite_database: Database, caller: Principal, clocks: Clocks
) -> None:
    allow(admission, sqlite_database, caller, TenantLimits(tokens_per_day=300))
    with sqlite_database.transaction() as s:  # another process of this installation
        limits.add_usage(s, caller.tenant_id, UsageDay(START.date(), 1, 50, 50))
    use(admission, caller, 20, 30)
    running = admission.enter(caller, REQUEST)
    with pytest.raises(BusyError, match="50 are left, and this asks for up to 100") as refused:
        admission.enter(caller, REQUEST)
    assert refused.value.retry_after_s == 3600
    running.end(RuntimeError("failed"))
    admission.usage.write()
    assert admission.usage.unwritten(caller.tenant_id, START.date()) == 0
    use(admission, caller, 20, 80)
    with pytest.raises(BusyError):
        admission.enter(caller, REQUEST)
    clocks.passed = 3600
    admission.standings.forget(caller.tenant_id)
    use(admission, caller, 20, 80)
    admission.usage.write()
    with sqlite_database.reading() as s:
        found = limits.usage_of(s, caller.tenant_id, days=2, now=clocks.day())
    assert found == [
        UsageDay(START.date() + timedelta(days=1), 1, 20, 80),
        UsageDay(START.date(), 3, 90, 160),
    ]


def test_answers_at_once_are_counted_by_workspace_and_every_end_gives_its_place_back(
    admission: Admission, sqlite_database: Database, caller: Principal
) -> None:
    allow(admission, sqlite_database, caller, TenantLimits(concurrent_requests=2))
    first, second = admission.enter(caller, REQUEST), admission.enter(caller, REQUEST)
    with pytest.raises(BusyError, match="2 answers at once"):
        admission.enter(caller, REQUEST)
    first.end()
    first.end()
    third = admission.enter(caller, REQUEST)
    with pytest.raises(BusyError):
        admission.enter(caller, REQUEST)
    second.end(ValueError())
    third.end()
    assert admission.inside == 0
    assert admission.wait_until_empty(0)


def test_a_changed_limit_counts_at_once_here_and_after_two_seconds_elsewhere(
    admission: Admission, sqlite_database: Database, caller: Principal
) -> None:
    now = [0.0]
    admission.standings._clock = lambda: now[0]
    assert admission.answer_limits(caller).share == 1
    with sqlite_database.transaction() as s:
        limits.set_limits(s, caller.tenant_id, TenantLimits(weight=5, priority=2), now=START)
    now[0] = 1.9
    assert admission.answer_limits(caller).share == 1
    now[0] = 2.0
    told = admission.answer_limits(caller)
    assert (told.share, told.priority, told.time_limit_s) == (5, 2, 600)


def test_who_comes_after_the_door_is_closed_is_sent_elsewhere_and_who_is_in_is_waited_for(
    admission: Admission, caller: Principal
) -> None:
    entry = admission.enter(caller, REQUEST)
    admission.close()
    with pytest.raises(UnavailableError, match="stopping"):
        admission.enter(caller, REQUEST)
    assert not admission.wait_until_empty(0.01)
    entry.end()
    assert admission.wait_until_empty(0)


def test_usage_that_cannot_be_written_now_is_written_later(
    admission: Admission, sqlite_database: Database, caller: Principal
) -> None:
    use(admission, caller, 3, 4)
    with sqlite_database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE usage_days RENAME TO away")
    admission.usage.write()
    assert admission.usage.unwritten(caller.tenant_id, START.date()) == 7
    with sqlite_database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO usage_days")
    use(admission, caller, 3, 4)
    admission.usage.write()
    with sqlite_database.reading() as s:
        assert limits.used_on(s, caller.tenant_id, START.date()) == UsageDay(START.date(), 2, 6, 8)
