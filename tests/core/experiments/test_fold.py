"""Impressions become sums: once each, in any portions, by any number of processes, and can be taken back."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from core.experiments import fold as folding
from core.experiments import service
from core.experiments.assign import unit_key
from core.experiments.fold import fold
from core.experiments.plan import MetricKind, PairCounts
from core.experiments.records import LATENCY, SUCCESS, Experiment, Impression, MetricDraft
from core.experiments.store import units as units_store
from core.experiments.tally import Tally
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch
from core.storage.database import Database
from core.tenants.records import Tenant
from tests.core.experiments.drafted import started


def record(s: Session, experiment: Experiment, now: datetime, rows: Any) -> None:
    """Rows of unit, arm, success, latency."""
    made = [
        Impression(
            event_id=f"event:{number}",
            variant=arm,
            unit=unit_key(experiment.salt, f"user:{unit}"),
            at=now,
            success=success,
            latency_ms=latency,
        )
        for number, (unit, arm, success, latency) in enumerate(rows)
    ]
    service.record_impressions(s, experiment, made)


def traffic(seed: int, requests: int) -> Iterator[tuple[int, str, bool, float]]:
    """Requests of some users in two arms; of every seventh user one goes to the wrong arm."""
    draw = random.Random(seed)
    for _ in range(requests):
        unit = draw.randrange(requests // 4)
        arm = "v1" if unit % 2 else "v2"
        if unit % 7 == 0 and draw.random() < 0.2:
            arm = "v2" if arm == "v1" else "v1"
        yield unit, arm, draw.random() < 0.8, round(draw.lognormvariate(5, 0.6), 3)


def expected(rows: list[tuple[int, str, bool, float]]) -> dict[str, Any]:
    """The same sums, by plain reckoning over everything at once."""
    arms: dict[int, set[str]] = {}
    for unit, arm, _, _ in rows:
        arms.setdefault(unit, set()).add(arm)
    kept = [row for row in rows if len(arms[row[0]]) == 1]
    found: dict[str, Any] = {"crossed": sum(len(each) > 1 for each in arms.values())}
    for arm in ("v1", "v2"):
        mine = [row for row in kept if row[1] == arm]
        units: dict[int, list[float]] = {}
        firsts: dict[int, bool] = {}
        for unit, _, success, _ in mine:
            total = units.setdefault(unit, [0.0, 0.0])
            total[0] += success
            total[1] += 1
            firsts.setdefault(unit, success)
        found[arm] = (
            len(units),
            len(mine),
            UnitSums.of([y for y, _ in units.values()], [x for _, x in units.values()]),
            UnitSums.of([float(first) for first in firsts.values()]),
            LogSketch.of([latency for *_, latency in mine]),
        )
    return found


def seen(tally: Tally) -> dict[str, Any]:
    found: dict[str, Any] = {"crossed": tally.crossed}
    for arm in ("v1", "v2"):
        own = tally.arms[arm]
        sketch = own.sketches[LATENCY]
        found[arm] = (own.units, own.requests, own.sums[SUCCESS], own.first, sketch)
    return found


@pytest.mark.parametrize("portion", [7, 100, 5000])
def test_the_sums_are_those_of_all_requests_at_once_whatever_the_portions(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    now: datetime,
    portion: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folding, "PORTION", portion)
    rows = list(traffic(1, 600))
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now)
        record(s, experiment, now, rows)
        tally, counted = fold(s, experiment, now=now, portions=1000)
        assert counted == len(rows)
        again, more = fold(s, experiment, now=now, portions=1000)
    assert more == 0
    want, got = expected(rows), seen(tally)
    for arm in ("v1", "v2"):
        *numbers, sketch = got[arm]
        *wanted, true_sketch = want[arm]
        assert numbers == wanted
        # The least and the greatest of what was taken back stay; everything else is exact.
        assert sketch.count == true_sketch.count
        assert sketch.sum == true_sketch.sum
        assert replace(sketch, minimum=0.0, maximum=0.0) == replace(true_sketch, minimum=0.0, maximum=0.0)
    assert got["crossed"] == want["crossed"] > 5
    assert again.document() == tally.document()


@pytest.mark.parametrize("portion", [3, 5000])
def test_pairs_are_the_kth_units_of_both_arms_and_those_of_crossed_units_are_taken_back(
    sqlite_database: Database,
    sqlite_tenant: Tenant,
    now: datetime,
    portion: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(folding, "PORTION", portion)
    rows = [
        (1, "v1", True, 1.0),
        (2, "v2", False, 1.0),  # pair 0: minus
        (3, "v1", False, 1.0),
        (1, "v1", False, 1.0),  # comes back: not a new pair
        (4, "v2", True, 1.0),  # pair 1: plus
        (5, "v2", True, 1.0),
        (6, "v2", True, 1.0),
        (7, "v1", True, 1.0),  # pair 2: tie
    ]
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now)
        record(s, experiment, now, rows)
        tally, _ = fold(s, experiment, now=now, portions=100)
        assert tally.evidence(experiment, now).pairs == {"v2": PairCounts(1, 1, 1)}
        # Unit 3 is seen in the other arm: pair 1 goes, and unit 4 has no mate any more.
        service.record_impressions(
            s,
            experiment,
            [Impression("event:x", "v2", unit_key(experiment.salt, "user:3"), now, success=True)],
        )
        tally, _ = fold(s, experiment, now=now, portions=100)
    evidence = tally.evidence(experiment, now)
    assert evidence.pairs == {"v2": PairCounts(0, 1, 1)}
    assert evidence.crossed_units == 1
    assert evidence.arms["v1"].units == 2
    assert evidence.arms["v1"].first == UnitSums.of([1.0, 1.0])


def test_both_units_of_a_pair_that_cross_at_once_take_it_back_once(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now)
        record(s, experiment, now, [(1, "v1", False, 1.0), (2, "v2", True, 1.0)])
        tally, _ = fold(s, experiment, now=now)
        assert tally.pairs == {"v2": [1, 0, 0]}
        crossed = [
            Impression(f"event:x{unit}", arm, unit_key(experiment.salt, f"user:{unit}"), now, success=True)
            for unit, arm in ((1, "v2"), (2, "v1"))
        ]
        service.record_impressions(s, experiment, crossed)
        tally, _ = fold(s, experiment, now=now)
    assert tally.pairs == {"v2": [0, 0, 0]}
    assert tally.crossed == 2
    assert tally.arms["v1"].sums[SUCCESS] == UnitSums()


def test_three_arms_are_each_paired_with_the_control(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    rows = [(1, "v1", True, 1.0), (2, "v2", False, 1.0), (3, "v3", True, 1.0), (4, "v3", False, 1.0)]
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now, (None,) * 3)
        record(s, experiment, now, [*rows, (5, "v1", True, 1.0)])
        tally, _ = fold(s, experiment, now=now)
    assert tally.pairs == {"v2": [0, 1, 0], "v3": [0, 1, 1]}


def test_processes_that_record_and_fold_at_once_count_everything_once(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    with database.transaction() as s:
        experiment = started(s, tenant.id, now)

    def work(worker: int) -> None:
        for turn in range(6):
            made = [
                Impression(
                    # Every event is sent by two workers: one of them is a replay.
                    event_id=f"event:{worker // 2}-{turn}-{number}",
                    variant="v1" if number % 2 else "v2",
                    unit=unit_key(experiment.salt, f"user:{worker // 2}-{number}"),
                    at=now,
                    success=number % 3 > 0,
                    latency_ms=10.0,
                )
                for number in range(10)
            ]
            with database.transaction() as s:
                service.record_impressions(s, experiment, made)
            with database.transaction() as s:
                fold(s, experiment, now=now, portions=5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with database.transaction() as s:
        tally, left = fold(s, experiment, now=now, portions=100)
        assert left == 0 or tally.arms
        stored = units_store.read_tally(s, tenant.id, experiment.id, experiment.plan)
    assert [stored.arms[arm].requests for arm in ("v1", "v2")] == [60, 60]
    assert [stored.arms[arm].units for arm in ("v1", "v2")] == [10, 10]
    assert sum(stored.pairs["v2"]) == 10
    assert stored.arms["v1"].sums[SUCCESS].x == 60


def test_an_impression_whose_transaction_ends_late_is_folded_then(
    database: Database, tenant: Tenant, now: datetime
) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("on SQLite one transaction writes at a time")
    with database.transaction() as s:
        experiment = started(s, tenant.id, now)
    early = Impression("event:early", "v1", "u1", now, success=True)
    late = Impression("event:late", "v2", "u2", now, success=True)
    with database.transaction() as slow:
        service.record_impressions(slow, experiment, [early])
        with database.transaction() as s:
            service.record_impressions(s, experiment, [late])
        with database.transaction() as s:
            tally, counted = fold(s, experiment, now=now)
            assert counted == 1
    with database.transaction() as s:
        tally, counted = fold(s, experiment, now=now)
    assert counted == 1
    assert tally.arms["v1"].units == tally.arms["v2"].units == 1


def test_a_cap_cuts_what_is_summed_and_not_what_is_sketched(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    primary = MetricDraft(name=LATENCY, kind=MetricKind.MEAN, higher_is_better=False, cap=100.0)
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now, primary=primary)
        record(s, experiment, now, [(1, "v1", True, 50.0), (2, "v1", True, 900.0)])
        tally, _ = fold(s, experiment, now=now)
    assert tally.arms["v1"].sums[LATENCY] == UnitSums.of([50.0, 100.0])
    assert tally.arms["v1"].sketches[LATENCY].maximum == 900.0
    assert tally.pairs == {"v2": [0, 0, 0]}


def test_a_thousand_million_impressions_are_counted_exactly_and_come_back_from_the_database(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    many = 1_000_000_000
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now)
        record(s, experiment, now, [(1, "v1", True, 12.0), (2, "v2", True, 12.0)])
        tally, _ = fold(s, experiment, now=now)
        for arm in tally.arms.values():
            arm.units = arm.requests = arm.exposed = arm.places = many
            arm.sums[SUCCESS] = UnitSums(many, many - 1, many - 1, many, many, many - 1)
            arm.first = arm.sums[SUCCESS]
            sketch = arm.sketches[LATENCY]
            arm.sketches[LATENCY] = replace(
                sketch, counts=sketch.counts * many, count=many, units=sketch.units * many
            )
        tally.pairs["v2"] = [3, 4, many - 7]
        units_store.put_tally(s, sqlite_tenant.id, experiment.id, tally, now)
    with sqlite_database.transaction() as s:
        service.record_impressions(s, experiment, [Impression("event:one", "v1", "u9", now, success=True)])
        again, _ = fold(s, experiment, now=now)
        results = service.get_experiment_results(s, sqlite_tenant.id, experiment.id, now=now)
    assert again.arms["v1"].sums[SUCCESS].n == many + 1
    assert again.arms["v1"].sums[SUCCESS].y == many
    assert again.arms["v2"].sketches[LATENCY].count == many
    assert results.arms[0].requests == many + 1
    assert results.arms[0].latency_p99_ms == pytest.approx(12.0, rel=0.01)


def test_days_are_those_on_which_units_came_so_that_a_clock_that_jumps_adds_one_at_most(
    sqlite_database: Database, sqlite_tenant: Tenant, now: datetime
) -> None:
    with sqlite_database.transaction() as s:
        experiment = started(s, sqlite_tenant.id, now)
        for number, day in enumerate((0, 1, 2, 400, -300, 2)):
            at = now + timedelta(days=day)
            service.record_impressions(
                s, experiment, [Impression(f"event:{number}", "v1", f"u{number}", at, success=True)]
            )
        tally, _ = fold(s, experiment, now=now)
    assert tally.days_since(now + timedelta(days=2)) == 5.0  # five different days, whatever the clock said
    assert tally.days_since(now - timedelta(days=301)) == 0.0
