"""Quantiles against binomial tables, exact coverage and simulations with a known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from core.stats.quantiles import (
    clustered_quantile_interval,
    order_ranks,
    quantile_difference,
    quantile_interval,
    quantile_rank,
    sample,
)


@pytest.mark.parametrize(
    ("n", "ranks"),
    # The usual table of the sign test's interval of the median, 95 % (Conover 1999, table A3).
    [(5, (0, 6)), (6, (1, 6)), (8, (1, 8)), (10, (2, 9)), (20, (6, 15)), (50, (18, 33)), (100, (40, 61))],
)
def test_the_medians_ranks_are_those_of_the_table(n: int, ranks: tuple[int, int]) -> None:
    assert order_ranks(n, 0.5) == ranks


@pytest.mark.parametrize("q", [0.05, 0.5, 0.9, 0.95, 0.99])
def test_each_side_misses_with_no_more_than_its_half_and_no_rank_closer_would_do(q: float) -> None:
    for n in (1, 2, 7, 39, 240, 5000):
        low, high = order_ranks(n, q)
        counts = stats.binom(n, q)
        assert counts.cdf(low - 1) <= 0.025 < counts.cdf(low)
        assert counts.sf(high - 1) <= 0.025
        assert high == n + 1 or counts.sf(high - 2) > 0.025


def test_ranks_of_billions_of_values_are_found_as_well() -> None:
    for n in (10**9, 5 * 10**9):
        low, high = order_ranks(n, 0.95)
        half = 1.959964 * math.sqrt(n * 0.95 * 0.05)
        assert (0.95 * n - low, high - 0.95 * n) == (
            pytest.approx(half, rel=1e-3),
            pytest.approx(half, rel=1e-3),
        )


def test_few_values_do_not_bound_a_high_quantile_from_above() -> None:
    found = quantile_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.95)
    assert found.value == 5.0
    assert found.high == math.inf
    assert found.low > -math.inf


@pytest.mark.parametrize(
    ("n", "q", "rank"), [(100, 0.07, 7), (100, 0.95, 95), (10, 0.5, 5), (1, 0.99, 1), (3, 0.01, 1)]
)
def test_the_rank_of_a_quantile_is_not_moved_by_rounding(n: int, q: float, rank: int) -> None:
    assert quantile_rank(n, q) == rank


def test_the_interval_holds_the_truth_at_least_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    truth = float(stats.lognorm(0.6, scale=math.exp(5)).ppf(0.95))
    held = 0
    for _ in range(1000):
        found = quantile_interval(draw.lognormal(5, 0.6, 200).tolist(), 0.95)
        held += found.low <= truth <= found.high
    assert 0.945 <= held / 1000 <= 0.985


def test_requests_of_one_unit_do_not_count_as_if_they_were_apart() -> None:
    draw = np.random.default_rng(2)
    held_by_unit = held_by_request = 0
    truth = 0.0  # the median of a symmetric sum
    for _ in range(400):
        unit = np.repeat(draw.normal(0, 1, 60), 15)
        values = (unit + draw.normal(0, 0.5, 900)).tolist()
        names = np.repeat(np.arange(60), 15).tolist()
        by_unit, by_request = clustered_quantile_interval(values, names, 0.5), quantile_interval(values, 0.5)
        held_by_unit += by_unit.low <= truth <= by_unit.high
        held_by_request += by_request.low <= truth <= by_request.high
    assert 0.92 <= held_by_unit / 400 <= 0.99
    assert held_by_request / 400 < 0.6


def test_units_of_one_value_each_give_nearly_the_plain_interval() -> None:
    values = np.random.default_rng(3).normal(0, 1, 400).tolist()
    plain = quantile_interval(values, 0.9)
    clustered = clustered_quantile_interval(values, [f"u{i}" for i in range(400)], 0.9)
    assert clustered.high - clustered.low == pytest.approx(plain.high - plain.low, rel=0.15)


def test_the_difference_holds_the_truth_and_its_p_value_is_its_interval() -> None:
    draw = np.random.default_rng(4)
    held = 0
    for _ in range(300):
        arms = [sample((scale * draw.lognormal(5, 0.6, 250)).tolist(), 0.95) for scale in (1.0, 1.2)]
        truth = 0.2 * math.exp(5 + 0.6 * stats.norm.ppf(0.95))
        found = quantile_difference(*arms, 0.95)
        held += found.interval.low <= truth <= found.interval.high
        apart = found.interval.low > 0 or found.interval.high < 0
        assert apart is (found.p_value < 0.05)
    assert 0.93 <= held / 300 <= 0.995


def test_two_samples_of_one_kind_differ_in_no_more_than_5_of_100_runs() -> None:
    draw = np.random.default_rng(5)
    false = 0
    for _ in range(400):
        arms = [sample(draw.lognormal(5, 0.6, 300).tolist(), 0.95) for _ in range(2)]
        found = quantile_difference(*arms, 0.95).interval
        false += found.low > 0 or found.high < 0
    assert false / 400 <= 0.06


def test_the_difference_of_clustered_arms_holds_the_truth() -> None:
    draw = np.random.default_rng(8)
    names = np.repeat(np.arange(80), 10).tolist()
    false = 0
    for _ in range(200):
        arms = []
        for _ in range(2):
            values = np.exp(5 + np.repeat(draw.normal(0, 0.5, 80), 10) + draw.normal(0, 0.3, 800))
            arms.append(sample(values.tolist(), 0.9, names))
        found = quantile_difference(*arms, 0.9, confidence=0.9).interval
        false += found.low > 0 or found.high < 0
    assert false / 200 <= 0.13


def test_the_difference_is_the_same_in_milliseconds_and_in_seconds() -> None:
    draw = np.random.default_rng(6)
    a, b = draw.lognormal(5, 0.6, 120), draw.lognormal(5.3, 0.6, 130)
    ms = quantile_difference(sample(a.tolist(), 0.9), sample(b.tolist(), 0.9), 0.9)
    s = quantile_difference(sample((a / 1000).tolist(), 0.9), sample((b / 1000).tolist(), 0.9), 0.9)
    assert s.p_value == pytest.approx(ms.p_value)
    assert s.interval.low == pytest.approx(ms.interval.low / 1000)


def test_too_few_values_to_tell_anything_have_a_p_of_1_because_their_interval_is_everything() -> None:
    found = quantile_difference(sample([1.0], 0.5), sample([2.0], 0.5), 0.5)
    assert (found.interval.low, found.interval.high) == (-math.inf, math.inf)
    assert found.p_value > 0.05


@pytest.mark.parametrize(
    "refused",
    [
        lambda: quantile_interval([], 0.5),
        lambda: quantile_interval([1.0, math.nan], 0.5),
        lambda: quantile_interval([1.0], 1.0),
        lambda: quantile_interval([1.0], 0.5, confidence=0.0),
        lambda: clustered_quantile_interval([1.0, 2.0], ["a"], 0.5),
        lambda: clustered_quantile_interval([1.0, 2.0], ["a", "a"], 0.5),
        lambda: order_ranks(0, 0.5),
    ],
)
def test_what_has_no_quantile_is_refused(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
