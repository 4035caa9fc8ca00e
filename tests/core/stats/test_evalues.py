"""Closed testing of e-values against all sets written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stats.evalues import adjusted_log_e, closed_log_threshold, p_value

LEVEL = math.log(20)
LOGS = st.lists(st.floats(-8, 8), min_size=1, max_size=5)


def by_hand(logs: list[float], weights: list[float]) -> list[float]:
    """The least weighted mean over every set that holds the hypothesis."""
    places = range(len(logs))
    sets = [each for size in range(1, len(logs) + 1) for each in itertools.combinations(places, size)]

    def mean(chosen: tuple[int, ...]) -> float:
        return sum(weights[j] * math.exp(logs[j]) for j in chosen) / sum(weights[j] for j in chosen)

    return [math.log(min(mean(chosen) for chosen in sets if i in chosen)) for i in places]


@given(LOGS)
def test_the_adjusted_e_value_is_the_least_mean_over_all_sets(logs: list[float]) -> None:
    assert adjusted_log_e(logs) == pytest.approx(by_hand(logs, [1.0] * len(logs)), abs=1e-9)


@given(LOGS, st.lists(st.floats(0.1, 5), min_size=5, max_size=5))
def test_weights_count(logs: list[float], weights: list[float]) -> None:
    given_weights = weights[: len(logs)]
    assert adjusted_log_e(logs, given_weights) == pytest.approx(by_hand(logs, given_weights), abs=1e-9)


@given(LOGS, st.lists(st.floats(0.1, 5), min_size=5, max_size=5))
def test_an_arm_passes_its_threshold_exactly_when_its_adjusted_value_passes_the_level(
    logs: list[float], weights: list[float]
) -> None:
    chosen = weights[: len(logs)]
    adjusted, thresholds = adjusted_log_e(logs, chosen), closed_log_threshold(logs, LEVEL, chosen)
    for log_e, own, threshold in zip(logs, adjusted, thresholds, strict=True):
        if abs(own - LEVEL) > 1e-9:
            assert (own > LEVEL) == (log_e > threshold)


def test_one_arm_alone_pays_nothing_and_two_pay_for_each_other() -> None:
    assert float(closed_log_threshold([1.0], LEVEL)[0]) == pytest.approx(LEVEL)
    assert float(closed_log_threshold([1.0, -50.0], LEVEL)[0]) == pytest.approx(math.log(40))
    # An arm that is shown already costs the other nothing.
    assert float(closed_log_threshold([1.0, 50.0], LEVEL)[0]) == pytest.approx(LEVEL)


def test_it_broadcasts_over_runs() -> None:
    logs = np.random.default_rng(1).normal(0, 4, (7, 3))
    together = adjusted_log_e(logs)
    assert together.shape == (7, 3)
    assert together == pytest.approx(np.array([adjusted_log_e(row) for row in logs]))


def test_p_values_keep_their_accuracy_where_one_minus_a_distribution_is_0() -> None:
    assert float(p_value(math.log(1e300))) == pytest.approx(1e-300, rel=1e-12)
    assert float(p_value(-3.0)) == 1.0
    assert 0 < float(p_value(1e6)) < 1e-300
    assert float(p_value(math.log(20))) == pytest.approx(0.05)


def test_evidence_of_e_to_the_thousand_is_no_overflow() -> None:
    found = adjusted_log_e([1000.0, 2000.0, -5.0])
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(1000 - math.log(2), abs=1e-6)


def test_weights_of_0_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        adjusted_log_e([1.0, 2.0], [1.0, 0.0])
