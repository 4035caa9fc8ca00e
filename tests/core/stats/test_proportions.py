import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stats.proportions import clustered_share, critical_value, paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, 857–872, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_published_one(successes: int, n: int, low: float, high: float) -> None:
    interval = wilson(successes, n)
    assert interval.value == successes / n
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_wilsons_interval_agrees_with_scipy() -> None:
    from scipy.stats import binomtest

    for successes, n in [(0, 1), (1, 1), (7, 9), (149, 150), (150, 150)]:
        oracle = binomtest(successes, n).proportion_ci(0.95, method="wilson")
        ours = wilson(successes, n)
        assert (ours.low, ours.high) == (pytest.approx(oracle.low), pytest.approx(oracle.high))


def test_the_paired_difference_is_newcombes_square_and_add_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur et al. 2009), 1/1/7/12: Fagerland,
    # Lydersen and Laake, Statistical Analysis of Contingency Tables (2017), chapter 8: −0.507 to −0.026.
    change = paired_difference(1, 1, 7, 12)
    assert change.value == pytest.approx(6 / 21)
    assert (change.low, change.high) == (pytest.approx(0.026, abs=5e-4), pytest.approx(0.507, abs=5e-4))


def test_the_paired_difference_turns_round_with_its_sides() -> None:
    one, other = paired_difference(3, 1, 12, 9), paired_difference(3, 12, 1, 9)
    assert one.value == -other.value
    assert (one.low, one.high) == (pytest.approx(-other.high), pytest.approx(-other.low))


def test_no_discordant_rows_still_leave_doubt() -> None:
    same = paired_difference(100, 0, 0, 50)
    assert same.value == 0
    assert same.low < 0 < same.high


def test_the_interval_of_the_paired_difference_covers_the_truth_in_95_of_100_samples() -> None:
    random = np.random.default_rng(11)
    chances = (0.25, 0.03, 0.55, 0.17)
    truth = chances[2] - chances[1]
    tables = random.multinomial(150, chances, size=1500)
    covered = sum(i.low <= truth <= i.high for i in (paired_difference(*map(int, t)) for t in tables))
    assert 0.935 <= covered / 1500 <= 0.975


def test_the_clustered_share_counts_parts_of_rows_that_hang_together() -> None:
    # Rows that are wholly right or wholly wrong carry no more knowledge than one outcome per row.
    together = clustered_share([10] * 30 + [0] * 10, [10] * 40)
    apart = clustered_share([7, 8] * 20, [10] * 40)
    assert together.value == apart.value == 0.75
    rows = wilson(30, 40)
    assert together.high - together.low == pytest.approx(rows.high - rows.low, rel=0.1)
    assert apart.high - apart.low < 0.5 * (together.high - together.low)


def test_the_clustered_share_covers_the_truth_in_95_of_100_samples() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for _ in range(1500):
        sizes = random.integers(6, 13, size=80)
        chances = random.beta(6, 1.5, size=80)  # rows differ: the mean share is 0.8
        interval = clustered_share(random.binomial(sizes, chances).tolist(), sizes.tolist())
        covered += interval.low <= 0.8 <= interval.high
    assert 0.93 <= covered / 1500 <= 0.98


def test_all_right_is_as_sure_as_the_number_of_rows_allows() -> None:
    interval = clustered_share([9] * 50, [9] * 50)
    assert interval.high == 1.0
    assert interval.low == pytest.approx(wilson(50, 50).low)


def test_a_row_without_parts_counts_for_nothing() -> None:
    assert clustered_share([3, 0, 5], [4, 0, 5]) == clustered_share([3, 5], [4, 5])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40))
def test_a_clustered_share_lies_in_its_interval_and_that_between_0_and_1(
    pairs: list[tuple[int, int]],
) -> None:
    clusters = [(min(pair), max(pair)) for pair in pairs]
    if all(size == 0 for _, size in clusters):
        return
    interval = clustered_share(*map(list, zip(*clusters, strict=True)))
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(lambda counts: sum(counts) > 0))
def test_a_paired_difference_lies_in_its_interval(counts: tuple[int, int, int, int]) -> None:
    interval = paired_difference(*counts)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1


def test_impossible_counts_are_refused() -> None:
    for successes, n in [(1, 0), (3, 2), (-1, 4)]:
        with pytest.raises(ValueError):
            wilson(successes, n)
    for counts in itertools.permutations([1, 1, 1, -1]):
        with pytest.raises(ValueError):
            paired_difference(*counts)
    for successes, sizes in [([2], [1]), ([1], [1, 2]), ([], []), ([0], [0])]:
        with pytest.raises(ValueError):
            clustered_share(successes, sizes)
    with pytest.raises(ValueError):
        critical_value(1.0)
