"""Comparisons: levels, planned bounds, and intervals that agree with p-values."""

import math

import pytest

from core.experiments.compare import look_bound, planned, planned_contrast, primary_alpha, treatments
from core.experiments.plan import ArmEvidence, Evidence, MetricKind, MetricPlan, Mode, Plan
from core.stats.moments import UnitSums

SUCCESS = MetricPlan("success", MetricKind.SHARE)


def counted(n: int, successes: int) -> UnitSums:
    return UnitSums(n, successes, successes, n, n, successes)


def test_guardrails_leave_four_fifths_of_the_error_to_the_primary() -> None:
    plan = Plan(("a", "b"), (0.5, 0.5), SUCCESS)
    assert primary_alpha(plan) == pytest.approx(0.05)
    guarded = Plan(("a", "b"), (0.5, 0.5), SUCCESS, (MetricPlan("cost", MetricKind.MEAN, False),))
    assert primary_alpha(guarded) == pytest.approx(0.04)


def test_arms_without_traffic_are_not_compared() -> None:
    assert treatments(Plan(("a", "b", "c"), (0.5, 0.0, 0.5), SUCCESS)) == ["c"]


def test_one_planned_look_is_the_classic_bound() -> None:
    assert look_bound(1, 1, 0.05) == pytest.approx(1.959964, abs=1e-5)


def test_bounds_fall_and_spend_the_square_of_the_information() -> None:
    # The first of 20 looks may spend .05/400: two-sided z of 0.000125 is 3.8357.
    found = [look_bound(k, 20, 0.05) for k in (1, 5, 10, 20)]
    assert found == sorted(found, reverse=True)
    assert found[0] == pytest.approx(3.8357, abs=1e-3)


def test_a_planned_share_has_one_success_and_one_failure_more_in_each_arm() -> None:
    # Agresti and Caffo (2000): 56/72 and 48/67, say, become 57/74 and 49/69.
    found = planned_contrast(counted(72, 56), counted(67, 48), first=True)
    assert float(found.value) == pytest.approx(57 / 74 - 49 / 69)
    variance = 57 / 74 * 17 / 74 / 73 + 49 / 69 * 20 / 69 / 68
    assert float(found.variance) == pytest.approx(variance)
    assert math.isfinite(float(planned_contrast(counted(5, 0), counted(5, 0), first=True).variance))


def test_two_shares_differ_by_all_at_most() -> None:
    # 9 of 10 against 1 of 10 at the first of ten looks: the bound alone would say +135 points.
    plan = Plan(("a", "b"), (0.5, 0.5), SUCCESS, mode=Mode.GROUP_SEQUENTIAL, planned_units=100, looks=10)
    for better, worse, ends in (("b", "a", (None, 1.0)), ("a", "b", (-1.0, None))):
        arms = {
            better: ArmEvidence(10, 10, first=counted(10, 9)),
            worse: ArmEvidence(10, 10, first=counted(10, 1)),
        }
        (found,) = planned(plan, Evidence(arms), 0.05, 1)
        interval = found.comparison.interval
        assert -1 <= interval.low <= interval.value <= interval.high <= 1
        assert (interval.low, interval.high)[0 if better == "a" else 1] == ends[0 if better == "a" else 1]


def test_differences_of_means_have_no_such_limit() -> None:
    spend = MetricPlan("spend", MetricKind.MEAN)
    plan = Plan(("a", "b"), (0.5, 0.5), spend, mode=Mode.FIXED, planned_units=4)
    arms = {
        "a": ArmEvidence(4, 4, {"spend": UnitSums.of([1.0, 2.0, 3.0, 4.0])}),
        "b": ArmEvidence(4, 4, {"spend": UnitSums.of([11.0, 12.0, 13.0, 14.0])}),
    }
    (found,) = planned(plan, Evidence(arms), 0.05, 1)
    assert found.comparison.interval.high > 10
