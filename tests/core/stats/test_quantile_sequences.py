"""Quantile sequences: the exact chance of a false finding, brute force over all places, ties and no values."""

import math

import numpy as np
import pytest

from core.stats.quantile_sequences import log_martingale, quantile_contrast
from core.stats.sketches import LogSketch

THRESHOLD = math.log(20)
RANDOM = np.random.default_rng(12)


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_the_true_quantile_is_ever_refused_with_less_than_five_in_a_hundred(q: float) -> None:
    # Exact: counts at or below the true quantile are a walk of chance q.
    alive, crossed = np.ones(1), 0.0
    for total in range(1, 1001):
        alive = np.append(alive * (1 - q), 0) + np.insert(alive * q, 0, 0)
        k = np.arange(total + 1)
        over = log_martingale(k, k, total, q) >= THRESHOLD
        crossed += alive[over].sum()
        alive[over] = 0
    assert 0.005 < crossed < 0.05


def test_the_expectation_of_the_next_step_is_what_is_there() -> None:
    for n, k in ((0, 0), (40, 30), (500, 490)):
        now = float(log_martingale(k, k, n, 0.9))
        up, stay = (float(log_martingale(k + d, k + d, n + 1, 0.9)) for d in (1, 0))
        assert 0.9 * math.exp(up) + 0.1 * math.exp(stay) == pytest.approx(math.exp(now), rel=1e-10)


def test_the_interval_of_the_difference_is_what_the_kept_pairs_differ_by() -> None:
    found = quantile_contrast(
        LogSketch.of(RANDOM.exponential(30, 400)), LogSketch.of(RANDOM.exponential(50, 300)), 0.8
    )
    kept = [
        (i, j)
        for i in range(found.low.size)
        for j in range(found.low.size)
        if found.log_m[i] + found.control_log_m[j] < THRESHOLD
    ]
    low, high = found.difference(THRESHOLD)
    assert low == pytest.approx(min(found.low[i] - found.high[j] for i, j in kept))
    assert high == pytest.approx(max(found.high[i] - found.low[j] for i, j in kept))
    relative = found.relative(THRESHOLD)
    assert relative is not None
    assert relative[0] == pytest.approx(min(found.low[i] / found.high[j] for i, j in kept) - 1)


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.1, 1.25, 1.6])
def test_the_interval_leaves_0_out_exactly_when_the_evidence_is_there(factor: float) -> None:
    values = np.exp(RANDOM.normal(5, 0.6, (2, 2500)))
    found = quantile_contrast(LogSketch.of(values[0] * factor), LogSketch.of(values[1]), 0.9)
    low, high = found.difference(THRESHOLD)
    assert (found.log_e >= THRESHOLD) == (low > 0 or high < 0)
    relative = found.relative(THRESHOLD)
    assert relative is not None
    assert (relative[0] > 0, relative[1] < 0) == (low > 0, high < 0)


def test_it_is_narrower_than_two_intervals_of_half_the_error_each() -> None:
    values = np.exp(RANDOM.normal(5, 0.6, (2, 4000)))
    found = quantile_contrast(*(LogSketch.of(row) for row in values), 0.95)
    half = math.log(40)
    own, control = (np.flatnonzero(logs < half) for logs in (found.log_m, found.control_log_m))
    apart = (found.high[own[-1]] - found.low[control[0]]) - (found.low[own[0]] - found.high[control[-1]])
    low, high = found.difference(THRESHOLD)
    assert high - low < 0.95 * apart


def test_ties_are_no_evidence_and_neither_is_nothing() -> None:
    same = LogSketch.of(np.full(5000, 20.0))
    assert quantile_contrast(same, same, 0.5).log_e <= 0
    for pair in (
        (LogSketch(), LogSketch()),
        (LogSketch(), same),
        (LogSketch.of([3.0]), LogSketch.of([900.0])),
    ):
        found = quantile_contrast(*pair, 0.95)
        assert found.log_e <= 0
        assert found.difference(THRESHOLD)[1] == math.inf
        assert found.relative(THRESHOLD) is None


def test_many_values_of_few_units_count_as_few() -> None:
    slow, fast = LogSketch.of(RANDOM.exponential(80, 6000)), LogSketch.of(RANDOM.exponential(50, 6000))
    alone = quantile_contrast(slow, fast, 0.5).log_e
    clustered = quantile_contrast(slow, fast, 0.5, (60.0, 60.0)).log_e
    assert alone > 50
    assert clustered < THRESHOLD


def test_arms_that_answered_the_same_requests_share_their_evidence() -> None:
    slow, fast = LogSketch.of(RANDOM.exponential(80, 3000)), LogSketch.of(RANDOM.exponential(50, 3000))
    apart, together = (quantile_contrast(slow, fast, 0.5, independent=flag).log_e for flag in (True, False))
    assert THRESHOLD < together < apart


def test_a_quantile_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_contrast(LogSketch(), LogSketch(), 1.0)
