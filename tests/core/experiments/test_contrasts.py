"""Three kinds of metrics answer the same questions."""

import math

import numpy as np
import pytest

from core.experiments.contrasts import Means, PairedShares, Quantiles, contrast_of
from core.experiments.plan import ArmEvidence, Evidence, MetricKind, MetricPlan, PairCounts, Plan
from core.stats.moments import UnitSums
from core.stats.sketches import LogSketch

SUCCESS = MetricPlan("success", MetricKind.SHARE)
PLAN = Plan(("a", "b"), (0.5, 0.5), SUCCESS)
RANDOM = np.random.default_rng(6)
THRESHOLD = math.log(20)


def counted(n: int, successes: int) -> UnitSums:
    return UnitSums(n, successes, successes, n, n, successes)


def arm(n: int, successes: int, values: np.ndarray | None = None, visits: int = 1) -> ArmEvidence:
    sums = {"success": counted(n, successes)}
    sketches = {}
    if values is not None:
        sums["latency_ms"] = UnitSums.of(
            values.reshape(-1, visits).sum(1).tolist(), [visits] * (values.size // visits)
        )
        sketches["latency_ms"] = LogSketch.of(values)
    return ArmEvidence(n, n, sums, sketches, counted(n, successes))


def test_pairs_are_of_the_primary_metric_by_first_requests_alone() -> None:
    evidence = Evidence({"a": arm(100, 50), "b": arm(100, 60)}, {"b": PairCounts(30, 20, 50)})
    assert isinstance(contrast_of(PLAN, evidence, SUCCESS, "b", primary=True), PairedShares)
    assert isinstance(contrast_of(PLAN, evidence, SUCCESS, "b", primary=False), Means)
    returning = Plan(("a", "b"), (0.5, 0.5), SUCCESS, returning=True)
    assert isinstance(contrast_of(returning, evidence, SUCCESS, "b", primary=True), Means)


@pytest.mark.parametrize(("units", "spare"), [((100, 100), None), ((130, 100), "a"), ((100, 130), "b")])
def test_pairs_where_both_succeeded_follow_from_the_arm_that_is_all_in_pairs(
    units: tuple[int, int], spare: str | None
) -> None:
    # 30 both, 20 the treatment's alone, 10 the control's alone, 40 none; units that are in no pair all succeed.
    control, treatment = 40 + (units[0] - 100), 50 + (units[1] - 100)
    evidence = Evidence(
        {"a": arm(units[0], control), "b": arm(units[1], treatment)}, {"b": PairCounts(20, 10, 70)}
    )
    found = contrast_of(PLAN, evidence, SUCCESS, "b", primary=True)
    assert isinstance(found, PairedShares)
    assert found.both == (30, 30)


def test_pairs_that_do_not_fit_the_sums_have_no_lift() -> None:
    evidence = Evidence({"a": arm(90, 40), "b": arm(90, 40)}, {"b": PairCounts(20, 10, 70)})
    found = contrast_of(PLAN, evidence, SUCCESS, "b", primary=True)
    assert found.relative(THRESHOLD) is None
    assert found.interval(THRESHOLD)[0] < 0.1


def test_a_pair_that_was_taken_back_leaves_the_lift_a_little_less_sure() -> None:
    counts = PairCounts(200, 150, 650)
    whole = contrast_of(
        PLAN, Evidence({"a": arm(1000, 450), "b": arm(1000, 500)}, {"b": counts}), SUCCESS, "b", primary=True
    )
    mates = Evidence({"a": arm(1003, 452), "b": arm(1003, 501)}, {"b": counts})
    found = contrast_of(PLAN, mates, SUCCESS, "b", primary=True)
    assert isinstance(found, PairedShares)
    assert found.both == (299, 301)
    told, sure = found.relative(THRESHOLD), whole.relative(THRESHOLD)
    assert told is not None
    assert sure is not None
    assert told[0] <= sure[0] < sure[1] <= told[1]
    assert told == pytest.approx(sure, abs=0.005)


def test_nothing_known_is_not_a_number_and_bounds_nothing() -> None:
    for metric in (
        SUCCESS,
        MetricPlan("x", MetricKind.MEAN),
        MetricPlan("x", MetricKind.QUANTILE, quantile=0.9),
    ):
        found = contrast_of(PLAN, Evidence({}), metric, "b", primary=True)
        assert math.isnan(found.difference)
        assert found.log_e <= 0
        assert found.relative(THRESHOLD) is None
        assert found.units_for(THRESHOLD, 0.0) == math.inf
        low, high = found.interval(THRESHOLD)
        assert low < 0 < high


def test_a_share_over_requests_stays_within_what_shares_can_differ_by() -> None:
    returning = Plan(("a", "b"), (0.5, 0.5), SUCCESS, returning=True)
    evidence = Evidence({"a": arm(20, 10), "b": arm(20, 10)})
    assert contrast_of(returning, evidence, SUCCESS, "b", primary=True).interval(THRESHOLD) == (-1.0, 1.0)


def test_the_units_of_a_quantile_are_units_and_not_requests() -> None:
    metric = MetricPlan("latency_ms", MetricKind.QUANTILE, False, quantile=0.5)
    values = np.exp(RANDOM.normal(5, 0.6, (2, 4000)))
    alone, often = (
        Evidence({"a": arm(4000, 0, values[0], visits), "b": arm(4000, 0, values[1] * 1.3, visits)})
        for visits in (1, 20)
    )
    one, many = (contrast_of(PLAN, each, metric, "b", primary=True) for each in (alone, often))
    assert isinstance(one, Quantiles)
    assert many.log_e < one.log_e / 3


def test_the_units_that_pairs_need_are_about_those_that_runs_take() -> None:
    # .90 → .92: discordant pairs 9.2 % and 7.2 %; runs take 3,500 units on average (benchmarks/experiment_power.py).
    counts = PairCounts(920, 720, 8360)
    found = PairedShares(counts, None, counted(10_000, 9_200), counted(10_000, 9_000))
    assert 2_500 < found.units_for(THRESHOLD, 0.0) < 5_000
    assert found.units_for(THRESHOLD, 0.02) == math.inf
