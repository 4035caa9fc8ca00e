"""Means and ratios adjusted for what units did before the experiment (CUPED).

Sources
- Deng, A., Xu, Y., Kohavi, R. and Walker, T. (2013), WSDM, eq. (2)–(5): Ŷ − θ(X̄ − E X) with θ = cov(Y, X) / var(X)
  leaves the mean and takes the share ρ² out of the variance.
- Deng, A., Knoblich, U. and Lu, J. (2018), KDD, §2.2: ratios by their linearized units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from core.stats.moments import UnitSums
from core.stats.proportions import CONFIDENCE
from core.stats.ratios import Contrast, contrast, welch
from core.stats.tails import Side


@dataclass(frozen=True, slots=True)
class CovariateSums:
    """Sums over units of the metric (y, x) and of a covariate z known before the unit was assigned, with yz and xz.

    A unit without a past brings the same z everywhere (0, say): it then adjusts nothing and biases nothing.
    """

    sums: UnitSums = field(default_factory=UnitSums)
    z: float = 0.0
    zz: float = 0.0
    yz: float = 0.0
    xz: float = 0.0

    @classmethod
    def of(
        cls, totals: Sequence[float], covariate: Sequence[float], sizes: Sequence[float] | None = None
    ) -> "CovariateSums":
        """Of units given one by one. Raises ValueError for unequal lengths or what is not finite."""
        sums = UnitSums.of(totals, sizes)
        y, z = np.asarray(totals, dtype=np.float64), np.asarray(covariate, dtype=np.float64)
        x = np.ones_like(y) if sizes is None else np.asarray(sizes, dtype=np.float64)
        if z.shape != y.shape or not np.isfinite(z).all():
            raise ValueError("each unit needs one finite covariate")
        return cls(sums, float(z.sum()), float((z * z).sum()), float((y * z).sum()), float((x * z).sum()))

    def __add__(self, other: "CovariateSums") -> "CovariateSums":
        return CovariateSums(
            self.sums + other.sums,
            self.z + other.z,
            self.zz + other.zz,
            self.yz + other.yz,
            self.xz + other.xz,
        )

    @property
    def covariance(self) -> float:
        """Of the linearized metric (y − R·x) / mean(x), whose mean is 0, with z; with n − 1."""
        n, ratio = self.sums.n, self.sums.ratio
        if n < 2 or self.sums.x <= 0:
            return math.nan
        return (self.yz - ratio * self.xz) / (n - 1) / (self.sums.x / n)

    @property
    def covariate_variance(self) -> float:
        """Of z, with n − 1."""
        n = self.sums.n
        return max(0.0, self.zz - self.z * self.z / n) / (n - 1) if n >= 2 else math.nan


@dataclass(frozen=True, slots=True)
class Adjusted:
    """Treatment minus control adjusted, and as it was. `variance_reduction` is the share of the variance of the
    difference that the adjustment took away: 0.3 means that 30 % fewer units say as much. Below 0 it did harm."""

    adjusted: Contrast
    unadjusted: Contrast
    theta: float
    variance_reduction: float


def pooled_theta(arms: Sequence[CovariateSums]) -> float:
    """θ from all arms together, each about its own means (eq. 4); 0 where the covariate does not vary.

    Raises ValueError when an arm has fewer than two units or no sizes.
    """
    if any(arm.sums.n < 2 or arm.sums.x <= 0 for arm in arms) or not arms:
        raise ValueError("each arm needs two units or more, with sizes above 0")
    spread = math.fsum(arm.covariate_variance * (arm.sums.n - 1) for arm in arms)
    together = math.fsum(arm.covariance * (arm.sums.n - 1) for arm in arms)
    # Sums of squares cancel: a spread that is only rounding is none.
    if spread <= 1e-12 * math.fsum(arm.zz for arm in arms):
        return 0.0
    return together / spread


def adjusted_moments(arm: CovariateSums, theta: float, centre: float) -> tuple[float, float]:
    """Adjusted ratio of an arm and its variance over units, for a θ fixed beforehand or pooled (eq. 2 and 3).

    `centre` is the covariate's mean over all arms; it cancels in differences. Not numbers below two units.
    """
    if arm.sums.n < 2:
        return math.nan, math.nan
    value = arm.sums.ratio - theta * (arm.z / arm.sums.n - centre)
    variance = arm.sums.unit_variance - 2 * theta * arm.covariance + theta**2 * arm.covariate_variance
    return value, max(0.0, variance)


def cuped(
    control: CovariateSums,
    treatment: CovariateSums,
    *,
    theta: float | None = None,
    confidence: float = CONFIDENCE,
    side: Side = Side.BOTH,
) -> Adjusted:
    """Treatment minus control, adjusted. `theta` left out: pooled from these two arms.

    Raises ValueError as `ratios.welch`, and where the covariate explains the metric wholly: a covariate that was not
    measured before the start does that.
    """
    plain = welch(control.sums, treatment.sums, confidence=confidence, side=side)
    theta = pooled_theta((control, treatment)) if theta is None else theta
    if not math.isfinite(theta):
        raise ValueError("θ is a finite number")
    centre = (control.z + treatment.z) / (control.sums.n + treatment.sums.n)
    value_c, variance_c = adjusted_moments(control, theta, centre)
    value_t, variance_t = adjusted_moments(treatment, theta, centre)
    parts = (variance_c / control.sums.n, control.sums.n), (variance_t / treatment.sums.n, treatment.sums.n)
    left = parts[0][0] + parts[1][0]
    if left <= 1e-12 * plain.error**2:
        raise ValueError("the covariate explains the metric wholly; was it measured before the start?")
    adjusted = contrast(value_t - value_c, *parts, confidence=confidence, side=side)
    return Adjusted(adjusted, plain, theta, 1 - left / plain.error**2)
