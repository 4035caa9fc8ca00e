import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stats.proportions import (
    chi_square,
    clopper_pearson,
    clustered_share,
    critical_value,
    fisher_exact,
    paired_difference,
    share_difference,
    share_z,
    wilson,
    z_test,
)
from core.stats.tails import Side


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


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    # Newcombe (1998b), Statistics in Medicine 17, 873–890, table II, method 10 (p₁ − p₂, so `other` comes first here).
    [
        ((48, 80), (56, 70), 0.0524, 0.3339),
        ((3, 10), (9, 10), 0.1705, 0.8090),
        ((2, 7), (6, 7), 0.0582, 0.8062),
        ((0, 29), (5, 56), -0.0381, 0.1926),
        ((0, 20), (0, 10), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((0, 20), (10, 10), 0.6791, 1.0),
        ((0, 10), (10, 10), 0.6075, 1.0),
    ],
)
def test_the_difference_of_two_shares_is_newcombes(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = share_difference(*one, *other)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, 857–872, table I, method 5.
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_the_exact_interval_is_the_published_one(successes: int, n: int, low: float, high: float) -> None:
    interval = clopper_pearson(successes, n)
    assert (interval.low, interval.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_exact_interval_agrees_with_scipy_and_keeps_small_ends_exact() -> None:
    from scipy.stats import binomtest

    for successes, n in [(0, 1), (1, 1), (7, 9), (149, 150), (3, 10_000_000)]:
        oracle = binomtest(successes, n).proportion_ci(0.95, method="exact")
        ours = clopper_pearson(successes, n)
        assert (ours.low, ours.high) == (
            pytest.approx(oracle.low, rel=1e-9),
            pytest.approx(oracle.high, rel=1e-9),
        )


def test_chi_square_is_rs_prop_test() -> None:
    # R: prop.test(c(15, 25), c(50, 50)) gives X-squared = 3.375, p = 0.06619; correct = FALSE: 4.1667, p = 0.04123.
    with_correction = chi_square([15, 25], [50, 50], continuity=True)
    assert with_correction.statistic == pytest.approx(3.375)
    assert with_correction.p_value == pytest.approx(0.06619, abs=1e-5)
    plain = chi_square([15, 25], [50, 50])
    assert (plain.statistic, plain.p_value) == (pytest.approx(4.166667), pytest.approx(0.04123, abs=1e-5))
    # R's smokers: prop.test(c(83, 90, 129, 70), c(86, 93, 136, 82)) gives 12.6, df = 3, p = 0.005585.
    smokers = chi_square([83, 90, 129, 70], [86, 93, 136, 82])
    assert (smokers.degrees, smokers.p_value) == (3, pytest.approx(0.005585, abs=1e-6))


def test_an_arm_without_rows_takes_no_degree_of_freedom() -> None:
    assert chi_square([15, 0, 25], [50, 0, 50]) == chi_square([15, 25], [50, 50])


def test_z_squared_is_chi_square_and_whole_arrays_agree_with_one_table() -> None:
    z = z_test(15, 50, 25, 50)
    assert z.statistic**2 == pytest.approx(chi_square([15, 25], [50, 50]).statistic)
    assert z.p_value == pytest.approx(chi_square([15, 25], [50, 50]).p_value)
    assert z_test(15, 50, 25, 50, side=Side.GREATER).p_value == pytest.approx(z.p_value / 2)
    many = share_z([15, 0, 5], 50, [25, 0, 5], [50, 50, 50])
    assert many[0] == pytest.approx(z.statistic)
    assert np.isnan(many[1])
    assert many[2] == 0


def test_a_p_value_of_shares_far_apart_is_small_and_not_0() -> None:
    # 900 of 1000 against 100 of 1000: z = −35.777; scipy's tail gives the p-value.
    from scipy.stats import norm

    found = z_test(900, 1000, 100, 1000)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(found.statistic)), rel=1e-10)
    assert 0 < found.p_value < 1e-200
    farther = z_test(9_000, 10_000, 1_000, 10_000)
    assert farther.p_value > 0
    assert farther.log_p == pytest.approx(np.log(2) + norm.logsf(abs(farther.statistic)), rel=1e-10)


@pytest.mark.parametrize(
    ("table", "p"),
    # Fisher's tea (R: fisher.test(matrix(c(3, 1, 1, 3), 2)): 0.4857; one side 0.2429); Agresti's job table.
    [((1, 4, 3, 4), 0.4857143), ((2, 17, 10, 13), None), ((0, 12, 6, 15), None), ((40, 900, 90, 1000), None)],
)
def test_fishers_test_is_scipys(table: tuple[int, int, int, int], p: float | None) -> None:
    from scipy.stats import fisher_exact as oracle

    y1, n1, y2, n2 = table
    counts = [[y2, n2 - y2], [y1, n1 - y1]]
    for side, name in ((Side.BOTH, "two-sided"), (Side.GREATER, "greater"), (Side.LESS, "less")):
        ours = fisher_exact(y1, n1, y2, n2, side=side)
        assert ours.p_value == pytest.approx(oracle(counts, alternative=name).pvalue, rel=1e-9)
    if p is not None:
        assert fisher_exact(*table).p_value == pytest.approx(p, abs=1e-6)


def test_fishers_p_value_is_exact_far_out() -> None:
    # All of 600 against none of 600: two tables are that unlikely, each with the chance 1 / C(1200, 600).
    from math import comb, log

    found = fisher_exact(0, 600, 600, 600)
    assert found.log_p == pytest.approx(log(2) - log(comb(1200, 600)), rel=1e-12)
    assert found.p_value > 0
    smaller = fisher_exact(0, 490, 490, 490, side=Side.GREATER)
    assert smaller.p_value == pytest.approx(1 / comb(980, 490), rel=1e-10)  # 2.5e-294


def test_where_nothing_can_be_tested_is_an_error_and_not_a_p_of_1() -> None:
    for refused in (
        lambda: z_test(0, 10, 0, 12),
        lambda: z_test(10, 10, 12, 12),
        lambda: chi_square([0, 0], [5, 5]),
        lambda: chi_square([1, 0], [5, 0]),
        lambda: chi_square([6, 1], [5, 5]),
        lambda: fisher_exact(3, 2, 1, 2),
        lambda: fisher_exact(5 * 10**8, 10**9, 5 * 10**8, 10**9),
        lambda: share_difference(1, 0, 1, 2),
        lambda: clopper_pearson(1, 0),
        lambda: clopper_pearson(1, 2, confidence=1.0),
    ):
        with pytest.raises(ValueError):
            refused()
    # Only one table has these margins: its chance is 1, exactly.
    assert fisher_exact(0, 10, 0, 12).p_value == pytest.approx(1.0)


def test_shares_do_not_load_scipy_until_they_need_it() -> None:
    import subprocess
    import sys

    code = "import sys, core.stats.proportions; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
