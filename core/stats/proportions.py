"""Shares with their intervals and tests: one share, the difference of two (on the same rows or on others), a share of
clustered parts.

Sources
- Wilson, E. B. (1927), JASA 22, 209–212: the score interval of one proportion.
- Newcombe, R. G. (1998), Statistics in Medicine 17, 2635–2650, method 10: the difference of two proportions
  of the same rows (hybrid score, with its correction of φ).
- Cochran, W. G. (1977), Sampling Techniques, §6.4 and §9A: variance of a ratio Σy/Σx over clusters.
- Korn, E. L. and Graubard, B. I. (1998), Survey Methodology 24, 193–201: effective size of a clustered sample,
  here put into Wilson's interval (Dean and Pagano 2015, Journal of Survey Statistics and Methodology 3, 484–503).
- Newcombe, R. G. (1998b), Statistics in Medicine 17, 873–890, method 10: the difference of two independent shares.
- Clopper, C. J. and Pearson, E. S. (1934), Biometrika 26, 404–413: the exact interval of one share.
- Pearson, K. (1900), Philosophical Magazine 50, 157–175: chi-square, here of successes and failures in arms.
- Fisher, R. A. (1935), JRSS 98, 39–54: the exact test; both sides as R's fisher.test counts them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from core.stats.tails import Side, Significance, log_chi_square_tail, normal_test, significance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MOST_TABLES = 20_000_000  # of Fisher's exact test, each weighed


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


def clopper_pearson(successes: int, n: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Share with the exact interval, which never covers less often than it says (and mostly covers more often).

    Raises ValueError unless 0 ≤ successes ≤ n and n > 0.
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"a share needs 0 ≤ successes ≤ n and n > 0, got {successes} of {n}")
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")
    from scipy.special import betainccinv, betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    # From the upper tail itself, so that an end near 0 keeps its digits.
    high = 1.0 if successes == n else float(betainccinv(successes + 1, n - successes, tail))
    return Interval(successes / n, low, high)


def share_difference(
    successes_1: float, n_1: float, successes_2: float, n_2: float, *, confidence: float = CONFIDENCE
) -> Interval:
    """Share of the second minus share of the first, on rows of their own. Newcombe (1998b), method 10.

    Raises ValueError unless 0 ≤ successes ≤ n and n > 0 on both sides.
    """
    first = wilson(successes_1, n_1, confidence=confidence)
    second = wilson(successes_2, n_2, confidence=confidence)
    difference = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return Interval(difference, max(-1.0, difference - below), min(1.0, difference + above))


def share_z(
    successes_1: "ArrayLike", n_1: "ArrayLike", successes_2: "ArrayLike", n_2: "ArrayLike"
) -> "NDArray[np.float64]":
    """Pooled z of the second share minus the first, for whole arrays of tables at once; its square is chi-square.

    Not a number where everything or nothing succeeded in both, or a side is empty: there is no test then.
    """
    import numpy as np

    a, n, b, m = (np.asarray(part, dtype=np.float64) for part in (successes_1, n_1, successes_2, n_2))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (a + b) / (n + m)
        spread = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        z: NDArray[np.float64] = np.where(spread > 0, (b / m - a / n) / spread, np.nan)
    return z


def z_test(successes_1: int, n_1: int, successes_2: int, n_2: int, *, side: Side = Side.BOTH) -> Significance:
    """Whether the second share is unlike (above, below) the first; pooled variance. One look only.

    Raises ValueError for impossible counts, and where all or none succeeded on both sides: nothing can be tested.
    """
    _check_table((successes_1, successes_2), (n_1, n_2))
    return normal_test(float(share_z(successes_1, n_1, successes_2, n_2)), side)


def chi_square(successes: Sequence[int], sizes: Sequence[int], *, continuity: bool = False) -> Significance:
    """Pearson's chi-square that all arms have one share, with arms − 1 degrees of freedom. One look only.

    Arms of size 0 do not count. `continuity` is Yates's correction, for two arms (as R's prop.test does by default).
    Raises ValueError for impossible counts, fewer than two arms, or where all or none succeeded everywhere.
    """
    arms = [(y, n) for y, n in zip(successes, sizes, strict=True) if n != 0]
    if len(arms) < 2:
        raise ValueError("a comparison of shares needs two arms with rows or more")
    _check_table([y for y, _ in arms], [n for _, n in arms])
    pooled = sum(y for y, _ in arms) / sum(n for _, n in arms)
    gaps = [abs(y - n * pooled) for y, n in arms]
    if continuity and len(arms) == 2:
        gaps = [gap - min(0.5, *gaps) for gap in gaps]
    statistic = math.fsum(
        gap * gap / (n * pooled * (1 - pooled)) for gap, (_, n) in zip(gaps, arms, strict=True)
    )
    degrees = len(arms) - 1
    return significance(statistic, degrees, log_chi_square_tail(statistic, degrees))


def fisher_exact(
    successes_1: int, n_1: int, successes_2: int, n_2: int, *, side: Side = Side.BOTH
) -> Significance:
    """Fisher's exact test of the second share against the first; its statistic is the odds ratio of the table.

    Both sides: all tables that are no more likely than this one, as R's fisher.test counts. The likelihoods come from
    the ratios of neighbours, so that p is right to 1e-300 and has a logarithm below. Where all or none succeeded on
    both sides only one table is possible and p is 1, which is its exact value.
    Raises ValueError for impossible counts, and for more than 20 million possible tables.
    """
    import numpy as np
    from scipy.special import logsumexp

    _check_table((successes_1, successes_2), (n_1, n_2), degenerate=True)
    total = successes_1 + successes_2
    low, high = max(0, total - n_1), min(total, n_2)
    if high - low > MOST_TABLES:
        raise ValueError("the exact test is for smaller counts; with these chi-square says the same")
    k = np.arange(low, high, dtype=np.float64)
    steps = np.log((total - k) * (n_2 - k)) - np.log((k + 1) * (n_1 - total + k + 1))
    log_weight = np.concatenate(([0.0], np.cumsum(steps)))
    here = successes_2 - low
    if side is Side.GREATER:
        chosen = log_weight[here:]
    elif side is Side.LESS:
        chosen = log_weight[: here + 1]
    else:
        chosen = log_weight[log_weight <= log_weight[here] + 1e-7]  # as likely, to rounding (R does the same)
    log_p = float(logsumexp(chosen) - logsumexp(log_weight))
    cross_1 = successes_2 * (n_1 - successes_1)
    cross_2 = successes_1 * (n_2 - successes_2)
    odds = cross_1 / cross_2 if cross_2 else (math.inf if cross_1 else 1.0)
    return significance(odds, 0, log_p)


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


def _check_table(successes: Sequence[int], sizes: Sequence[int], *, degenerate: bool = False) -> None:
    for y, n in zip(successes, sizes, strict=True):
        if not 0 <= y <= n or n <= 0:
            raise ValueError(f"a share needs 0 ≤ successes ≤ n and n > 0, got {y} of {n}")
    if not degenerate and sum(successes) in (0, sum(sizes)):
        raise ValueError("all or none succeeded in every arm, so that there is nothing to test")
