"""The sketch: its error on eighteen shapes of values, its sums, its bytes."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import IntegrityError
from core.stats.sketches import RELATIVE_ERROR, LogSketch

random = np.random.default_rng(20261102)
N = 20_001
SHAPES = {
    "uniform": random.uniform(1, 2, N),
    "narrow": random.uniform(100, 100.5, N),
    "exponential": random.exponential(30, N),
    "normal": np.abs(random.normal(200, 20, N)),
    "lognormal": random.lognormal(4, 0.5, N),
    "lognormal, wide": random.lognormal(0, 4, N),
    "pareto": random.pareto(0.7, N) + 1,
    "weibull": random.weibull(0.4, N),
    "gamma": random.gamma(0.3, 50, N),
    "beta": random.beta(0.5, 0.5, N),
    "two bumps": np.concatenate([random.normal(5, 0.1, N // 2), random.normal(5000, 10, N // 2 + 1)]),
    "one in a thousand is slow": np.where(random.random(N) < 1e-3, 60_000.0, random.normal(40, 1, N)),
    "all alike": np.full(N, 7.7),
    "whole numbers": random.integers(0, 50, N).astype(float),
    "zeros and more": np.where(random.random(N) < 0.4, 0.0, random.exponential(1, N)),
    "powers of two": 2.0 ** random.integers(-30, 30, N),
    "just below powers of two": np.nextafter(2.0 ** random.integers(-30, 30, N), 0),
    "logarithmic over 600 decades": 10.0 ** random.uniform(-300, 300, N),
}
values_of = st.lists(st.floats(0, 1.7976931348623157e308, allow_subnormal=False), min_size=1, max_size=60)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_quantile_is_within_one_percent_of_the_exact_one(shape: str) -> None:
    values = SHAPES[shape]
    sketch = LogSketch.of(values)
    qs = [0, 0.001, 0.01, 0.07, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1]
    exact = np.quantile(values, qs, method="inverted_cdf")
    for found, true in zip(sketch.quantiles(qs), exact, strict=True):
        assert abs(found - true) <= RELATIVE_ERROR * true * (1 + 1e-12)
    assert RELATIVE_ERROR < 0.01
    assert sketch.quantiles([0, 1]) == [values.min(), values.max()]


def test_the_error_of_the_proof_is_reached_at_the_end_of_a_counter_and_nowhere_exceeded() -> None:
    low, high = 1.0, math.nextafter(1 + 1 / 64, 0)
    sketch = LogSketch.of([low, low, low, high, 9.0])
    assert sketch.quantile(0.6) == pytest.approx(low * (1 + 1 / 129), rel=1e-12)


@given(values_of, st.floats(0, 1))
def test_any_values_have_their_order_statistics_within_the_error(values: list[float], q: float) -> None:
    sketch, rank = LogSketch.of(values), max(1, math.ceil(q * len(values) - 1e-9 * max(1.0, q * len(values))))
    true = sorted(values)[rank - 1]
    assert abs(sketch.quantile(q) - true) <= RELATIVE_ERROR * true * (1 + 1e-12)
    assert sketch.value_at_rank(rank) == sketch.quantile(q)
    low, high = sketch.bounds_at_rank(rank)
    assert low <= true <= high
    assert sum(value <= true for value in values) <= sketch.rank_at_most(true)


@given(st.lists(values_of, min_size=1, max_size=4))
def test_merging_in_any_order_and_grouping_gives_the_same_bytes(parts: list[list[float]]) -> None:
    whole = LogSketch.of([value for part in parts for value in part])
    sketches = [LogSketch.of(part) for part in parts]
    for order in itertools.permutations(sketches):
        assert LogSketch.merged(order).to_bytes() == whole.to_bytes()
        one_by_one = LogSketch()
        for each in order:
            one_by_one = one_by_one + each
        assert one_by_one == whole
        assert hash(one_by_one) == hash(whole)
    exact = sum(Fraction(value) for part in parts for value in part)
    assert Fraction(whole.units, 2**1074) == exact
    assert whole.mean == pytest.approx(float(exact / whole.count), rel=1e-15)


@given(st.lists(st.floats(0, 1.7976931348623157e308), max_size=60))
def test_bytes_are_read_back_as_they_were(values: list[float]) -> None:
    sketch = LogSketch.of(values)
    again = LogSketch.from_bytes(sketch.to_bytes())
    assert again == sketch
    assert again.buckets() == sketch.buckets()
    assert (again.count, again.zeros, again.units) == (sketch.count, sketch.zeros, sketch.units)


def test_the_exact_sum_of_many_values_does_not_depend_on_their_order() -> None:
    values = np.array([1e16, 1.0, 1e-9] * 1000)
    one, other = LogSketch.of(values), LogSketch.of(np.sort(values))
    assert one.sum == other.sum == float(Fraction(1e16) * 1000 + 1000 + Fraction(1e-9) * 1000)
    assert one == other


@pytest.mark.parametrize("wrong", [[-1.0], [math.nan], [1.0, math.nan], [math.inf], [-0.5, 2.0]])
def test_what_is_negative_infinite_or_no_number_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values that are not negative"):
        LogSketch.of(wrong)


def test_zeros_have_a_counter_of_their_own_and_what_is_smaller_than_every_normal_number_counts_as_zero() -> (
    None
):
    sketch = LogSketch.of([0.0, -0.0, 5e-324, 3.0])
    assert (sketch.zeros, sketch.count, sketch.minimum, sketch.maximum) == (3, 4, 0.0, 3.0)
    assert math.copysign(1, sketch.minimum) == 1
    assert [sketch.quantile(q) for q in (0.5, 0.75, 1)] == [0.0, 0.0, 3.0]
    assert sketch.rank_at_most(0.0) == 3


def test_nothing_has_no_quantile_and_adds_nothing() -> None:
    nothing = LogSketch()
    assert LogSketch.of([]) == nothing == LogSketch.from_bytes(nothing.to_bytes()) == LogSketch.merged([])
    assert (nothing + LogSketch.of([4.0])).quantile(0.5) == 4.0
    assert math.isnan(nothing.mean)
    assert (nothing.sum, nothing.rank_at_most(9.0), nothing.buckets()) == (0.0, 0, [])
    with pytest.raises(ValueError, match="no values"):
        nothing.quantile(0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        LogSketch.of([1.0]).quantile(1.1)
    with pytest.raises(ValueError, match="between 1 and 1"):
        LogSketch.of([1.0]).value_at_rank(2)


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x02" + b"\0" * 60])
def test_bytes_that_are_no_sketch_are_refused(damage: bytes) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        LogSketch.from_bytes(damage)


@pytest.mark.parametrize("cut", [1, 3])
def test_bytes_with_an_end_missing_or_a_count_changed_are_refused(cut: int) -> None:
    whole = LogSketch.of([1.0, 2.0, 3.0]).to_bytes()
    for damaged in (whole[:-cut], whole + b"\0", whole[:-1] + b"\x07"):
        with pytest.raises(IntegrityError):
            LogSketch.from_bytes(damaged)


def test_a_sketch_cannot_be_changed() -> None:
    sketch = LogSketch.of([1.0])
    with pytest.raises(ValueError, match="read-only"):
        sketch.counts[0] = 5


@given(st.lists(values_of, max_size=4))
def test_bytes_of_many_are_read_together_as_one_by_one(parts: list[list[float]]) -> None:
    sketches = [LogSketch.of(part) for part in parts]
    assert LogSketch.merged_bytes([each.to_bytes() for each in sketches]) == LogSketch.merged(sketches)


def test_the_variance_is_that_of_the_values_to_the_width_of_a_counter() -> None:
    values = np.append(random.gamma(3, 40, 4000), np.zeros(100))
    assert LogSketch.of(values).variance == pytest.approx(values.var(ddof=1), rel=5e-3)
    assert LogSketch.of([3.0]).variance == LogSketch().variance == 0.0
