"""Sums over units: what they cannot hold is refused, and is never taken for certainty."""

import math

import numpy as np
import pytest

from core.stats.moments import UnitSums


def test_the_variance_of_units_of_one_request_is_the_sample_variance() -> None:
    values = [3.0, 5.0, 8.0, 13.0]
    assert UnitSums.of(values).unit_variance == pytest.approx(np.var(values, ddof=1))


def test_numbers_whose_squares_are_beyond_all_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        UnitSums.of([1e200, 1.0])
    with pytest.raises(ValueError, match="finite"):
        UnitSums.of([math.inf, 1.0])


def test_sums_that_are_no_numbers_have_no_variance() -> None:
    # A variance of 0 would be an interval of no width.
    assert math.isnan(UnitSums(3, 1e308, math.inf, 3, 3, 1e308).unit_variance)
