"""Routing: what is remembered of experiments, for how long, and what it costs those who have none."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.variants import Variants
from core.engine.records import Message
from core.experiments import service
from core.experiments.records import ServesDraft, ServesKind, Strategy
from core.serve.records import InferenceRequest
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.experiments.drafted import started


class Counted(Database):
    """Counts how often it is read."""

    reads = 0
    gate: threading.Event | None = None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        Counted.reads += 1
        if self.gate is not None:
            self.gate.wait(10)
        with super().reading() as s:
            yield s


@pytest.fixture
def counted(sqlite_database: Database) -> Iterator[Counted]:
    database = Counted(str(sqlite_database.engine.url))
    Counted.reads, Counted.gate = 0, None
    yield database
    database.close()


def asking(model: str | None, user: str | None = "ann", **more: Any) -> InferenceRequest:
    return InferenceRequest(messages=(Message("user", "hello"),), model=model, user_id=user, **more)


def test_a_workspace_without_experiments_is_read_once_a_second_at_most(
    counted: Counted, sqlite_tenant: Tenant, now: datetime
) -> None:
    clock = [100.0]
    variants = Variants(counted, lambda: now, lambda: clock[0])
    for _ in range(50):
        assert variants.route(sqlite_tenant.id, asking("amazon"), None, "req_1") is None
    assert Counted.reads == 1
    clock[0] += 0.9
    variants.route(sqlite_tenant.id, asking("amazon"), None, "req_1")
    assert Counted.reads == 1
    clock[0] += 0.2
    variants.route(sqlite_tenant.id, asking("amazon"), None, "req_1")
    assert Counted.reads == 2
    assert variants.route(sqlite_tenant.id, asking(None), None, "req_1") is None
    assert Counted.reads == 2


def test_while_one_request_reads_anew_the_others_go_on_with_what_is_known(
    counted: Counted, sqlite_tenant: Tenant, now: datetime
) -> None:
    clock = [100.0]
    variants = Variants(counted, lambda: now, lambda: clock[0])
    variants.route(sqlite_tenant.id, asking("amazon"), None, "req_1")
    clock[0] += 2
    Counted.gate = threading.Event()
    slow = threading.Thread(target=variants.route, args=(sqlite_tenant.id, asking("amazon"), None, "req_1"))
    slow.start()
    while Counted.reads < 2:
        pass
    assert variants.route(sqlite_tenant.id, asking("amazon"), None, "req_2") is None
    assert Counted.reads == 2
    Counted.gate.set()
    slow.join()


def test_an_experiment_answers_to_its_id_and_to_the_name_that_it_took_over(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(
            s, sqlite_tenant.id, now, serves=ServesDraft(kind=ServesKind.ADAPTER, name="amazon")
        )
    variants = Variants(sqlite_database, lambda: now)
    arms = set()
    for name in (running.id, f"experiment:{running.id}", "amazon", "adapter:amazon"):
        routed = variants.route(sqlite_tenant.id, asking(name), None, "req_1")
        assert routed is not None
        assert routed.request.model is None
        assert routed.request.user_id == "ann"
        arms.add(routed.variant)
    assert len(arms) == 1
    assert variants.route(sqlite_tenant.id, asking("federation:amazon"), None, "req_1") is None
    assert variants.route("ten_other", asking(running.id), None, "req_1") is None
    assert [each.id for each in variants.running(sqlite_tenant.id)] == [running.id]


def test_a_change_in_this_process_counts_at_once(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    variants = Variants(sqlite_database, lambda: now)
    assert variants.route(sqlite_tenant.id, asking("amazon_v1_vs_v2"), None, "req_1") is None
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now)
    variants.forget(sqlite_tenant.id)
    routed = variants.route(sqlite_tenant.id, asking(running.id), None, "req_1")
    assert routed is not None
    assert routed.variant is not None
    with sqlite_database.transaction() as s:
        service.pause_experiment(s, sqlite_tenant.id, running.id, now=now)
    variants.forget(sqlite_tenant.id)
    routed = variants.route(sqlite_tenant.id, asking(running.id), None, "req_1")
    assert routed is not None
    assert (routed.variant, routed.arm.id) == (None, "v1")


def test_the_task_of_a_request_is_part_of_what_is_targeted(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now, targeting={"task": ("mapping",)})
    variants = Variants(sqlite_database, lambda: now)
    for task, inside in (("mapping", True), ("planning", False), (None, False)):
        routed = variants.route(sqlite_tenant.id, asking(running.id, task=task), None, "req_1")
        assert routed is not None
        assert (routed.variant is not None) is inside


def test_a_bandits_choice_is_written_down_before_it_is_used_and_kept_by_every_process(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        running = started(s, sqlite_tenant.id, now, strategy=Strategy.BANDIT)

    def arms(variants: Variants) -> dict[str, str | None]:
        found = {}
        for number in range(20):
            routed = variants.route(sqlite_tenant.id, asking(running.id, f"u{number}"), None, "req_1")
            assert routed is not None
            found[f"u{number}"] = routed.variant
        return found

    first = arms(Variants(sqlite_database, lambda: now))
    assert set(first.values()) == {"v1", "v2"}
    with sqlite_database.transaction() as s:
        for number in range(60):  # everything speaks for v2 from here on
            arm = f"v{1 + number % 2}"
            service.record_impression(
                s, sqlite_tenant.id, running.id, arm, arm == "v2", 1.0, None, f"x{number}", now=now
            )
        results = service.get_experiment_results(s, sqlite_tenant.id, running.id, now=now)
    assert results.experiment.allocation is not None
    assert results.experiment.allocation["v2"] > 0.9
    assert arms(Variants(sqlite_database, lambda: now)) == first
