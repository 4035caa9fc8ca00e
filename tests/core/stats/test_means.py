"""The mean over clusters against numbers worked out by hand and against a simulation."""

import math
import random

import pytest

from core.stats.means import ratio_mean


def test_a_mean_of_clusters_of_one_is_the_mean_with_students_interval() -> None:
    # 1, 2, 3, 4: mean 2.5, variance 5/3, error sqrt(5/12) = 0.6455; t of 3 degrees is 3.1824.
    found = ratio_mean([1, 2, 3, 4], [1, 1, 1, 1])
    assert found.value == 2.5
    assert found.low == pytest.approx(2.5 - 3.182446 * 0.6454972, abs=1e-5)
    assert found.high == pytest.approx(2.5 + 3.182446 * 0.6454972, abs=1e-5)


def test_large_clusters_count_for_more() -> None:
    # 10 in 10 and 0 in 30: mean 0.25. Residuals 7.5 and -7.5: 2 * 112.5 / 1600, error 0.375; t of 1 degree is 12.706.
    found = ratio_mean([10, 0], [10, 30])
    assert found.value == 0.25
    assert found.high - found.value == pytest.approx(12.7062 * 0.375, abs=1e-3)


def test_clusters_that_agree_have_no_width_and_differences_may_be_negative() -> None:
    found = ratio_mean([-2.0, -4.0, -6.0], [1, 2, 3])
    assert (found.value, found.low, found.high) == (-2.0, -2.0, -2.0)


@pytest.mark.parametrize(
    ("totals", "sizes"),
    [([1.0], [1]), ([], []), ([1.0, 2.0], [1]), ([1.0, 2.0], [1, 0]), ([1.0, math.nan], [1, 1])],
)
def test_what_has_no_interval_is_refused(totals: list[float], sizes: list[float]) -> None:
    with pytest.raises(ValueError, match="cluster"):
        ratio_mean(totals, sizes)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(600):
        sizes = [draw.randint(5, 40) for _ in range(40)]
        surprise = [draw.gauss(2.0, 0.5) for _ in sizes]
        found = ratio_mean([s * n for s, n in zip(surprise, sizes, strict=True)], sizes)
        held += found.low <= 2.0 <= found.high
    assert 0.92 <= held / 600 <= 0.98
