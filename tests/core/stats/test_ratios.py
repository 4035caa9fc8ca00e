"""Ratios of two arms against scipy's Welch test, Fieller's theorem worked out, and simulations with a known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from core.stats.moments import UnitSums
from core.stats.ratios import Shape, fieller, relative_lift, welch
from core.stats.tails import Side


def test_means_of_units_of_size_one_are_scipys_welch_test() -> None:
    # Student's sleep data, R: t.test(extra ~ group): t = -1.8608, df = 17.776, p = 0.07939, −3.3654832 to 0.2054832.
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = welch(UnitSums.of(two), UnitSums.of(one))
    assert found.test.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert found.degrees == pytest.approx(17.776, abs=5e-4)
    assert found.test.p_value == pytest.approx(0.07939, abs=5e-6)
    assert found.interval.low == pytest.approx(-3.3654832, abs=5e-7)
    assert found.interval.high == pytest.approx(0.2054832, abs=5e-7)
    up = welch(UnitSums.of(one), UnitSums.of(two), side=Side.GREATER)
    assert up.test.p_value == pytest.approx(
        stats.ttest_ind(two, one, equal_var=False, alternative="greater").pvalue
    )


def test_a_ratio_is_judged_over_units_and_not_over_their_requests() -> None:
    # Twenty requests a unit, all alike: as sure as one request a unit.
    outcomes = np.random.default_rng(2).binomial(1, 0.4, 200).astype(float)
    alone = UnitSums.of(outcomes.tolist())
    many = UnitSums.of((20 * outcomes).tolist(), [20.0] * 200)
    assert many.ratio == alone.ratio
    assert welch(alone, many).error == pytest.approx(math.sqrt(2 * alone.unit_variance / 200))


def test_the_difference_of_ratios_holds_the_truth_in_95_of_100_runs() -> None:
    draw = np.random.default_rng(17)
    held = 0
    for _ in range(800):
        arms = []
        for base in (0.30, 0.35):
            sizes = draw.geometric(0.15, 300)
            chance = draw.beta(10 * base, 10 * (1 - base), 300)
            arms.append(UnitSums.of(draw.binomial(sizes, chance).tolist(), sizes.tolist()))
        interval = welch(*arms).interval
        held += interval.low <= 0.05 <= interval.high
    assert 0.93 <= held / 800 <= 0.97


def test_a_p_value_far_out_is_small_and_not_0() -> None:
    base = UnitSums.of([1.0, 1.01] * 5000)
    found = welch(base, UnitSums.of([2.0, 2.01] * 5000))
    assert found.test.p_value > 0
    assert found.test.log_p < -10_000


def test_fieller_is_the_quadratic_worked_out_by_hand() -> None:
    # T = 12, C = 10, variances 1 and 1, c = 2: a = 96, b = 120, d = 140; roots (120 ± √(14400 − 13440)) / 96.
    found = fieller(12.0, 1.0, 10.0, 1.0, 2.0)
    assert found.shape is Shape.BOUNDED
    assert found.low == pytest.approx((120 - math.sqrt(960)) / 96 - 1)
    assert found.high == pytest.approx((120 + math.sqrt(960)) / 96 - 1)
    assert found.value == pytest.approx(0.2)
    assert found.interval is not None


@pytest.mark.parametrize(
    ("treatment", "control", "shape"),
    [
        (12.0, 10.0, Shape.BOUNDED),
        (12.0, 1.0, Shape.OUTSIDE),
        (0.5, 1.0, Shape.EVERYTHING),
        (-12.0, 1.0, Shape.OUTSIDE),
    ],
)
def test_the_set_of_lifts_holds_exactly_those_that_are_not_refuted(
    treatment: float, control: float, shape: Shape
) -> None:
    found = fieller(treatment, 1.0, control, 1.0, 2.0)
    assert found.shape is shape
    for lift in np.linspace(-60, 60, 2401):
        rho = lift + 1
        distance = abs(treatment - rho * control) - 2 * math.sqrt(1 + rho * rho)
        if abs(distance) > 1e-9:
            assert found.contains(float(lift)) is bool(distance <= 0)
    assert (found.interval is None) is (shape is not Shape.BOUNDED)


def test_a_control_that_may_be_0_gives_no_pair_of_ends() -> None:
    rare = UnitSums.of([0.0] * 99 + [1.0])
    found = relative_lift(rare, UnitSums.of([0.0] * 90 + [1.0] * 10))
    assert found.shape is Shape.OUTSIDE
    assert found.contains(found.value)
    assert found.interval is None
    nothing = relative_lift(UnitSums.of([0.0] * 100), UnitSums.of([0.0] * 90 + [1.0] * 10))
    assert math.isnan(nothing.value)
    assert nothing.interval is None


def test_limits_of_fieller_are_half_lines_everything_and_nothing() -> None:
    assert fieller(3.0, 1.0, 2.0, 1.0, 2.0).shape is Shape.BOUNDED  # a = 0: the control just reaches 0
    assert fieller(3.0, 1.0, 2.0, 1.0, 2.0).high == math.inf
    assert fieller(-3.0, 1.0, 2.0, 1.0, 2.0).low == -math.inf
    assert fieller(1.0, 1.0, 0.0, 0.0, 2.0).shape is Shape.EVERYTHING
    assert fieller(1.0, 0.0, 0.0, 0.0, 2.0).shape is Shape.EMPTY
    assert not fieller(1.0, 0.0, 0.0, 0.0, 2.0).contains(0.0)


def test_the_lift_says_the_same_as_the_difference_about_0() -> None:
    draw = np.random.default_rng(5)
    for _ in range(200):
        a, b = (UnitSums.of(draw.lognormal(1, 0.6, 40).tolist()) for _ in range(2))
        lift, difference = relative_lift(a, b), welch(a, b)
        apart = difference.interval.low > 0 or difference.interval.high < 0
        # Their degrees of freedom differ a little where the ratio is not 1; at the edge nothing is claimed.
        if abs(abs(difference.test.statistic) - 1.99) > 0.02:
            assert lift.contains(0.0) is not apart


def test_the_lift_holds_the_truth_in_95_of_100_runs_at_a_rare_base() -> None:
    draw = np.random.default_rng(23)
    held = bounded = 0
    for _ in range(1000):
        y = draw.binomial(400, (0.02, 0.03))
        arms = [UnitSums(400.0, float(k), float(k), 400.0, 400.0, float(k)) for k in y]
        if 0 in y:
            continue
        found = relative_lift(*arms)
        held += found.contains(0.5)
        bounded += 1
    assert 0.92 <= held / bounded <= 0.98


def test_what_cannot_be_compared_is_refused() -> None:
    good, flat = UnitSums.of([1.0, 2.0, 3.0]), UnitSums.of([1.0, 1.0])
    with pytest.raises(ValueError, match="two units"):
        welch(good, UnitSums.of([1.0]))
    with pytest.raises(ValueError, match="differs"):
        welch(flat, flat)
    with pytest.raises(ValueError, match="differs"):
        relative_lift(flat, flat)
    with pytest.raises(ValueError, match="two units"):
        welch(UnitSums.of([1.0, 2.0], [0.0, 0.0]), good)
    with pytest.raises(ValueError, match="finite"):
        fieller(math.nan, 1.0, 1.0, 1.0, 2.0)
    with pytest.raises(ValueError, match="covariance"):
        fieller(1.0, 1.0, 1.0, 1.0, 2.0, covariance=1.5)
    with pytest.raises(ValueError, match="confidence"):
        welch(good, good, confidence=1.0)
