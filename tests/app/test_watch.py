"""The watch: one process at a time by a lease that trusts no clock; what it looks at; what it sends."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import psutil
import pytest

from app.engine import EngineOnDemand
from app.watch import LEASE, LEASE_S, Lease, Watch
from core.analytics import alerts, webhooks
from core.analytics.alert_records import (
    MACHINE,
    AlertKind,
    AlertRule,
    AlertState,
    DeliveryState,
    Finding,
    default_rule,
)
from core.analytics.recorder import Recorder
from core.analytics.store import watched as lease_store
from core.errors import ConflictError
from core.jobs import service as jobs
from core.jobs.records import JobPoint
from core.settings import Settings
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.analytics.hook_server import receiver

MINUTE = timedelta(minutes=1)


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(now: datetime) -> Clock:
    return Clock(now)


@pytest.fixture
def at() -> list[float]:
    """The monotonic clock."""
    return [1000.0]


@contextmanager
def watching(database: Database, settings: Settings, clock: Clock, at: list[float]) -> Iterator[Watch]:
    made = Watch(database, settings, EngineOnDemand(settings), clock, monotonic=lambda: at[0])
    yield made
    made.close()


def rule(s: Any, tenant: Tenant, kind: AlertKind, threshold: float, now: datetime) -> None:
    alerts.set_rules(s, tenant.id, [AlertRule(kind, True, threshold, 0)], by="ann", now=now)


def test_one_process_watches_and_another_takes_over_when_it_is_silent_for_a_minute(
    database: Database, at: list[float]
) -> None:
    first, second = (Lease(database, lambda: at[0]) for _ in range(2))
    assert first.hold()
    assert not second.hold()
    for _ in range(10):
        at[0] += 15
        assert first.hold()
        assert not second.hold()
    at[0] += LEASE_S - 1
    assert not second.hold()
    at[0] += 1
    assert second.hold()
    assert not first.hold()
    with database.transaction() as s, pytest.raises(ConflictError):
        first.check(s)
    with database.transaction() as s:
        second.check(s)


def test_clocks_of_processes_need_not_agree(database: Database, at: list[float]) -> None:
    far = [9e9]
    first, second = Lease(database, lambda: at[0]), Lease(database, lambda: far[0])
    assert first.hold()
    for _ in range(3):
        assert not second.hold()
        at[0] += 15
        far[0] += 15
        assert first.hold()


def test_a_lease_that_was_given_back_is_taken_at_once(database: Database, at: list[float]) -> None:
    first, second = (Lease(database, lambda: at[0]) for _ in range(2))
    assert first.hold()
    assert not second.hold()
    first.give_back()
    assert second.hold()
    first.give_back()  # it has none any more, and takes none away
    assert second.hold()


def test_of_many_that_begin_at_once_one_watches(database: Database, at: list[float]) -> None:
    leases = [Lease(database, lambda: at[0]) for _ in range(4)]
    ready, held = threading.Barrier(4), []

    def begin(lease: Lease) -> None:
        ready.wait()
        held.append(lease.hold())

    threads = [threading.Thread(target=begin, args=(lease,)) for lease in leases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 4
    assert sum(held) == 1


def test_a_process_that_slept_through_its_lease_writes_nothing(
    database: Database, tenant: Tenant, settings: Settings, clock: Clock, at: list[float]
) -> None:
    with database.transaction() as s:
        job = jobs.submit(
            s, tenant.id, kind="training", name="gamma", spec={}, submitted_by="ann", now=clock.now
        )
    clock.now += timedelta(hours=1)
    with watching(database, settings, clock, at) as sleeper:
        assert sleeper._lease.hold()
        with database.transaction() as s:  # another process takes it between its reading and its writing
            current = lease_store.lease(s, LEASE)
            assert current is not None
            assert lease_store.take_lease(s, LEASE, seen=current, holder="prc_other")
        with pytest.raises(ConflictError):
            sleeper._look_at(tenant, [job], [])
    with database.reading() as s:
        assert alerts.list_alerts(s, tenant.id) == []
        assert (lease_store.lease(s, LEASE) or ("", 0))[0] == "prc_other"


def test_a_stuck_job_is_told_and_its_going_on_is_too(
    database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    settings: Settings,
    clock: Clock,
    at: list[float],
) -> None:
    with database.transaction() as s:
        job = jobs.submit(
            s, tenant.id, kind="training", name="gamma", spec={}, submitted_by="ann", now=clock.now
        )
        claimed = jobs.claim(s, job.id, now=clock.now)
        assert claimed is not None
    with watching(database, settings, clock, at) as watch:
        assert watch.look()
        clock.now += 11 * MINUTE
        assert watch.look()
        assert watch.look()
        with database.reading() as s:
            (alert,) = alerts.list_alerts(s, tenant.id)
            assert alerts.list_alerts(s, other_tenant.id) == []
        assert (alert.kind, alert.subject, alert.state, alert.seen) == (
            AlertKind.STUCK_JOB,
            job.id,
            AlertState.OPEN,
            2,
        )
        with database.transaction() as s:
            jobs.heartbeat(s, job.id, claimed.fence, now=clock.now)
        assert watch.look()
        with database.reading() as s:
            assert alerts.get(s, tenant.id, alert.id).state is AlertState.RESOLVED
            assert alerts.history(s, tenant.id, alert.id)[-1].note == "The job goes on."


def test_a_plateau_is_told_once_and_over_with_its_job(
    sqlite_database: Database, sqlite_tenant: Tenant, settings: Settings, clock: Clock, at: list[float]
) -> None:
    database, tenant_id = sqlite_database, sqlite_tenant.id
    with database.transaction() as s:
        job = jobs.submit(
            s, tenant_id, kind="training", name="gamma", spec={}, submitted_by="ann", now=clock.now
        )
        claimed = jobs.claim(s, job.id, now=clock.now)
        assert claimed is not None
        for step in range(1, 71):
            jobs.report(
                s,
                job.id,
                claimed.fence,
                stage="training",
                step=step,
                total_steps=200,
                eta_s=None,
                point=JobPoint(step, clock.now, loss=1.5),
                now=clock.now,
            )
    with watching(database, settings, clock, at) as watch:
        for _ in range(6):
            assert watch.look()
        with database.reading() as s:
            (alert,) = alerts.list_alerts(s, tenant_id)
        assert (alert.kind, alert.state) == (AlertKind.LOSS_PLATEAU, AlertState.OPEN)
        with database.transaction() as s:
            jobs.succeed(s, job.id, claimed.fence, result={}, now=clock.now)
        assert watch.look()
        with database.reading() as s:
            assert alerts.get(s, tenant_id, alert.id).state is AlertState.RESOLVED


def test_memory_has_to_be_short_for_a_minute_and_its_alert_ends_with_it(
    sqlite_database: Database, sqlite_tenant: Tenant, settings: Settings, clock: Clock, at: list[float]
) -> None:
    """The threshold is put below what this machine uses, then above it."""
    database, tenant = sqlite_database, sqlite_tenant
    used = psutil.virtual_memory()
    share = 1 - used.available / used.total
    if not 0.07 < share < 0.9:
        pytest.skip("this machine uses too little or too much memory to tell")
    with database.transaction() as s:
        rule(s, tenant, AlertKind.MEMORY, 0.05, clock.now)
    with watching(database, settings, clock, at) as watch:
        assert watch.look()
        clock.now += 30 * MINUTE / 60
        assert watch.look()
        with database.reading() as s:
            assert alerts.list_alerts(s, tenant.id) == []
        clock.now += 31 * MINUTE / 60
        assert watch.look()
        with database.reading() as s:
            (alert,) = alerts.list_alerts(s, tenant.id)
        assert (alert.kind, alert.subject) == (AlertKind.MEMORY, MACHINE)
        with database.transaction() as s:
            rule(s, tenant, AlertKind.MEMORY, 1.0, clock.now)
        assert watch.look()
        with database.reading() as s:
            assert alerts.get(s, tenant.id, alert.id).state is AlertState.RESOLVED


def test_alerts_about_the_machine_are_for_whoever_runs_it(
    database: Database,
    tenant: Tenant,
    other_tenant: Tenant,
    settings: Settings,
    clock: Clock,
    at: list[float],
) -> None:
    named = settings.model_copy(update={"operator_workspace": other_tenant.slug})
    for where, wanted in ((settings, []), (named, [other_tenant.id])):
        with database.transaction() as s:
            for each in (tenant, other_tenant):
                rule(s, each, AlertKind.MEMORY, 0.05, clock.now)
        with watching(database, where, clock, at) as watch:
            for _ in range(2):
                assert watch.look()
                clock.now += 2 * MINUTE
        with database.reading() as s:
            told = [each.id for each in (tenant, other_tenant) if alerts.list_alerts(s, each.id)]
        assert told == wanted


def test_slow_answers_are_told_to_the_webhook(
    sqlite_database: Database, sqlite_tenant: Tenant, settings: Settings, clock: Clock, at: list[float]
) -> None:
    """From the recorder to the receiver, through everything between."""
    database, tenant_id, begin = sqlite_database, sqlite_tenant.id, clock.now
    recorder = Recorder(database, seconds=clock.now.timestamp)
    for minute in range(50):
        for number in range(12):
            ms = (100 + (number * 37 + minute * 11) % 50) * (3.0 if minute >= 40 else 1.0)
            seconds = (begin + minute * MINUTE).timestamp()
            recorder.record_request(tenant_id, "alpha", "retailer", ms, True, at=seconds)
    assert recorder.write()
    recorder.close()
    clock.now += 51 * MINUTE
    with receiver() as hook:
        allowed = settings.model_copy(update={"webhook_hosts": f"localhost:{hook.port}"})
        with database.transaction() as s:
            webhooks.set_webhook(
                s, tenant_id, url=hook.url, enabled=True, new_secret=False, by="ann", now=clock.now
            )
        with watching(database, allowed, clock, at) as watch:
            assert watch.look()
            assert watch.look()
        assert len(hook.got) == 1
        assert b'"kind": "latency"' in hook.got[0][2]
    with database.reading() as s:
        (alert,) = alerts.list_alerts(s, tenant_id)
        (delivery,) = webhooks.deliveries(s, tenant_id)
    assert (alert.subject, delivery.state) == ("alpha", DeliveryState.DELIVERED)


def test_slow_receivers_are_told_side_by_side(
    sqlite_database: Database, sqlite_tenant: Tenant, settings: Settings, clock: Clock, at: list[float]
) -> None:
    database, tenant = sqlite_database, sqlite_tenant
    with receiver(drip_s=0.02) as hook:
        with database.transaction() as s:
            webhooks.set_webhook(
                s, tenant.id, url=hook.url, enabled=True, new_secret=False, by="ann", now=clock.now
            )
            for number in range(6):
                found = Finding(AlertKind.LATENCY, f"adp_{number}", "a", "what", "why", "next")
                assert alerts.report(s, tenant.id, found, default_rule(AlertKind.LATENCY), now=clock.now)
        allowed = settings.model_copy(update={"webhook_hosts": "localhost"})
        with watching(database, allowed, clock, at) as watch:
            began = time.monotonic()
            assert watch.send() == 6
            assert time.monotonic() - began < 15  # one after the other they would take 30 s
        assert len(hook.got) == 6
    with database.reading() as s:
        assert {each.state for each in webhooks.deliveries(s, tenant.id)} == {DeliveryState.WAITING}


def test_trouble_with_one_workspace_does_not_keep_the_others_from_being_watched(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    settings: Settings,
    clock: Clock,
    at: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sqlite_database.transaction() as s:
        job = jobs.submit(
            s, sqlite_tenant.id, kind="training", name="g", spec={}, submitted_by="ann", now=clock.now
        )
        assert jobs.claim(s, job.id, now=clock.now) is not None
    clock.now += timedelta(hours=1)
    with watching(sqlite_database, settings, clock, at) as watch:
        usual = watch._look_at
        broken = replace(sqlite_tenant, id="ten_broken")
        monkeypatch.setattr("app.watch.tenants.list_tenants", lambda s: [broken, sqlite_tenant])

        def look_at(tenant: Tenant, *rest: Any) -> None:
            if tenant is broken:
                raise RuntimeError("trouble")
            usual(tenant, *rest)

        monkeypatch.setattr(watch, "_look_at", look_at)
        assert watch.look()
    with sqlite_database.reading() as s:
        assert len(alerts.list_alerts(s, sqlite_tenant.id)) == 1


def test_the_thread_looks_by_itself_and_ends_with_the_process(
    sqlite_database: Database, settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.watch.LOOK_EVERY_S", 0.02)
    watch = Watch(sqlite_database, settings, EngineOnDemand(settings), clock)
    looked = threading.Event()
    usual = watch.look
    monkeypatch.setattr(watch, "look", lambda: (usual(), looked.set())[0])
    watch.start()
    watch.start()
    assert looked.wait(10)
    assert [thread.name for thread in threading.enumerate()].count("watch") == 1
    watch.close()
    assert "watch" not in [thread.name for thread in threading.enumerate()]
    with sqlite_database.reading() as s:
        assert (lease_store.lease(s, LEASE) or ("?", 0))[0] == ""
    watch.start()
    assert "watch" not in [thread.name for thread in threading.enumerate()]


def test_no_engine_is_opened_to_tell_how_it_is(
    sqlite_database: Database, settings: Settings, clock: Clock, at: list[float]
) -> None:
    with watching(sqlite_database, settings, clock, at) as watch:
        told = watch.engine()
        assert not told.ready
        assert "No engine is open" in told.note
        assert not watch._engine.loaded
        assert watch.machine().memory_total_bytes > 0
