"""Asymptotic confidence sequences against the paper's formula, brute force, and tails that break a plain variance."""

import math

import numpy as np
import pytest

from core.stats.confidence_sequences import (
    SCALE,
    contrast,
    critical_square,
    fieller_bounds,
    half_width,
    log_e,
    pairs_needed,
    relative_bounds,
    tuned_scale,
)
from core.stats.moments import UnitSums

THRESHOLD = math.log(20)
RANDOM = np.random.default_rng(2)


def sums(values: np.ndarray) -> UnitSums:
    return UnitSums.of(values.tolist())


def test_the_width_is_the_papers_boundary_once_there_are_many_units() -> None:
    # Waudby-Smith et al. (2024), theorem 2.2: σ·√(2(nρ² + 1)/(n²ρ²) · log(√(nρ² + 1)/α)).
    n, rho2 = 50_000, 1 / SCALE
    found = contrast(sums(RANDOM.normal(3, 2, n)), sums(RANDOM.normal(3, 2, n)))
    sd = math.sqrt(float(found.variance) * n)
    boundary = sd * math.sqrt(2 * (n * rho2 + 1) / (n * n * rho2) * math.log(math.sqrt(n * rho2 + 1) * 20))
    assert float(half_width(found, THRESHOLD)) == pytest.approx(boundary, rel=1e-3)


def test_the_variance_is_that_of_linearized_units() -> None:
    arms = [
        UnitSums.of(RANDOM.gamma(2, 3, 500).tolist(), RANDOM.integers(1, 9, 500).tolist()) for _ in range(2)
    ]
    found = contrast(*arms)
    assert float(found.own) == pytest.approx(arms[0].unit_variance / 500)
    assert float(found.variance) == pytest.approx(sum(arm.unit_variance / 500 for arm in arms))
    assert float(found.value) == pytest.approx(arms[0].ratio - arms[1].ratio)


def test_the_ends_of_the_interval_have_just_the_evidence_of_the_threshold() -> None:
    found = contrast(sums(RANDOM.exponential(2, 900)), sums(RANDOM.exponential(2.1, 400)))
    half = float(half_width(found, THRESHOLD))
    for shift in (float(found.value) - half, float(found.value) + half):
        assert float(log_e(found, shift=shift)) == pytest.approx(THRESHOLD, abs=1e-9)


def test_the_relative_interval_is_fiellers_and_agrees_at_no_lift() -> None:
    treated, control = sums(RANDOM.exponential(2.2, 3000)), sums(RANDOM.exponential(2, 3000))
    found = contrast(treated, control)
    low, high = (float(end) for end in relative_bounds(found, THRESHOLD))
    square = critical_square(6000 / 2, THRESHOLD)
    for lift in (low, high):
        gap = treated.ratio - (1 + lift) * control.ratio
        variance = treated.unit_variance / 3000 + (1 + lift) ** 2 * control.unit_variance / 3000
        assert gap * gap / (variance + gap * gap / 6000) == pytest.approx(float(square), rel=1e-9)
    shown = float(log_e(found)) > THRESHOLD
    assert shown == (low > 0 or high < 0)


def test_a_control_that_may_be_0_has_no_relative_interval() -> None:
    found = contrast(sums(RANDOM.normal(0.1, 5, 400)), sums(RANDOM.normal(0.1, 5, 400)))
    assert all(math.isnan(float(end)) for end in relative_bounds(found, THRESHOLD))


def test_the_classic_fieller_interval_is_the_published_one() -> None:
    from core.stats.ratios import relative_lift

    treated, control = sums(RANDOM.gamma(4, 1, 20_000)), sums(RANDOM.gamma(4, 1.02, 20_000))
    low, high = fieller_bounds(contrast(treated, control), 1.959964**2)
    oracle = relative_lift(control, treated)
    assert (float(low), float(high)) == (
        pytest.approx(oracle.low, abs=1e-5),
        pytest.approx(oracle.high, abs=1e-5),
    )


def test_the_scale_makes_the_interval_tightest_where_it_is_tuned() -> None:
    def width(scale: float) -> float:
        return float(critical_square(3000.0, THRESHOLD, scale=scale))

    best = tuned_scale(3000)
    assert width(best) < width(best * 1.5)
    assert width(best) < width(best / 1.5)


def test_nothing_can_be_shown_by_the_first_thirty_units_however_far_apart() -> None:
    for n in (1, 2, 10, 30):
        found = contrast(sums(np.full(n, 9.0)), sums(np.zeros(n)))
        assert float(log_e(found)) < THRESHOLD
        assert float(half_width(found, THRESHOLD)) == math.inf
    apart = contrast(sums(np.full(60, 9.0)), sums(np.zeros(60)))
    assert float(log_e(apart)) > THRESHOLD


def test_one_giant_value_shows_nothing() -> None:
    values = np.zeros(10_000)
    values[7] = 1e9
    for n, m in ((10_000, 10_000), (10_000, 1_000), (1_000, 10_000)):
        found = contrast(sums(values[:n]), sums(np.zeros(m)))
        assert float(log_e(found)) < 0.5


def test_empty_arms_single_units_and_equal_values_are_no_evidence() -> None:
    for arms in (
        (UnitSums(), UnitSums()),
        (sums(np.ones(1)), sums(np.ones(1))),
        (sums(np.ones(50)), sums(np.ones(50))),
    ):
        assert float(log_e(contrast(*arms))) <= 0


def test_squares_lost_to_rounding_are_not_certainty() -> None:
    # 1e9 + noise of 1: squares of 1e18 keep nothing of it.
    a, b = (sums(1e9 + RANDOM.normal(0, 1, 500)) for _ in range(2))
    assert float(log_e(contrast(a, b))) < THRESHOLD


def test_arrays_give_what_numbers_give() -> None:
    y = RANDOM.gamma(1, 1, (3, 80))
    n = np.arange(1.0, 81.0)
    running = UnitSums(n, y.cumsum(1), (y * y).cumsum(1), n, n, y.cumsum(1))  # type: ignore[arg-type]
    other = UnitSums(n, y[::-1].cumsum(1), (y[::-1] ** 2).cumsum(1), n, n, y[::-1].cumsum(1))  # type: ignore[arg-type]
    together = log_e(contrast(running, other))
    one = log_e(contrast(sums(y[0, :50]), sums(y[2, :50])))
    assert together[0, 49] == pytest.approx(float(one), abs=1e-9)


@pytest.mark.parametrize("split", [0.5, 0.2])
def test_rare_and_skewed_values_are_called_different_at_any_unit_in_less_than_five_runs_of_a_hundred(
    split: float,
) -> None:
    random = np.random.default_rng(17)
    arms = random.random((200, 4000)) < split
    y = np.where(random.random(arms.shape) < 0.04, np.exp(1.6 * random.standard_normal(arms.shape)), 0.0)

    def running(mask: np.ndarray) -> UnitSums:
        n = mask.cumsum(1).astype(float)
        total, squares = np.where(mask, y, 0).cumsum(1), np.where(mask, y * y, 0).cumsum(1)
        return UnitSums(n, total, squares, n, n, total)  # type: ignore[arg-type]

    wrong = (log_e(contrast(running(arms), running(~arms))) > THRESHOLD).any(axis=1)
    assert wrong.mean() <= 0.05


def test_the_units_needed_are_those_at_which_the_evidence_is_expected() -> None:
    needed = pairs_needed(0.05, THRESHOLD)
    gain = needed**2 * 0.05**2 / (2 * (needed + SCALE)) - 0.5 * math.log1p(needed / SCALE)
    assert gain == pytest.approx(THRESHOLD, abs=0.01)
    assert pairs_needed(0.0, THRESHOLD) == math.inf
    assert pairs_needed(1e-9, THRESHOLD) == math.inf
