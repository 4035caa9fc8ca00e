"""Dunnett against his tables, scipy and R's multcomp; Holm and Benjamini–Hochberg against R's p.adjust and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from core.stats.moments import UnitSums
from core.stats.multiple import (
    benjamini_hochberg,
    dunnett,
    dunnett_critical,
    dunnett_sums,
    holm,
    log_largest_exceeds,
)
from core.stats.tails import Side, log_student_tail

HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("treatments", "degrees", "both", "one"),
    # Dunnett (1955), tables 1a and 2a; (1964), table II: joint confidence 95 %.
    [
        (1, math.inf, 1.96, 1.64),
        (2, math.inf, 2.21, 1.92),
        (3, math.inf, 2.35, 2.06),
        (4, math.inf, 2.44, 2.16),
        (2, 20, 2.38, 2.03),
        (3, 20, 2.54, 2.19),
        (4, 20, 2.65, 2.30),
        (2, 5, 3.03, 2.44),
    ],
)
def test_critical_values_are_dunnetts(treatments: int, degrees: float, both: float, one: float) -> None:
    assert dunnett_critical([HALF] * treatments, degrees) == pytest.approx(both, abs=6e-3)
    assert dunnett_critical([HALF] * treatments, degrees, side=Side.GREATER) == pytest.approx(one, abs=6e-3)


def test_one_treatment_is_students_test() -> None:
    for t, degrees in [(0.3, 4.0), (2.0, 11.0), (9.0, 1000.0), (30.0, 40.0), (37.0, math.inf)]:
        oracle = float(stats.t.sf(t, degrees)) if math.isfinite(degrees) else float(stats.norm.sf(t))
        found = log_largest_exceeds(t, np.array([HALF]), degrees)
        assert found == pytest.approx(math.log(2 * oracle), rel=1e-9)


@pytest.mark.parametrize(("t", "degrees"), [(60.0, 5000.0), (1e7, 50.0), (50.0, 800.0), (200.0, math.inf)])
def test_one_treatment_is_students_test_where_a_float_ends(t: float, degrees: float) -> None:
    found = log_largest_exceeds(t, np.array([HALF]), degrees)
    assert found == pytest.approx(math.log(2) + log_student_tail(t, degrees), rel=1e-9)


def test_dunnetts_blood_counts_agree_with_scipy() -> None:
    # Dunnett (1955), table 4, as in the documentation of scipy.stats.dunnett: p = 0.6200, 0.0059.
    control = np.array([7.40, 8.50, 7.20, 8.24, 9.84, 8.32])
    drugs = [np.array([9.76, 8.80, 7.68, 9.36]), np.array([12.80, 9.68, 12.16, 9.20, 10.55])]
    groups = [control, *drugs]
    degrees = sum(map(len, groups)) - 3
    pooled = sum(((g - g.mean()) ** 2).sum() for g in groups) / degrees
    found = dunnett([float(g.mean()) for g in groups], [pooled / len(g) for g in groups], degrees)
    oracle = stats.dunnett(*drugs, control=control, rng=np.random.default_rng(1))
    ends = oracle.confidence_interval(0.95)
    assert [v.test.p_value for v in found] == [
        pytest.approx(0.62004941, abs=3e-4),
        pytest.approx(0.0058635, abs=3e-4),
    ]
    for ours, p, low, high in zip(found, oracle.pvalue, ends.low, ends.high, strict=True):
        assert ours.test.p_value == pytest.approx(p, abs=3e-4)
        assert (ours.interval.low, ours.interval.high) == (
            pytest.approx(low, abs=0.02),
            pytest.approx(high, abs=0.02),
        )


def test_unequal_arms_agree_with_the_multivariate_t_of_scipy() -> None:
    loadings = np.sqrt(1 / (1 + np.array([0.3, 2.0, 5.0])))
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1.0)
    oracle = stats.multivariate_t(shape=correlation, df=7)
    for c in (1.2, 2.5, 4.0):
        inside = oracle.cdf([c] * 3, lower_limit=[-c] * 3, random_state=1)
        assert math.exp(log_largest_exceeds(c, loadings, 7)) == pytest.approx(1 - inside, abs=2e-4)
        below = oracle.cdf([c] * 3, random_state=1)
        assert math.exp(log_largest_exceeds(c, loadings, 7, side=Side.GREATER)) == pytest.approx(
            1 - below, abs=2e-4
        )


def test_adjusted_p_and_interval_never_contradict() -> None:
    draw = np.random.default_rng(7)
    for _ in range(40):
        arms = int(draw.integers(2, 6))
        means, spreads = draw.normal(0, 2.2, arms).tolist(), draw.uniform(0.3, 2.0, arms).tolist()
        for side in Side:
            for found in dunnett(means, spreads, float(draw.integers(4, 60)), side=side, confidence=0.9):
                apart = found.interval.low > 0 or found.interval.high < 0
                assert apart is (found.test.p_value < 1 - 0.9)


def test_on_the_very_edge_they_still_agree() -> None:
    edge = dunnett_critical([HALF, HALF]) * math.sqrt(2)
    for nudge in (-1e-13, -1e-15, 0.0, 1e-15, 1e-13):
        found = dunnett([0.0, edge + nudge, 0.0], [1.0] * 3)[0]
        assert (found.interval.low > 0) is (found.test.p_value < 1 - 0.95)


def test_a_p_value_far_out_is_small_and_not_0() -> None:
    found = dunnett([0.0, 60.0, 0.1], [1.0] * 3)[0]
    # Far out the union is the sum of the single tails; the second treatment's is far smaller or equal: two times.
    single = math.log(2) + float(stats.norm.logsf(60 / math.sqrt(2)))
    assert single < found.test.log_p <= single + math.log(2) + 1e-9
    assert found.test.p_value > 0
    assert dunnett([0.0, 40.0, 0.1], [1.0] * 3)[0].test.p_value == pytest.approx(
        4 * stats.norm.sf(40 / math.sqrt(2)), rel=1e-9
    )


def test_arms_of_unequal_variance_make_one_false_claim_in_no_more_than_5_of_100_runs() -> None:
    draw = np.random.default_rng(8)
    critical: dict[int, int] = {0: 0}
    for _ in range(150):
        arms = [UnitSums.of(draw.normal(5, sd, n).tolist()) for sd, n in ((1, 60), (3, 40), (2, 80))]
        critical[0] += any(found.test.p_value < 0.05 for found in dunnett_sums(arms))
    assert critical[0] / 150 <= 0.09


def test_very_unequal_arms_stay_between_one_comparison_and_bonferroni() -> None:
    for control, treatment in [(1e-6, 1.0), (1.0, 1e-6), (1.0, 0.01)]:
        loading = math.sqrt(control / (control + treatment))
        found = dunnett_critical([loading] * 3)
        assert 1.95996 - 1e-3 <= found <= float(stats.norm.isf(0.025 / 3)) + 1e-3
        assert dunnett_critical([loading]) == pytest.approx(1.959964, abs=1e-5)


def test_holm_and_benjamini_hochberg_are_rs_p_adjust() -> None:
    # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and "BH".
    p = [0.01, 0.02, 0.03, 0.04, 0.05]
    assert holm(p) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert benjamini_hochberg(p) == pytest.approx([0.05] * 5)
    assert holm([0.04, 0.01, 1e-300]) == pytest.approx([0.04, 0.02, 3e-300], rel=1e-12)


def test_benjamini_hochberg_agrees_with_scipy_and_keeps_the_order_given() -> None:
    p = np.random.default_rng(9).uniform(0, 1, (50, 12)) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p, axis=1))
    assert benjamini_hochberg(p)[3] == pytest.approx(benjamini_hochberg(p[3]))
    assert holm(p)[3] == pytest.approx(holm(p[3]))
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()


@pytest.mark.parametrize(
    "refused",
    [
        lambda: holm([0.1, math.nan]),
        lambda: benjamini_hochberg([1.2]),
        lambda: dunnett([1.0], [1.0]),
        lambda: dunnett([1.0, 2.0], [1.0, 0.0]),
        lambda: dunnett([1.0, math.nan], [1.0, 1.0]),
        lambda: dunnett([1.0, 2.0], [1.0, 1.0], 0.0),
        lambda: dunnett_critical([]),
        lambda: dunnett_critical([1.5]),
        lambda: dunnett_critical([0.5], confidence=1.0),
        lambda: dunnett_sums([UnitSums.of([1.0, 2.0]), UnitSums.of([1.0])]),
        lambda: dunnett_sums([UnitSums.of([1.0, 2.0]), UnitSums.of([1.0, 1.0])]),
    ],
)
def test_what_cannot_be_compared_is_an_error_and_not_a_p_of_1(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
