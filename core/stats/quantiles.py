"""Quantiles with intervals that suppose nothing about the shape of the values, and their difference between arms.

Sources
- David, H. A. and Nagaraja, H. N. (2003), Order Statistics, §7.1: P(X_(l) ≤ ξ_q < X_(u)) from the binomial distribution.
- Woodruff, R. S. (1952), JASA 47, 635–646: an interval of the share below, carried back to values; here with the share's
  variance over clusters by the ratio estimator (Cochran 1977, §6.4) put into an effective size (Korn and Graubard 1998).
- Zou, G. Y. and Donner, A. (2008), Statistics in Medicine 27, 1693–1702, eq. (5): the difference of two estimates from
  their own intervals, which need not be symmetric.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.stats.proportions import CONFIDENCE, Interval
from core.stats.ratios import student_quantile


@dataclass(frozen=True, slots=True)
class Sample:
    """Sorted values (ascending) and the effective number of independent ones for the quantile that is asked for."""

    values: NDArray[np.float64]
    effective: float


@dataclass(frozen=True, slots=True)
class QuantileDifference:
    """Treatment's quantile minus the control's; `p_value` is below 1 − confidence exactly where 0 lies outside."""

    control: Interval
    treatment: Interval
    interval: Interval
    p_value: float


def order_ranks(n: int, q: float, *, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Ranks l, u (from 1) so that the q-quantile lies between the l-th and the u-th of n sorted values.

    Each side misses with at most (1 − confidence) / 2. l = 0 or u = n + 1: so few values do not bound it there.
    Raises ValueError unless n ≥ 1 and 0 < q < 1.
    """
    _check(q, confidence)
    if n < 1:
        raise ValueError("a quantile needs one value or more")
    tail = (1 - confidence) / 2
    # The low rank of q is the high rank of 1 − q counted from the other end.
    return n + 1 - _upper_rank(n, 1 - q, tail), _upper_rank(n, q, tail)


def quantile_rank(n: int, q: float) -> int:
    """Rank (from 1) of the sample's q-quantile: the smallest value with a share q or more at or below it."""
    _check(q, CONFIDENCE)
    # A product such as 0.07 · 100 may lie a rounding above the whole number that it means.
    return min(n, max(1, math.ceil(q * n - 1e-9 * max(1.0, q * n))))


def quantile_interval(values: Sequence[float], q: float, *, confidence: float = CONFIDENCE) -> Interval:
    """The q-quantile of independent values with its order-statistic interval; an end may be infinite.

    Raises ValueError for no values, for one that is not finite, and unless 0 < q < 1.
    """
    return _interval(sample(values, q), q, confidence)


def clustered_quantile_interval(
    values: Sequence[float], units: Sequence[object], q: float, *, confidence: float = CONFIDENCE
) -> Interval:
    """The q-quantile of values that hang together within units. `units` names the unit of each value.

    Raises ValueError as `quantile_interval`, for unequal lengths and below two units.
    """
    return _interval(sample(values, q, units, confidence=confidence), q, confidence)


def sample(
    values: Sequence[float],
    q: float,
    units: Sequence[object] | None = None,
    *,
    confidence: float = CONFIDENCE,
) -> Sample:
    """Values made ready for intervals of their q-quantile; with `units`, their effective number by Woodruff's way."""
    _check(q, confidence)
    given: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or given.size == 0 or not np.isfinite(given).all():
        raise ValueError("a quantile needs one finite value or more")
    ordered = np.sort(given)
    if units is None:
        return Sample(ordered, float(given.size))
    if len(units) != given.size:
        raise ValueError("each value needs the name of its unit")
    codes = np.unique(np.asarray(units), return_inverse=True)[1]
    sizes: NDArray[np.float64] = np.bincount(codes).astype(np.float64)
    if sizes.size < 2:
        raise ValueError("an interval over units needs two units or more")
    at = ordered[quantile_rank(given.size, q) - 1]
    below = np.bincount(codes, weights=(given <= at).astype(np.float64))
    return Sample(ordered, _effective(np.asarray(below, dtype=np.float64), sizes, confidence))


def quantile_difference(
    control: Sample, treatment: Sample, q: float, *, confidence: float = CONFIDENCE
) -> QuantileDifference:
    """Treatment's q-quantile minus the control's, on values of their own (eq. 5).

    The p-value is where the interval at that confidence just leaves 0 out, so both always say the same. Order
    statistics come in steps, and so does it. Raises ValueError as `quantile_interval`.
    """
    low_q, high_q = _interval(control, q, confidence), _interval(treatment, q, confidence)
    found = _square_and_add(low_q, high_q)
    return QuantileDifference(low_q, high_q, found, _p_value(control, treatment, q, confidence, found))


def _square_and_add(control: Interval, treatment: Interval) -> Interval:
    value = treatment.value - control.value
    below = math.hypot(treatment.value - treatment.low, control.high - control.value)
    above = math.hypot(treatment.high - treatment.value, control.value - control.low)
    return Interval(value, value - below, value + above)


def _p_value(control: Sample, treatment: Sample, q: float, confidence: float, found: Interval) -> float:
    """Bisection over ln α: intervals of rising confidence lie in each other, so that there is one place to find."""

    def excludes(alpha: float) -> bool:
        at = _square_and_add(_interval(control, q, 1 - alpha), _interval(treatment, q, 1 - alpha))
        return at.low > 0 or at.high < 0

    alpha = 1 - confidence
    out = found.low > 0 or found.high < 0
    low, high = (math.log(1e-15), math.log(alpha)) if out else (math.log(alpha), 0.0)
    if out and excludes(math.exp(low)):
        return math.exp(low)  # confidence is a float below 1: no smaller p can be told by this method
    if not out and not excludes(1 - 1e-12):
        return 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if excludes(math.exp(middle)):
            high = middle
        else:
            low = middle
    return math.exp(low)


def _interval(given: Sample, q: float, confidence: float) -> Interval:
    """Ranks for the effective number, spread over the values that are there."""
    n = given.values.size
    whole = max(1, min(n, math.floor(given.effective)))
    low, high = order_ranks(whole, q, confidence=confidence)
    at_low = math.floor(low / whole * n) if low >= 1 else 0
    at_high = math.ceil(high / whole * n) if high <= whole else n + 1
    value = float(given.values[quantile_rank(n, q) - 1])
    down = float(given.values[at_low - 1]) if at_low >= 1 else -math.inf
    up = float(given.values[at_high - 1]) if at_high <= n else math.inf
    return Interval(value, min(down, value), max(up, value))


def _effective(below: NDArray[np.float64], sizes: NDArray[np.float64], confidence: float) -> float:
    """q(1−q)/v at the sample's quantile, less for few units (t for z), never more than there are values."""
    clusters, total = sizes.size, float(sizes.sum())
    share = float(below.sum()) / total
    residual = below - share * sizes
    variance = clusters / (clusters - 1) * float(residual @ residual) / total**2
    if variance <= 0 or share >= 1:
        return float(clusters)
    few = student_quantile(confidence, math.inf) / student_quantile(confidence, clusters - 1)
    return min(total, share * (1 - share) / variance * few**2)


def _upper_rank(n: int, q: float, tail: float) -> int:
    """Smallest u with P(B ≥ u) ≤ tail for B binomial(n, q): then the u-th value is too low with no more than that."""
    from scipy.special import bdtrik, betainc

    low, high = 0, n + 1  # P(B ≥ 0) is 1 and P(B ≥ n + 1) is 0
    guess = float(bdtrik(1 - tail, n, q))
    near = [] if math.isnan(guess) else [math.floor(guess) + step for step in (1, 2, 0)]
    while high - low > 1:
        u = near.pop(0) if near else (low + high) // 2
        if not low < u < high:
            continue
        if betainc(u, n - u + 1, q) <= tail:  # P(B ≥ u)
            high = u
        else:
            low = u
    return high


def _check(q: float, confidence: float) -> None:
    if not 0 < q < 1:
        raise ValueError(f"a quantile lies between 0 and 1, got {q}")
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")
