"""Degradation of adapters, read from what the recorder wrote: found, remembered, over; nothing read twice."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from core.analytics import alerts, watching
from core.analytics.alert_records import Alert, AlertKind, AlertState, default_rule
from core.analytics.recorder import Recorder
from core.analytics.records import Point, Subject, SubjectKind
from core.analytics.store import watched as store
from core.analytics.watching import Watched, feed, finding_of, new_alarm, values_of
from core.stats.change import Direction, Shift
from core.stats.sketches import LogSketch
from core.storage.database import Database
from core.tenants.records import Tenant

RULES = {kind: default_rule(kind) for kind in AlertKind}
MINUTE = timedelta(minutes=1)
SUBJECT = Subject(SubjectKind.ADAPTER, "alpha", "alpha v1")


def minutes(
    database: Database,
    tenant: Tenant,
    start: datetime,
    count: int,
    *,
    factor: float = 1.0,
    failing: float = 0.01,
    seed: int = 0,
) -> None:
    """15 requests in each of so many minutes."""
    numbers = random.Random(seed)
    recorder = Recorder(database, seconds=start.timestamp)
    for minute in range(count):
        at = (start + minute * MINUTE).timestamp()
        for _ in range(15):
            ms, success = numbers.lognormvariate(5, 0.4) * factor, numbers.random() >= failing
            recorder.record_request(tenant.id, "alpha", "retailer", ms, success, at=at)
    assert recorder.write()
    recorder.close()


def look(database: Database, tenant: Tenant, now: datetime, rules: Any = RULES) -> Watched:
    with database.reading() as s:
        found = watching.look(s, tenant.id, rules, alerts.unresolved(s, tenant.id), now=now)
    with database.transaction() as s:
        watching.remember(s, tenant.id, found.kept)
        for finding in found.findings:
            alerts.report(s, tenant.id, finding, rules[finding.kind], now=now)
        for kind, subject, note in found.over:
            alerts.settle(s, tenant.id, kind, subject, note=note, now=now)
    return found


@pytest.fixture
def start(now: datetime) -> datetime:
    return now.replace(second=5, microsecond=0)


def test_slower_and_failing_answers_are_found_and_their_end_is_too(
    database: Database, tenant: Tenant, other_tenant: Tenant, start: datetime
) -> None:
    minutes(database, tenant, start, 40)
    assert look(database, tenant, start + 41 * MINUTE).findings == ()
    minutes(database, tenant, start + 41 * MINUTE, 10, factor=2.5, failing=0.5, seed=1)
    found = look(database, tenant, start + 52 * MINUTE)
    assert {finding.kind for finding in found.findings} == {AlertKind.LATENCY, AlertKind.SUCCESS}
    assert {finding.subject for finding in found.findings} == {"alpha"}
    with database.reading() as s:
        opened = {alert.kind: alert for alert in alerts.list_alerts(s, tenant.id)}
    assert opened[AlertKind.LATENCY].figures["after"] > 1.5 * opened[AlertKind.LATENCY].figures["before"]
    assert opened[AlertKind.SUCCESS].figures["after"] > 0.2
    minutes(database, tenant, start + 53 * MINUTE, 25, seed=2)
    over = look(database, tenant, start + 79 * MINUTE)
    assert {kind for kind, _, _ in over.over} == {AlertKind.LATENCY, AlertKind.SUCCESS}
    with database.reading() as s:
        assert {alert.state for alert in alerts.list_alerts(s, tenant.id)} == {AlertState.RESOLVED}
    assert look(database, other_tenant, start + 52 * MINUTE) == Watched()


def test_minutes_are_read_once_and_only_when_they_are_over(
    database: Database, tenant: Tenant, start: datetime, record: Callable[..., Any]
) -> None:
    record(database, tenant.id, start, [("alpha", 100.0, True)] * 7)
    record(database, tenant.id, start + MINUTE, [("alpha", 100.0, True)] * 5)
    assert look(database, tenant, start + timedelta(seconds=65)).kept == ()  # too fresh
    first = look(database, tenant, start + timedelta(seconds=80))
    assert {kept.seen_until for kept in first.kept} == {start.replace(second=0) + MINUTE}
    assert look(database, tenant, start + timedelta(seconds=95)).kept == ()
    look(database, tenant, start + timedelta(seconds=140))
    assert look(database, tenant, start - timedelta(minutes=30)).kept == ()  # the clock was set back
    with database.reading() as s:
        known = store.watched(s, tenant.id, AlertKind.LATENCY, "alpha")
    assert known is not None
    alarm = new_alarm(AlertKind.LATENCY)
    alarm.restore(known[1])
    assert alarm.reference == 12


def test_a_state_that_cannot_be_read_begins_anew(
    sqlite_database: Database, sqlite_tenant: Tenant, start: datetime, record: Callable[..., Any]
) -> None:
    record(sqlite_database, sqlite_tenant.id, start, [("alpha", 100.0, True)])
    with sqlite_database.transaction() as s:
        store.remember(s, sqlite_tenant.id, AlertKind.LATENCY, "alpha", start - MINUTE, b"broken")
    assert len(look(sqlite_database, sqlite_tenant, start + 2 * MINUTE).kept) == 3


def test_what_is_switched_off_is_not_looked_at(
    sqlite_database: Database, sqlite_tenant: Tenant, start: datetime, record: Callable[..., Any]
) -> None:
    record(sqlite_database, sqlite_tenant.id, start, [("alpha", 100.0, True)])
    off = {kind: replace(rule, enabled=kind is AlertKind.LATENCY) for kind, rule in RULES.items()}
    found = look(sqlite_database, sqlite_tenant, start + 2 * MINUTE, off)
    assert [kept.kind for kept in found.kept] == [AlertKind.LATENCY]
    none = {kind: replace(rule, enabled=False) for kind, rule in RULES.items()}
    assert look(sqlite_database, sqlite_tenant, start + 5 * MINUTE, none) == Watched()


def test_the_values_of_a_sketch_come_back_in_an_order_without_meaning() -> None:
    values = np.random.default_rng(1).lognormal(5, 0.6, 500)
    got = values_of(LogSketch.of(values.tolist()), seed=3)
    assert sorted(got) == pytest.approx(sorted(values), rel=0.008)
    assert abs(float(np.corrcoef(np.arange(500), got)[0, 1])) < 0.15
    assert values_of(LogSketch.of(values.tolist()), seed=3) == got
    many = values_of(LogSketch.of(np.random.default_rng(2).lognormal(5, 0.6, 20_000).tolist()), seed=1)
    assert len(many) == watching.MOST_VALUES
    assert float(np.median(many)) == pytest.approx(np.exp(5), rel=0.03)
    assert values_of(LogSketch(), seed=1) == []


def test_ratings_are_read_by_the_minute(start: datetime) -> None:
    numbers, alarm = random.Random(1), new_alarm(AlertKind.RATING)

    def points(values: list[int], count: int) -> list[Point]:
        return [Point(start, 1, 1, LogSketch(), float(numbers.choice(values)), 1) for _ in range(count)] + [
            Point(start, 5, 5, LogSketch(), 0.0, 0)
        ]

    assert feed(AlertKind.RATING, alarm, points([4, 5, 5], 400)) == []
    (shift,) = feed(AlertKind.RATING, alarm, points([1, 2, 3], 60))[:1]
    assert finding_of(AlertKind.RATING, SUBJECT, shift, RULES[AlertKind.RATING]) is not None


@pytest.mark.parametrize(
    ("kind", "before", "after", "told"),
    [
        (AlertKind.LATENCY, 100.0, 109.0, False),
        (AlertKind.LATENCY, 100.0, 111.0, True),
        (AlertKind.LATENCY, 0.0, 1.0, True),
        (AlertKind.SUCCESS, 0.01, 0.02, False),
        (AlertKind.SUCCESS, 0.01, 0.04, True),
        (AlertKind.RATING, 4.5, 4.4, False),
        (AlertKind.RATING, 4.5, 4.0, True),
    ],
)
def test_only_a_change_as_large_as_the_rule_asks_is_told(
    kind: AlertKind, before: float, after: float, told: bool
) -> None:
    shift = Shift(Direction.WORSE, 40, 900, before, after)
    assert (finding_of(kind, SUBJECT, shift, RULES[kind]) is not None) is told
    better = replace(shift, direction=Direction.BETTER)
    assert finding_of(kind, SUBJECT, better, RULES[kind]) is None


def test_an_alert_is_over_when_more_than_half_of_the_way_back_is_done(now: datetime) -> None:
    def alert(kind: AlertKind, before: float, after: float) -> Alert:
        figures = {"before": before, "after": after}
        return Alert("a", "t", kind, "s", "l", AlertState.OPEN, "", "", "", figures, 1, now, now)

    def back(to: float) -> Shift:
        return Shift(Direction.BETTER, 40, 900, 1.0, to)

    latency = alert(AlertKind.LATENCY, 100.0, 400.0)
    assert watching.is_over(AlertKind.LATENCY, back(199.0), latency)
    assert not watching.is_over(AlertKind.LATENCY, back(201.0), latency)
    success = alert(AlertKind.SUCCESS, 0.0, 0.5)
    assert watching.is_over(AlertKind.SUCCESS, back(0.2), success)
    assert not watching.is_over(AlertKind.SUCCESS, back(0.3), success)
    rating = alert(AlertKind.RATING, 5.0, 3.0)
    assert watching.is_over(AlertKind.RATING, back(4.5), rating)
    assert not watching.is_over(AlertKind.RATING, back(3.5), rating)
    assert not watching.is_over(AlertKind.RATING, replace(back(4.5), direction=Direction.WORSE), rating)
