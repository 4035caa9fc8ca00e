"""The bet on discordant pairs against closed forms, numeric integrals and the exact chance that it ever wins by luck."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta

from core.stats.pairs import (
    PRIOR,
    difference_interval,
    log_capital,
    log_e_pairs,
    log_e_sides,
    relative_interval,
)

THRESHOLD = math.log(20)
COUNTS = st.integers(0, 400)


def test_the_whole_capital_is_the_published_closed_form() -> None:
    from scipy.special import betaln

    better, worse = (float(side) for side in log_e_sides(70, 40))
    whole = betaln(PRIOR + 70, PRIOR + 40) - betaln(PRIOR, PRIOR) + 110 * math.log(2)
    assert np.logaddexp(better, worse) - math.log(2) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("plus", "minus", "ties", "at"), [(7, 3, 20, 0.05), (60, 90, 300, -0.1), (0, 12, 5, 0.3)]
)
def test_the_capital_is_the_integral_over_all_bets(plus: int, minus: int, ties: int, at: float) -> None:
    def staked(theta: float) -> float:
        bet = (2 * theta - 1) / (1 + at)
        won = (1 + bet * (1 - at)) ** plus * (1 - bet * (1 + at)) ** minus * (1 - bet * at) ** ties
        return float(2 * won * beta.pdf(theta, PRIOR, PRIOR))

    oracle = quad(staked, 0.5, 1, epsabs=0, epsrel=1e-11, points=[0.55, 0.6, 0.7])[0]
    gains = [(1 - at) / (1 + at), -1.0, -at / (1 + at)]
    assert float(log_capital([plus, minus, ties], gains)) == pytest.approx(math.log(oracle), abs=1e-9)


def test_the_search_and_the_closed_form_agree_from_no_pairs_to_millions() -> None:
    counts = np.array(
        [[0, 0], [5, 3], [60, 100], [400, 0], [0, 400], [100_000, 100_400], [2_000_000, 1_990_000]]
    )
    found = log_capital(counts, np.array([1.0, -1.0]))
    assert found == pytest.approx(log_e_sides(counts[:, 0], counts[:, 1])[0], abs=1e-8)


def test_luck_wins_within_a_thousand_discordant_pairs_with_less_than_five_in_a_hundred() -> None:
    # Exact: the chance of every count that has not crossed yet, pair by pair.
    alive, crossed = np.ones(1), 0.0
    for total in range(1, 1001):
        alive = 0.5 * (np.append(alive, 0) + np.insert(alive, 0, 0))
        plus = np.arange(total + 1)
        over = log_e_pairs(plus, total - plus) >= THRESHOLD
        crossed += alive[over].sum()
        alive[over] = 0
    assert 0.01 < crossed < 0.05


@given(plus=COUNTS, minus=COUNTS, ties=COUNTS)
def test_the_interval_leaves_0_out_exactly_when_the_evidence_is_there(
    plus: int, minus: int, ties: int
) -> None:
    low, high = difference_interval(plus, minus, ties, THRESHOLD)
    shown = float(log_e_pairs(plus, minus)) >= THRESHOLD
    assert shown == (low > 0 or high < 0)
    assert -1 <= low <= high <= 1
    if plus + minus + ties:
        assert low <= (plus - minus) / (plus + minus + ties) <= high


@given(plus=COUNTS, minus=COUNTS, both=COUNTS)
def test_the_relative_interval_says_the_same_as_the_evidence(plus: int, minus: int, both: int) -> None:
    found = relative_interval(plus, minus, both, THRESHOLD)
    if found is None:
        # The control may have no success at all: a lift has no upper end then.
        assert minus + both < 60
        return
    shown = float(log_e_pairs(plus, minus)) >= THRESHOLD
    assert shown == (found[0] > 0 or found[1] < 0)


def test_the_ends_are_where_one_side_has_made_twice_the_threshold() -> None:
    low, high = difference_interval(500, 300, 4200, THRESHOLD)
    for at, counts in ((low, (500, 300, 4200)), (-high, (300, 500, 4200))):
        gains = [(1 - at) / (1 + at), -1.0, -at / (1 + at)]
        assert float(log_capital(counts, gains)) == pytest.approx(THRESHOLD + math.log(2), abs=1e-5)


def test_what_turns_round_turns_the_intervals_round() -> None:
    low, high = difference_interval(50, 20, 100, THRESHOLD)
    assert difference_interval(20, 50, 100, THRESHOLD) == pytest.approx((-high, -low))
    first, second = relative_interval(50, 20, 100, THRESHOLD) or (0, 0)
    turned = relative_interval(20, 50, 100, THRESHOLD) or (0, 0)
    assert turned == pytest.approx((1 / (1 + second) - 1, 1 / (1 + first) - 1))


def test_nothing_seen_bounds_nothing() -> None:
    assert difference_interval(0, 0, 0, THRESHOLD) == (-1, 1)
    assert relative_interval(0, 0, 0, THRESHOLD) is None
    assert relative_interval(30, 0, 0, THRESHOLD) is None
    # 2,000 ties: no bet has won or lost much, so that the difference is small.
    low, high = difference_interval(0, 0, 2000, THRESHOLD)
    assert -0.02 < low == -high < 0


def test_the_interval_holds_the_truth_at_all_times_in_95_of_100_runs() -> None:
    random = np.random.default_rng(8)
    control, treatment, ratio = 0.3, 0.36, 1.2
    held = 0
    for _ in range(200):
        y, z = random.random(1500) < treatment, random.random(1500) < control
        tallies = np.stack([(y & ~z).cumsum(), (z & ~y).cumsum(), (y & z).cumsum()], axis=-1)[::15]
        above = log_capital(tallies, [1 / ratio, -1.0, 1 / ratio - 1])
        below = log_capital(tallies[:, [1, 0, 2]], [ratio, -1.0, ratio - 1])
        held += bool((np.maximum(above, below) - math.log(2) < THRESHOLD).all())
    assert held / 200 >= 0.94


def test_evidence_beyond_the_range_of_doubles_stays_a_number() -> None:
    assert 500 < float(log_e_pairs(1000, 0)) < 1000 * math.log(2)
    assert math.isfinite(float(log_e_pairs(10**7, 0)))
