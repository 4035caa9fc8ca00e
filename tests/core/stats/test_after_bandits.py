"""Estimates after a bandit: against simulations of one with a known truth, where the plain mean is biased."""

import math

import numpy as np
import pytest

from core.stats.after_bandits import arm_difference, arm_mean, scores
from core.stats.bandits import best_of_means, thompson, with_floor

TRUTH = (0.0, 0.0, 0.4)


def _played(
    draw: np.random.Generator, batches: int = 20, size: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One Thompson bandit of three arms in batches, with a floor."""
    n, total = np.full(3, 1.0), np.zeros(3)
    arms, outcomes, chances = [], [], []
    for _ in range(batches):
        e = with_floor(thompson(best_of_means(total / n, 1 / np.sqrt(n))), 0.04)
        picked = draw.choice(3, size, p=e)
        y = draw.normal(np.array(TRUTH)[picked], 1.0)
        arms.append(picked)
        outcomes.append(y)
        chances.append(np.tile(e, (size, 1)))
        n, total = n + np.bincount(picked, minlength=3), total + np.bincount(picked, weights=y, minlength=3)
    return np.concatenate(arms), np.concatenate(outcomes), np.concatenate(chances)


def test_the_intervals_hold_the_truth_and_the_mean_is_not_biased() -> None:
    draw = np.random.default_rng(1)
    held, held_difference, estimates, naive = 0, 0, [], []
    runs = 200
    for _ in range(runs):
        arms, outcomes, chances = _played(draw)
        given = scores(arms, outcomes, chances)
        first = arm_mean(given, 0)
        held += first.interval.low <= TRUTH[0] <= first.interval.high
        difference = arm_difference(given, 0, 2)
        held_difference += difference.interval.low <= 0.4 <= difference.interval.high
        estimates.append(first.value)
        naive.append(outcomes[arms == 0].mean())
    assert 0.89 <= held / runs <= 0.99
    assert 0.89 <= held_difference / runs <= 0.99
    assert np.mean(naive) < -0.02  # the plain mean of a losing arm is too low
    assert np.mean(estimates) > np.mean(naive) + 0.015


def test_with_even_probabilities_it_is_the_plain_comparison() -> None:
    draw = np.random.default_rng(2)
    arms = draw.integers(0, 2, 4000)
    outcomes = draw.normal(10 + 0.3 * arms, 1.0)
    found = arm_difference(scores(arms, outcomes, np.full((4000, 2), 0.5)), 0, 1)
    plain = outcomes[arms == 1].mean() - outcomes[arms == 0].mean()
    assert found.value == pytest.approx(plain, abs=0.02)
    assert found.error == pytest.approx(2 / math.sqrt(4000), rel=0.1)
    assert found.test is not None
    assert (found.test.p_value < 0.05) is (found.interval.low > 0 or found.interval.high < 0)


def test_a_score_uses_only_what_was_known_before() -> None:
    given = scores([0, 1, 0], [4.0, 2.0, 6.0], [[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]])
    # Arm 0: 0 + 4 / .5, then its mean so far 4, then 4 + (6 − 4) / .5. Arm 1: nothing known, 2 / .75, then 2.
    assert given.values == pytest.approx(np.array([[8.0, 0.0], [4.0, 2 / 0.75], [8.0, 2.0]]))
    assert given.weights == pytest.approx(np.sqrt([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]]))


@pytest.mark.parametrize(
    "refused",
    [
        lambda: scores([0], [1.0], [[0.5, 0.5]]),
        lambda: scores([0, 2], [1.0, 1.0], [[0.5, 0.5]] * 2),
        lambda: scores([0, 1], [1.0, math.nan], [[0.5, 0.5]] * 2),
        lambda: scores([0, 1], [1.0, 1.0], [[1.0, 0.0]] * 2),
        lambda: scores([0, 1], [1.0, 1.0], [[0.5, 0.6]] * 2),
        lambda: scores([0, 1], [1.0], [[0.5, 0.5]] * 2),
        lambda: arm_mean(scores([0, 1], [1.0, 2.0], [[0.5, 0.5]] * 2), 2),
        lambda: arm_mean(scores([0, 1], [0.0, 0.0], [[0.5, 0.5]] * 2), 0),
        lambda: arm_difference(scores([0, 1], [1.0, 2.0], [[0.5, 0.5]] * 2), 1, 1),
    ],
)
def test_what_cannot_be_estimated_is_an_error_and_not_a_p_of_1(refused) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError):
        refused()
