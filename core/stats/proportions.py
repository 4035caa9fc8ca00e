"""Shares with their intervals: one share, the difference of two on the same rows, a share of clustered parts.

Sources
- Wilson, E. B. (1927), JASA 22, 209–212: the score interval of one proportion.
- Newcombe, R. G. (1998), Statistics in Medicine 17, 2635–2650, method 10: the difference of two proportions
  of the same rows (hybrid score, with its correction of φ).
- Cochran, W. G. (1977), Sampling Techniques, §6.4 and §9A: variance of a ratio Σy/Σx over clusters.
- Korn, E. L. and Graubard, B. I. (1998), Survey Methodology 24, 193–201: effective size of a clustered sample,
  here put into Wilson's interval (Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3, 484–503).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: float, *, confidence: float = CONFIDENCE) -> Interval:
    """Share `successes / n` with Wilson's score interval. `n` may be an effective size, so need not be whole.

    Raises ValueError unless 0 ≤ successes ≤ n and n > 0.
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"a share needs 0 ≤ successes ≤ n and n > 0, got {successes} of {n}")
    z2 = critical_value(confidence) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # The ends are exactly 0 and 1 where nothing or everything succeeded; rounding must not move them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(share, low, high)


def paired_difference(
    both: int, only_first: int, only_second: int, neither: int, *, confidence: float = CONFIDENCE
) -> Interval:
    """Share of the second minus share of the first, both judged on the same rows. Newcombe (1998), method 10.

    `both`, `only_first`, `only_second`, `neither` count the rows where both, one or none succeeded.
    Raises ValueError for negative counts or no rows.
    """
    if min(both, only_first, only_second, neither) < 0:
        raise ValueError("counts of rows are not negative")
    n = both + only_first + only_second + neither
    first = wilson(both + only_first, n, confidence=confidence)
    second = wilson(both + only_second, n, confidence=confidence)
    phi = _phi(both, only_first, only_second, neither)
    down_1, up_1 = first.value - first.low, first.high - first.value
    down_2, up_2 = second.value - second.low, second.high - second.value
    difference = second.value - first.value
    below = math.sqrt(max(0.0, down_2**2 - 2 * phi * down_2 * up_1 + up_1**2))
    above = math.sqrt(max(0.0, up_2**2 - 2 * phi * up_2 * down_1 + down_1**2))
    return Interval(difference, max(-1.0, difference - below), min(1.0, difference + above))


def clustered_share(
    successes: Sequence[float], sizes: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval:
    """Share Σ successes / Σ sizes, where the parts of one cluster (the fields of a row) hang together.

    The interval is Wilson's with the effective size p(1−p)/v, v from the ratio estimator over clusters, and
    with Student's t for the few degrees of freedom of few clusters. Where v is 0 (all or nothing succeeded) the
    effective size is the number of clusters, as if the parts of a cluster always agreed.
    Raises ValueError when lengths differ, a cluster is impossible, or there is nothing to count.
    """
    if len(successes) != len(sizes) or any(not 0 <= y <= x for y, x in zip(successes, sizes, strict=False)):
        raise ValueError("each cluster needs 0 ≤ successes ≤ size")
    clusters = [(y, x) for y, x in zip(successes, sizes, strict=True) if x > 0]
    total = sum(x for _, x in clusters)
    if not clusters:
        raise ValueError("there is nothing to count")
    share = sum(y for y, _ in clusters) / total
    count = len(clusters)
    if count == 1 or share in (0.0, 1.0):
        return _at(share, float(count), confidence)
    variance = count / (count - 1) * sum((y - share * x) ** 2 for y, x in clusters) / total**2
    if variance == 0:
        return _at(share, float(count), confidence)
    effective = share * (1 - share) / variance
    effective *= (critical_value(confidence) / student_critical_value(confidence, count - 1)) ** 2
    return _at(share, min(effective, total), confidence)


def critical_value(confidence: float) -> float:
    """Two-sided critical value of the normal distribution: 1.96 for 0.95."""
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def student_critical_value(confidence: float, degrees: int) -> float:
    """Two-sided critical value of Student's t distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def _at(share: float, n: float, confidence: float) -> Interval:
    interval = wilson(min(share * n, n), n, confidence=confidence)
    return Interval(share, min(interval.low, share), max(interval.high, share))


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Correlation of the two outcomes, towards 0 by half a count each way where it is positive (Newcombe's note)."""
    n = both + only_first + only_second + neither
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    cross = both * neither - only_first * only_second
    corrected = max(cross - n / 2, 0.0) if cross > 0 else float(cross)
    return corrected / math.sqrt(margins)
