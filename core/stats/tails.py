"""Probabilities far out: p-values that keep their relative accuracy to 1e-300, and their logarithms below.

A p-value is a small number. `1 - cdf` loses it at 1e-16 and answers 0; here every tail is computed as a tail, and its
natural logarithm stays finite where the number itself would be too small for a float.

Sources
- Abramowitz, M. and Stegun, I. A. (1964), Handbook of Mathematical Functions: 7.1.23 (asymptotic erfc), 26.4.12
  (chi-square tail), 26.5.8 (continued fraction of the incomplete beta function), 26.7.1 (Student's t).
"""

import math
import sys
from dataclasses import dataclass
from enum import StrEnum

_SMALLEST = sys.float_info.min  # 2.2e-308, the smallest number with full accuracy
_LOG_SAFE = math.log(1e-290)


class Side(StrEnum):
    """Which departures count: treatment unlike the control, above it, or below it."""

    BOTH = "both"
    GREATER = "greater"
    LESS = "less"


@dataclass(frozen=True, slots=True)
class Significance:
    """A test's statistic, its degrees of freedom (infinite for a normal one; 0 where it has none) and its p-value.

    `p_value` is never 0: below 2.2e-308 it stays there and `log_p` (natural logarithm) says how small it is.
    """

    statistic: float
    degrees: float
    p_value: float
    log_p: float


def significance(statistic: float, degrees: float, log_p: float) -> Significance:
    """A result from the logarithm of its p-value. Raises ValueError where that is not a number: no test was made."""
    if math.isnan(log_p) or math.isnan(statistic):
        raise ValueError("the test has no result: its statistic is not a number")
    log_p = min(log_p, 0.0)
    return Significance(statistic, degrees, max(math.exp(log_p), _SMALLEST), log_p)


def log_normal_tail(z: float) -> float:
    """ln P(Z > z) of the standard normal distribution (erfc; its asymptotic series where that underflows)."""
    x = z / math.sqrt(2)
    if x < 25:
        tail = math.erfc(x) / 2
        # Near 1 the logarithm is that of the other tail, which is the small number there.
        return math.log(tail) if z > -1 else math.log1p(-math.erfc(-x) / 2)
    inverse = 1 / (2 * x * x)
    series = -inverse + 3 * inverse**2 - 15 * inverse**3 + 105 * inverse**4
    return -x * x - math.log(2 * x * math.sqrt(math.pi)) + math.log1p(series)


def log_student_tail(t: float, degrees: float) -> float:
    """ln P(T > t) of Student's t with `degrees` > 0 (infinite: the normal distribution)."""
    if not degrees > 0:
        raise ValueError("Student's t needs degrees of freedom above 0")
    if math.isinf(degrees):
        return log_normal_tail(t)
    from scipy.special import stdtr

    if t <= 0:
        return math.log1p(-float(stdtr(degrees, t)))
    tail = float(stdtr(degrees, -t))
    if tail > 0 and math.log(tail) > _LOG_SAFE:
        return math.log(tail)
    return _log_student_far(t, degrees)


def log_chi_square_tail(statistic: float, degrees: int) -> float:
    """ln P(X > statistic) of the chi-square distribution."""
    if degrees < 1 or statistic < 0:
        raise ValueError("chi-square needs a statistic of 0 or more and 1 degree of freedom or more")
    if degrees == 1:
        return math.log(2) + log_normal_tail(math.sqrt(statistic))
    from scipy.special import gammaincc

    tail = float(gammaincc(degrees / 2, statistic / 2))
    if tail > 0 and math.log(tail) > _LOG_SAFE:
        return math.log(tail)
    return _log_gamma_far(degrees / 2, statistic / 2)


def two_sided(tail_up: float, tail_down: float, side: Side) -> float:
    """ln p for `side`, from the logarithms of the upper and the lower tail of a symmetric statistic."""
    if side is Side.GREATER:
        return tail_up
    if side is Side.LESS:
        return tail_down
    return min(0.0, math.log(2) + min(tail_up, tail_down))


def normal_test(z: float, side: Side = Side.BOTH) -> Significance:
    """The p-value of a standard normal statistic."""
    if math.isnan(z):
        raise ValueError("the test has no result: its statistic is not a number")
    return significance(z, math.inf, two_sided(log_normal_tail(z), log_normal_tail(-z), side))


def student_test(t: float, degrees: float, side: Side = Side.BOTH) -> Significance:
    """The p-value of a statistic that has Student's t distribution."""
    if math.isnan(t):
        raise ValueError("the test has no result: its statistic is not a number")
    up, down = log_student_tail(t, degrees), log_student_tail(-t, degrees)
    return significance(t, degrees, two_sided(up, down, side))


def _log_student_far(t: float, degrees: float) -> float:
    """26.7.1 with 26.5.8, evaluated by Lentz's method: half the incomplete beta function at ν / (ν + t²)."""
    from scipy.special import betaln

    a, b = degrees / 2, 0.5
    x = 1 / (1 + t * t / degrees)
    front = -a * math.log1p(t * t / degrees) + b * math.log1p(-x) - math.log(a) - float(betaln(a, b))
    fraction = c = 1.0
    d = 1 / (1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + even * d), 1 + even / c
        fraction *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + odd * d), 1 + odd / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front + math.log(fraction) - math.log(2)


def _log_gamma_far(a: float, x: float) -> float:
    """Upper incomplete gamma function, regularized, far beyond its mean (6.5.31, evaluated by Lentz's method)."""
    b = x + 1 - a
    c, d = math.inf, 1 / b
    fraction = d
    for i in range(1, 10_000):
        factor = -i * (i - a)
        b += 2
        d = 1 / (factor * d + b)
        c = b + factor / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return a * math.log(x) - x - math.lgamma(a) + math.log(fraction)
