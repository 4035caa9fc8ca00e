"""Sums that can be taken back, and what is counted of an impression."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from core.experiments.checks import plan_of
from core.experiments.plan import MetricKind
from core.experiments.records import LATENCY, RATING, SUCCESS, Impression, MetricDraft
from core.experiments.tally import MOST_VALUES, OTHER, Tally, UnitState
from core.experiments.values import age_of, sketched, values_of
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch
from tests.core.experiments.drafted import draft

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
PLAN = plan_of(draft())


def impression(**given: object) -> Impression:
    return Impression(**{"event_id": "e", "variant": "v1", "unit": "u", "at": NOW, **given})  # type: ignore[arg-type]


def test_a_unit_that_is_taken_back_leaves_the_sums_as_if_it_had_never_come() -> None:
    tally = Tally.of(PLAN)
    kept, gone = (UnitState(name, "v1", NOW, segment={"task": "mapping"}) for name in ("kept", "gone"))
    tally.expose(kept)
    tally.add(PLAN, kept, impression(success=True, latency_ms=5.0))
    before = Tally.from_document(PLAN, tally.document())
    tally.expose(gone)
    for success in (True, False, True):
        tally.add(PLAN, gone, impression(success=success, latency_ms=7.0, feedback_score=3.0))
    assert tally.arms["v1"].sums[SUCCESS] == UnitSums.of([1.0, 2.0], [1.0, 3.0])
    tally.remove(PLAN, gone)
    assert gone.crossed
    assert tally.crossed == 1
    after = replace(tally.arms["v1"], places=before.arms["v1"].places)  # its place stays empty
    after.sums.pop(RATING)
    assert after == before.arms["v1"]
    assert (tally.segments, tally.ages, tally.repeats) == (before.segments, before.ages, before.repeats)


def test_values_that_are_taken_back_from_a_sketch_leave_the_others() -> None:
    draw = np.random.default_rng(4)
    values = draw.lognormal(5, 1, 3000)
    values[::10] = 0.0
    tally = Tally.of(PLAN)
    tally.sketch({("v1", LATENCY): list(values)})
    tally.unsketch("v1", LATENCY, list(values[:1000]))
    left, wanted = tally.arms["v1"].sketches[LATENCY], LogSketch.of(values[1000:])
    assert (left.count, left.sum, left.zeros) == (wanted.count, wanted.sum, wanted.zeros)
    assert left.quantiles((0.1, 0.5, 0.95)) == wanted.quantiles((0.1, 0.5, 0.95))
    tally.unsketch("v1", LATENCY, list(values[1000:]))
    assert tally.arms["v1"].sketches[LATENCY].count == 0


def test_sums_come_back_from_their_document() -> None:
    tally = Tally.of(PLAN)
    unit = UnitState("u", "v2", NOW, segment={"task": "mapping"}, independent=True)
    tally.expose(unit)
    tally.add(PLAN, unit, impression(variant="v2", success=True, latency_ms=3.5, feedback_score=4.5))
    tally.sketch({("v2", LATENCY): [3.5]})
    tally.pair("v2", 1, 0)
    again = Tally.from_document(PLAN, tally.document())
    assert again.document() == tally.document()
    assert again.pairs == {"v2": [1, 0, 0]}
    assert again.arms["v2"].sketches == tally.arms["v2"].sketches


def test_only_what_the_plan_names_is_counted_beside_the_standard_metrics() -> None:
    plan = plan_of(draft(primary=MetricDraft(name="cost", kind=MetricKind.MEAN, cap=2.0)))
    given = impression(success=False, latency_ms=1.0, metrics={"cost": 9.0, "other": 1.0})
    assert values_of(plan, given) == {SUCCESS: 0.0, LATENCY: 1.0, "cost": 2.0}
    assert sketched(plan, given) == {LATENCY: 1.0}
    assert values_of(PLAN, impression()) == {}


@pytest.mark.parametrize(
    ("days", "age"), [(-3.0, "0"), (0.99, "0"), (1.0, "1"), (2.0, "2–6"), (6.9, "2–6"), (7.0, "7+")]
)
def test_ages_are_whole_days_since_the_first_exposure(days: float, age: str) -> None:
    assert age_of(NOW, NOW + timedelta(days=days)) == age


def test_a_field_with_very_many_values_keeps_the_first_and_puts_the_rest_together() -> None:
    tally = Tally.of(PLAN)
    for number in range(MOST_VALUES + 20):
        unit = UnitState(f"u{number}", "v1", NOW, segment={"brand": f"brand {number}"})
        tally.add(PLAN, unit, impression(success=True))
    assert len(tally.segments["brand"]) == MOST_VALUES + 1
    assert tally.segments["brand"][OTHER]["v1"].n == 20
