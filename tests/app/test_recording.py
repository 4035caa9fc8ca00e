"""From a request that is over to its record; roll-ups that run by themselves."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import recording
from app.recording import RollUps, event_of, open_recorder
from core.analytics import service
from core.analytics.records import Scope, Source
from core.compose.records import CompositionSpec, Term
from core.serve.records import AdapterUsed, InferenceAnswer, InferenceRequest, RequestOutcome
from core.settings import Settings
from core.storage.database import Database
from core.tenants.records import Tenant

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
SAY: Any = ({"role": "user", "content": "a secret"},)


def outcome(
    answer: InferenceAnswer | None, error: str, seconds: float = 0.25, **request: Any
) -> RequestOutcome:
    asked = InferenceRequest(messages=SAY, **request)
    return RequestOutcome("ten_1", "ann", "req_1", asked, answer, error, seconds, NOW)


def answered(**more: Any) -> InferenceAnswer:
    used = AdapterUsed("adp_1", "alpha", 1, "task", "d", 1.0)
    plain: dict[str, Any] = {
        "request_id": "req_1", "text": "t", "finish_reason": "stop", "model": "alpha v1", "adapters": (used, used),
        "composition_key": "k" * 64, "base_name": "b", "prompt_tokens": 7, "completion_tokens": 3, "latency_ms": 40.0,
        "queued_ms": 2.0, "mean_logprob": -0.1, "first_token_ms": 9.0, "composing_ms": 1.5, "adapter_bytes": 4096,
    }  # fmt: skip
    return InferenceAnswer(**plain | more)


def test_an_answer_is_recorded_with_its_own_times_and_each_adapter_once() -> None:
    event = event_of(outcome(answered(), "", task="greeting", user_id="u1"))
    assert (event.tenant_id, event.at, event.request_id, event.task) == (
        "ten_1",
        NOW.timestamp(),
        "req_1",
        "greeting",
    )
    assert (event.model, event.composition, event.adapters) == ("alpha v1", "k" * 64, (("adp_1", "task"),))
    assert (event.latency_ms, event.queued_ms, event.composing_ms, event.first_token_ms) == (
        40.0,
        2.0,
        1.5,
        9.0,
    )
    assert (event.prompt_tokens, event.completion_tokens, event.memory_bytes) == (7, 3, 4096)
    assert (event.error, event.source) == ("", Source.SERVED)
    assert not any("secret" in str(part) or part == "u1" for part in event)


def test_an_answer_without_a_token_has_no_time_to_its_first() -> None:
    assert event_of(outcome(answered(completion_tokens=0), "cancelled")).first_token_ms is None


def test_a_failure_names_what_was_asked_for_unless_the_request_was_wrong() -> None:
    failed = event_of(outcome(None, "unavailable", model="both"))
    assert (failed.named, failed.latency_ms, failed.error, failed.adapters) == (
        ("both",),
        250.0,
        "unavailable",
        (),
    )
    for error in ("not_found", "invalid_input", "permission_denied"):
        assert event_of(outcome(None, error, model="both")).named == ()
    spec = CompositionSpec(terms=(Term(adapter="beta"), Term(adapter="alpha")))
    written = event_of(outcome(None, "busy", composition=spec))
    assert (written.named, written.model) == (("alpha", "beta"), "composition")
    assert event_of(outcome(None, "error")).named == ()


def test_a_clock_that_goes_backwards_gives_no_negative_time() -> None:
    assert event_of(outcome(None, "error", seconds=-3.0)).latency_ms == 0.0


def test_prices_and_the_buffer_come_from_the_settings(
    settings: Settings, sqlite_database: Database, sqlite_tenant: Tenant
) -> None:
    priced = settings.model_copy(update={"prompt_price": 2.0, "completion_price": 8.0, "currency": "EUR"})
    recorder = open_recorder(sqlite_database, priced, lambda: NOW)
    recorder.record(event_of(outcome(answered(), ""))._replace(tenant_id=sqlite_tenant.id))
    recorder.close()
    with sqlite_database.reading() as s:
        scope = Scope(NOW - timedelta(hours=1), NOW + timedelta(minutes=1))
        found = service.summary(s, sqlite_tenant.id, scope, prices=recorder.prices)
    assert (found.cost.value, found.cost.unit) == (pytest.approx((7 * 2 + 3 * 8) / 1e6), "EUR")


def test_roll_ups_run_until_they_are_closed_and_survive_a_database_that_is_away(
    settings: Settings, sqlite_database: Database, sqlite_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "ROLL_UP_EVERY_S", 0.02)
    old = event_of(outcome(answered(), ""))._replace(tenant_id=sqlite_tenant.id, at=NOW.timestamp() - 600)
    recorder = open_recorder(sqlite_database, settings, lambda: NOW)
    with sqlite_database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE analytics_writers RENAME TO away")
    rolling = RollUps(sqlite_database, settings, lambda: NOW)
    rolling.begin()
    rolling.begin()
    time.sleep(0.1)
    with sqlite_database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO analytics_writers")
    recorder.record(old)
    assert recorder.write()
    deadline = time.monotonic() + 20
    while not _hours(sqlite_database) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _hours(sqlite_database) == 3  # all, the adapter, the composition
    rolling.close()
    recorder.close()


def _hours(database: Database) -> int:
    with database.engine.connect() as connection:
        query = "SELECT count(*) FROM analytics_cells WHERE grain = 'hour'"
        return int(connection.exec_driver_sql(query).scalar_one())
