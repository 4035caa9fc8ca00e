"""Shadows: the other arms answer after the control, in whole requests or not at all."""

from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.bootstrap import Console
from app.impression_book import ImpressionBook
from app.shadow import Shadows
from app.variants import Routed
from core.engine.records import Message
from core.experiments import service
from core.experiments.records import Assignment, Experiment
from core.serve.records import InferenceRequest, RequestOutcome
from core.tenants.records import Role
from tests.app.test_ab_testing_api import SEED
from tests.app.test_composition_api import Caller, bring, changed


@pytest.fixture
def running(api: TestClient, workspace: Any, adapter_zip: bytes, console: Console) -> Experiment:
    bring(api, workspace, adapter_zip, "amazon_v1")
    bring(api, workspace, changed(adapter_zip, 3.0), "amazon_v2")
    mine = Caller(api, workspace.headers(Role.TRAINER))
    mine.post("/ab-testing/experiments", {**SEED, "shadow": True}, 201)
    mine.post("/ab-testing/experiments/amazon_v1_vs_v2/start", None)
    with console.database.reading() as s:
        return service.get_experiment(s, workspace.tenant.id, "amazon_v1_vs_v2")


def over(experiment: Experiment, number: int, at: datetime, error: str) -> tuple[Routed, RequestOutcome]:
    """A request that its control has ended with `error`."""
    asked = InferenceRequest(messages=(Message("user", f"say {number}"),), max_new_tokens=2)
    given = Assignment(experiment.id, experiment.control.id)
    of = Routed(asked, experiment, experiment.control, given, None)
    return of, RequestOutcome(experiment.tenant_id, "ann", f"req_{number}", asked, None, error, 0.1, at)


def counted(console: Console, book: ImpressionBook, experiment: Experiment) -> dict[str, int]:
    book.write()
    with console.database.transaction() as s:
        told = service.get_experiment_results(s, experiment.tenant_id, experiment.id, now=console.clock())
    return {arm.arm: arm.requests for arm in told.arms}


def test_when_too_many_wait_whole_requests_are_left_out(console: Console, running: Experiment) -> None:
    console.engine()
    book = ImpressionBook(console.database, console.clock)
    shadows = Shadows(console.runtime, console.admission, book, most=2)
    for number in range(12):
        shadows.submit(*over(running, number, console.clock(), "unavailable"))
    shadows.wait()
    found = counted(console, book, running)
    assert found["v1"] == found["v2"]
    assert 2 <= found["v1"] < 12
    shadows.close()
    book.close()


def test_what_waits_when_it_closes_is_left_out_and_nothing_comes_after(
    console: Console, running: Experiment
) -> None:
    console.engine()
    book = ImpressionBook(console.database, console.clock)
    shadows = Shadows(console.runtime, console.admission, book)
    for number in range(20):
        shadows.submit(*over(running, number, console.clock(), "unavailable"))
    shadows.close()
    shadows.submit(*over(running, 99, console.clock(), "unavailable"))
    found = counted(console, book, running)
    assert found["v1"] == found["v2"] < 20
    book.close()


def test_a_request_whose_shadow_finds_the_engine_busy_is_not_counted_for_anybody(
    console: Console, running: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.engine()
    book = ImpressionBook(console.database, console.clock)
    shadows = Shadows(console.runtime, console.admission, book)
    limited = console.admission.standings(running.tenant_id)
    none_at_once = type(limited.limits)(concurrent_requests=0)
    monkeypatch.setattr(
        console.admission, "standings", lambda _: type(limited)(limited.slug, none_at_once, 0, 0.0)
    )
    shadows.submit(*over(running, 1, console.clock(), "unavailable"))
    shadows.wait()
    monkeypatch.undo()
    assert counted(console, book, running) == {"v1": 0, "v2": 0}
    shadows.close()
    book.close()
