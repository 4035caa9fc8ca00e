"""A mean over what clusters hold, with its interval.

Source: Cochran, W. G. (1977), Sampling Techniques, §6.4: variance of a ratio Σy/Σx over clusters; the interval is
Student's, with one degree of freedom less than there are clusters.
"""

import math
from collections.abc import Sequence

from core.stats.proportions import CONFIDENCE, Interval, student_critical_value


def ratio_mean(
    totals: Sequence[float], sizes: Sequence[float], *, confidence: float = CONFIDENCE
) -> Interval:
    """Mean Σ totals / Σ sizes, where what lies in one cluster (the tokens of an answer) hangs together.

    Totals may be differences, negative ones too: then this is the interval of a paired difference of two means.
    Raises ValueError when lengths differ, a size is not positive, a total is not finite, or there are fewer than two.
    """
    if len(totals) != len(sizes) or len(totals) < 2:
        raise ValueError("a mean of clusters with an interval needs two clusters or more")
    if not all(size > 0 for size in sizes) or not all(map(math.isfinite, totals)):
        raise ValueError("each cluster needs a size above 0 and a finite total")
    count, whole = len(totals), math.fsum(sizes)
    mean = math.fsum(totals) / whole
    squares = math.fsum((total - mean * size) ** 2 for total, size in zip(totals, sizes, strict=True))
    error = math.sqrt(count / (count - 1) * squares) / whole
    half = student_critical_value(confidence, count - 1) * error
    return Interval(mean, mean - half, mean + half)
