"""Sample ratio: the mixture against scipy's Dirichlet-multinomial, and arms without a share."""

import math

import numpy as np
import pytest
from scipy.stats import chisquare, dirichlet_multinomial, multinomial

from core.stats.srm import CONCENTRATION, LEVEL, chi_square_p, expected_units, log_e_ratio


def test_the_evidence_is_the_ratio_of_the_two_distributions() -> None:
    counts, weights = [530, 270, 200], [0.5, 0.3, 0.2]
    drawn = dirichlet_multinomial.logpmf(counts, CONCENTRATION * np.array(weights), 1000)
    oracle = drawn - multinomial.logpmf(counts, 1000, weights)
    assert float(log_e_ratio(counts, weights)) == pytest.approx(oracle, abs=1e-8)


def test_an_arm_without_weight_gives_no_degree_of_freedom() -> None:
    # A peer counts it: 2 degrees would give 0.082 where the right answer is 0.025.
    assert chi_square_p([5000, 5224, 0], [0.5, 0.5, 0.0]) == pytest.approx(chisquare([5000, 5224]).pvalue)
    assert float(log_e_ratio([50, 60, 900], [0.5, 0.5, 0])) == float(log_e_ratio([50, 60], [0.5, 0.5]))
    assert expected_units([50, 60, 900], [0.5, 0.5, 0]) == [55, 55, 0]


def test_the_chi_square_keeps_its_accuracy_far_out() -> None:
    from scipy.stats import chi2

    p = chi_square_p([20_000, 14_000], [0.5, 0.5])
    assert p == pytest.approx(chi2.sf(6000**2 / 34_000, 1), rel=1e-9)
    assert 0 < (p or 0) < 1e-200


def test_nothing_to_compare_is_no_finding() -> None:
    assert chi_square_p([0, 0], [0.5, 0.5]) is None
    assert chi_square_p([10, 0], [1.0, 0.0]) is None
    assert float(log_e_ratio([0, 0], [0.5, 0.5])) == pytest.approx(0.0)


def test_a_right_split_raises_an_alarm_at_any_unit_in_less_than_one_run_of_a_hundred() -> None:
    random = np.random.default_rng(3)
    first = (random.random((1000, 4000)) < 0.1).cumsum(axis=1)
    counts = np.stack([first, np.arange(1, 4001) - first], axis=-1)
    alarms = (log_e_ratio(counts, [0.1, 0.9]) >= -math.log(LEVEL)).any(axis=1)
    assert alarms.mean() <= 0.01


def test_a_split_of_47_to_53_is_found_within_ten_thousand_units() -> None:
    counts = np.array([4700, 5300])
    assert float(log_e_ratio(counts, [0.5, 0.5])) > -math.log(LEVEL)


@pytest.mark.parametrize(
    ("counts", "weights"), [([-1, 5], [0.5, 0.5]), ([1, 5], [0, 0]), ([1, 5], [-0.5, 1.5])]
)
def test_impossible_counts_and_weights_are_refused(counts: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        log_e_ratio(counts, weights)
