"""Two arms compared by their ratios Σy/Σx over units: the difference with Welch's interval, the lift with Fieller's.

A mean is the ratio with x = 1. Where units bring several requests the ratio's variance comes from linearized units, so
that requests of one unit do not count as if they were independent.

Sources
- Deng, A., Knoblich, U. and Lu, J. (2018), KDD, §2.2: the delta method for ratio metrics; Cochran (1977), §6.4.
- Welch, B. L. (1947), Biometrika 34, 28–35: unequal variances, degrees of freedom by Satterthwaite (1946).
- Fieller, E. C. (1954), JRSS B 16, 175–185: the set of ratios of two means that the data do not refute.
- Tamhane, A. C. and Logan, B. R. (2004), Biometrika 91, 715–721: its degrees of freedom with unequal variances.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from core.stats.moments import UnitSums
from core.stats.proportions import CONFIDENCE, Interval
from core.stats.tails import Side, Significance, student_test


@dataclass(frozen=True, slots=True)
class Contrast:
    """Treatment minus control with its standard error, Student's degrees of freedom, interval and test."""

    value: float
    error: float
    degrees: float
    interval: Interval
    test: Significance


class Shape(StrEnum):
    """What the set of lifts that the data do not refute looks like."""

    BOUNDED = "bounded"  # from low to high
    OUTSIDE = (
        "outside"  # all lifts up to low and all from high on: the control may be 0, and the lift is large
    )
    EVERYTHING = "everything"  # any lift at all: the control may be 0 and so may the treatment
    EMPTY = "empty"  # none: only where both are exactly known and the control is 0


@dataclass(frozen=True, slots=True)
class LiftSet:
    """Relative lift T / C − 1 and the set of lifts that the data do not refute. `low` and `high` are the ends of what
    `shape` names (infinite where there is none)."""

    value: float
    shape: Shape
    low: float
    high: float

    def contains(self, lift: float) -> bool:
        """Whether `lift` is not refuted."""
        if self.shape is Shape.BOUNDED:
            return self.low <= lift <= self.high
        if self.shape is Shape.OUTSIDE:
            return lift <= self.low or lift >= self.high
        return self.shape is Shape.EVERYTHING

    @property
    def interval(self) -> Interval | None:
        """As an interval, or None where the set is not one: then no honest pair of ends exists."""
        return Interval(self.value, self.low, self.high) if self.shape is Shape.BOUNDED else None


def welch(
    control: UnitSums, treatment: UnitSums, *, confidence: float = CONFIDENCE, side: Side = Side.BOTH
) -> Contrast:
    """Ratio of the treatment minus ratio of the control, with unequal variances.

    The interval has two sides whatever `side` is. Raises ValueError below two units or sizes of 0 in an arm, and where
    no unit differs from another in either arm: such data do not say how sure the difference is.
    """
    return contrast(
        treatment.ratio - control.ratio,
        (_variance(control), control.n),
        (_variance(treatment), treatment.n),
        confidence=confidence,
        side=side,
    )


def contrast(
    value: float,
    control: tuple[float, float],
    treatment: tuple[float, float],
    *,
    confidence: float = CONFIDENCE,
    side: Side = Side.BOTH,
) -> Contrast:
    """Welch's contrast from a difference and, by arm, (variance of the estimate, units). Raises ValueError as `welch`."""
    variance = control[0] + treatment[0]
    if not math.isfinite(value) or not math.isfinite(variance):
        raise ValueError("a difference needs finite values with a variance in both arms")
    if variance <= 0:
        raise ValueError("no unit differs from another in either arm, so the difference has no interval")
    degrees = satterthwaite(control, treatment)
    error = math.sqrt(variance)
    half = student_quantile(confidence, degrees) * error
    test = student_test(value / error, degrees, side)
    return Contrast(value, error, degrees, Interval(value, value - half, value + half), test)


def satterthwaite(*parts: tuple[float, float]) -> float:
    """Degrees of freedom of a sum of variances, each given with its units. Raises ValueError below two units."""
    if any(units < 2 for _, units in parts):
        raise ValueError("a variance needs two units or more")
    # Scaled by the largest, so that squares of small variances do not underflow.
    largest = max(variance for variance, _ in parts)
    shares = [(variance / largest, units) for variance, units in parts]
    whole = sum(share for share, _ in shares)
    return whole**2 / sum(share**2 / (units - 1) for share, units in shares)


def student_quantile(confidence: float, degrees: float) -> float:
    """Two-sided critical value of Student's t for degrees of freedom that need not be whole."""
    if not 0 < confidence < 1:
        raise ValueError("confidence lies between 0 and 1")
    from scipy.special import ndtri, stdtrit

    tail = (1 - confidence) / 2
    return -float(ndtri(tail) if math.isinf(degrees) else stdtrit(degrees, tail))


def relative_lift(control: UnitSums, treatment: UnitSums, *, confidence: float = CONFIDENCE) -> LiftSet:
    """Ratio of the treatment over that of the control, minus 1, by Fieller's theorem. Raises ValueError as `welch`."""
    parts = (_variance(treatment), treatment.n), (_variance(control), control.n)
    (var_t, n_t), (var_c, n_c) = parts
    if var_t + var_c <= 0:
        raise ValueError("no unit differs from another in either arm, so the lift has no interval")
    # With a control of 0 the ratio has no value; the difference's own degrees of freedom are then the nearest.
    rho = treatment.ratio / control.ratio if control.ratio else 1.0
    degrees = satterthwaite((var_t, n_t), (rho * rho * var_c, n_c))
    return fieller(treatment.ratio, var_t, control.ratio, var_c, student_quantile(confidence, degrees))


def fieller(
    treatment: float,
    treatment_variance: float,
    control: float,
    control_variance: float,
    critical: float,
    *,
    covariance: float = 0.0,
) -> LiftSet:
    """{ρ − 1 : (T − ρC)² ≤ c² (v_T − 2ρ v_TC + ρ² v_C)}, for any critical value c: of Student's t or of a sequence.

    The set is a quadratic's, so it is an interval, the outside of one, or everything; never a wrong pair of ends.
    Raises ValueError for what is not finite, for negative variances, and for a covariance beyond them.
    """
    given = (treatment, treatment_variance, control, control_variance, critical, covariance)
    if not all(map(math.isfinite, given)) or min(treatment_variance, control_variance, critical) < 0:
        raise ValueError(
            "a lift needs finite values, variances of 0 or more and a critical value of 0 or more"
        )
    if covariance**2 > treatment_variance * control_variance * (1 + 1e-9):
        raise ValueError("the covariance is larger than the variances allow")
    lift = treatment / control - 1 if control else math.nan
    c2 = critical * critical
    # a ρ² − 2 b ρ + d ≤ 0; each part halved by itself so that equal scales cancel.
    a = control * control - c2 * control_variance
    b = treatment * control - c2 * covariance
    d = treatment * treatment - c2 * treatment_variance
    if a == 0:
        return _half_line(lift, b, d)
    discriminant = b * b - a * d
    if discriminant < 0:
        return LiftSet(lift, Shape.EVERYTHING if a < 0 else Shape.EMPTY, -math.inf, math.inf)
    # The larger root first, the other by the product of roots: no cancellation.
    larger = b + math.copysign(math.sqrt(discriminant), b)
    roots = sorted((larger / a, d / larger)) if larger else [0.0, 0.0]
    shape = Shape.BOUNDED if a > 0 else Shape.OUTSIDE
    return LiftSet(lift, shape, roots[0] - 1, roots[1] - 1)


def _half_line(lift: float, b: float, d: float) -> LiftSet:
    """−2 b ρ + d ≤ 0: the control is exactly as far from 0 as the critical value reaches."""
    if b == 0:
        return LiftSet(lift, Shape.EVERYTHING if d <= 0 else Shape.EMPTY, -math.inf, math.inf)
    edge = d / (2 * b) - 1
    low, high = (edge, math.inf) if b > 0 else (-math.inf, edge)
    return LiftSet(lift, Shape.BOUNDED, low, high)


def _variance(arm: UnitSums) -> float:
    """Of the arm's ratio."""
    if arm.n < 2 or arm.x <= 0:
        raise ValueError("an arm needs two units or more, with sizes above 0")
    return arm.unit_variance / arm.n
