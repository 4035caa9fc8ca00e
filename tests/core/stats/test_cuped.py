"""CUPED against the regression that it equals and against a simulation with a known truth."""

import math

import numpy as np
import pytest

from core.stats.cuped import CovariateSums, adjusted_moments, cuped, pooled_theta


def _arms(draw: np.random.Generator, n: int, effect: float, correlation: float) -> list[CovariateSums]:
    arms = []
    for shift in (0.0, effect):
        before = draw.normal(10, 2, n)
        noise = draw.normal(0, 2 * math.sqrt(1 - correlation**2), n)
        arms.append(
            CovariateSums.of((10 + correlation * (before - 10) + noise + shift).tolist(), before.tolist())
        )
    return arms


def test_theta_is_the_slope_within_arms_of_a_regression() -> None:
    draw = np.random.default_rng(1)
    z = draw.normal(0, 1, 60)
    group = np.repeat([0.0, 1.0], 30)
    y = 1 + 2 * z + 3 * group + draw.normal(0, 1, 60)
    arms = [CovariateSums.of(y[group == g].tolist(), z[group == g].tolist()) for g in (0, 1)]
    slope = np.linalg.lstsq(np.column_stack((np.ones(60), group, z)), y, rcond=None)[0]
    assert pooled_theta(arms) == pytest.approx(slope[2])
    assert cuped(*arms).adjusted.value == pytest.approx(slope[1])


def test_the_variance_shrinks_by_the_square_of_the_correlation() -> None:
    found = cuped(*_arms(np.random.default_rng(2), 20_000, 0.1, 0.7))
    assert found.variance_reduction == pytest.approx(0.49, abs=0.02)
    assert found.adjusted.error == pytest.approx(found.unadjusted.error * math.sqrt(0.51), rel=0.03)


def test_the_adjusted_interval_holds_the_truth_in_95_of_100_runs() -> None:
    draw = np.random.default_rng(3)
    held = 0
    for _ in range(800):
        interval = cuped(*_arms(draw, 150, 0.3, 0.8)).adjusted.interval
        held += interval.low <= 0.3 <= interval.high
    assert 0.93 <= held / 800 <= 0.97


def test_a_ratio_is_adjusted_by_its_linearized_units() -> None:
    draw = np.random.default_rng(4)
    held, saved = 0, []
    for _ in range(400):
        arms = []
        for base in (0.4, 0.45):
            habit = draw.beta(4, 6, 300) - 0.4  # what a unit is like, seen before the start as well
            sizes = draw.poisson(8, 300) + 1
            y = draw.binomial(sizes, np.clip(base + habit, 0.0, 1.0))
            arms.append(CovariateSums.of(y.tolist(), habit.tolist(), sizes.tolist()))
        found = cuped(*arms)
        saved.append(found.variance_reduction)
        held += found.adjusted.interval.low <= 0.05 <= found.adjusted.interval.high
    assert held / 400 >= 0.92
    assert np.mean(saved) > 0.3


def test_a_covariate_that_never_varies_changes_nothing() -> None:
    arms = [CovariateSums.of([1.0, 2.0, 4.0], [0.1] * 3), CovariateSums.of([2.0, 3.0, 5.0], [0.1] * 3)]
    found = cuped(*arms)
    assert found.theta == 0
    assert found.variance_reduction == pytest.approx(0.0)
    assert found.adjusted.interval.low == pytest.approx(found.unadjusted.interval.low)


def test_sums_of_days_add_up_to_the_sums_of_all() -> None:
    y, z, x = [1.0, 2.0, 0.0, 4.0], [2.0, 1.0, 0.0, 3.0], [1.0, 3.0, 1.0, 5.0]
    whole = CovariateSums.of(y, z, x)
    assert CovariateSums.of(y[:2], z[:2], x[:2]) + CovariateSums.of(y[2:], z[2:], x[2:]) == whole


def test_a_theta_fixed_beforehand_is_used_as_it_is() -> None:
    arms = _arms(np.random.default_rng(6), 200, 0.2, 0.5)
    found = cuped(*arms, theta=0.0)
    assert found.adjusted.value == pytest.approx(found.unadjusted.value)
    value, variance = adjusted_moments(arms[0], 0.0, 10.0)
    assert (value, variance) == (arms[0].sums.ratio, arms[0].sums.unit_variance)


def test_what_cannot_be_adjusted_is_refused() -> None:
    good = CovariateSums.of([1.0, 2.0, 4.0], [1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="two units"):
        cuped(good, CovariateSums.of([1.0], [1.0]))
    with pytest.raises(ValueError, match="covariate"):
        CovariateSums.of([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="covariate"):
        CovariateSums.of([1.0], [math.nan])
    with pytest.raises(ValueError, match="finite"):
        cuped(good, good, theta=math.inf)
    # The metric itself given as its own past.
    itself = [CovariateSums.of(y, y) for y in ([1.0, 2.0, 4.0], [2.0, 3.0, 7.0])]
    with pytest.raises(ValueError, match="before the start"):
        cuped(*itself)
    with pytest.raises(ValueError, match="two units"):
        pooled_theta([])
