"""Group-sequential tests: bounds for planned looks by spending of alpha, and what may be said when one is crossed.

The statistic at look k is z = estimate / error; its information fraction t is 1 / error² over that of the plan's end
(units over planned units). Under a drift θ, z has mean θ√t, and sums B = z√t have independent increments.

Sources
- Armitage, P., McPherson, C. K. and Rowe, B. C. (1969), JRSS A 132, 235–244: crossing probabilities by recursion.
- Lan, K. K. G. and DeMets, D. L. (1983), Biometrika 70, 659–663: the spending functions.
- Kim, K. and DeMets, D. L. (1987), Biometrika 74, 149–154: spending as a power of the information.
- Jennison, C. and Turnbull, B. W. (2000), Group Sequential Methods: ch. 19 (the recursion), §8.4–8.5 (p-value and
  interval in stagewise order), ch. 9 (repeated confidence intervals).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from core.stats.proportions import CONFIDENCE, Interval
from core.stats.tails import log_normal_tail

_NORMAL = NormalDist()
_REACH = 9.0  # standard deviations that are integrated over; beyond lies less than 1e-18
_PANELS = (6, 300)  # per look, each of one Gauss–Legendre rule of 8 points and one kernel's width at most
_RULE = np.polynomial.legendre.leggauss(8)


class Spending(StrEnum):
    """How the error is spent over the information."""

    OBRIEN_FLEMING = "obrien_fleming"  # hardly any early
    POCOCK = "pocock"  # nearly evenly
    SQUARE = "square"  # as the square of the information: between both


@dataclass(frozen=True, slots=True)
class Bounds:
    """Per look: information fraction, the z that |z| (one side: z) must reach, its nominal p-value, and the alpha spent
    up to there. `alpha` is over all looks, and over both sides where `two_sided`."""

    fractions: tuple[float, ...]
    z: tuple[float, ...]
    nominal_p: tuple[float, ...]
    spent: tuple[float, ...]
    alpha: float
    two_sided: bool

    def crossed(self, look: int, z: float) -> bool:
        """Whether the statistic of look `look` (from 1) has crossed. On one side only upwards counts."""
        return (abs(z) if self.two_sided else z) >= self.z[look - 1]

    def repeated_interval(self, look: int, estimate: float, error: float) -> Interval:
        """The repeated confidence interval at a look: all of a trial's hold together, whether it stopped or not.

        Level 1 − alpha on two sides. On one side its lower end alone counts and the upper is infinite. It leaves 0 out
        exactly when the bound is crossed.
        """
        if not (error > 0 and math.isfinite(error) and math.isfinite(estimate)):
            raise ValueError("an interval needs a finite estimate and an error above 0")
        half = self.z[look - 1] * error
        return Interval(estimate, estimate - half, estimate + half if self.two_sided else math.inf)


def spent(spending: Spending, fraction: float, alpha: float) -> float:
    """Alpha spent at an information fraction (one side). Lan and DeMets (1983); all of it at 1 and beyond."""
    if not fraction > 0 or not 0 < alpha < 1:
        raise ValueError("an information fraction is above 0 and alpha lies between 0 and 1")
    if fraction >= 1:
        return alpha
    if spending is Spending.SQUARE:
        return alpha * fraction * fraction
    if spending is Spending.POCOCK:
        return alpha * math.log(1 + (math.e - 1) * fraction)
    return 2 * math.exp(log_normal_tail(-_NORMAL.inv_cdf(alpha / 2) / math.sqrt(fraction)))


def bounds(
    fractions: Sequence[float],
    *,
    alpha: float = 1 - CONFIDENCE,
    spending: Spending = Spending.OBRIEN_FLEMING,
    two_sided: bool = True,
) -> Bounds:
    """Bounds at the looks taken. Each depends on the looks up to it alone, so that looks may come when they come.

    Raises ValueError unless the fractions rise and lie above 0, and alpha between 0 and 1.
    """
    times = _times(fractions)
    side = alpha / 2 if two_sided else alpha
    totals = [spent(spending, time, side) for time in times]
    found: list[float] = []
    walk = _Walk(two_sided=two_sided)
    for k, (time, total) in enumerate(zip(times, totals, strict=True)):
        step = total - (totals[k - 1] if k else 0.0)
        z = walk.bound_for(time, step)
        found.append(z)
        walk = walk.after(time, z, _gap(times, k))
    factor = 2 if two_sided else 1
    nominal = tuple(min(1.0, factor * math.exp(log_normal_tail(z))) for z in found)
    return Bounds(times, tuple(found), nominal, tuple(factor * total for total in totals), alpha, two_sided)


def crossing(
    z: Sequence[float], fractions: Sequence[float], *, drift: float = 0.0, two_sided: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chances to cross the upper and the lower bound for the first time at each look, for any bounds ±z.

    `drift` is the mean of z at information 1. Raises ValueError for unequal lengths or fractions that do not rise.
    """
    times = _times(fractions)
    if len(z) != len(times) or any(math.isnan(bound) for bound in z):
        raise ValueError("each look needs a bound")
    walk = _Walk(two_sided=two_sided, drift=drift)
    up, down = np.zeros(len(times)), np.zeros(len(times))
    for k, (time, bound) in enumerate(zip(times, z, strict=True)):
        up[k] = walk.above(time, bound)
        down[k] = walk.below(time, -bound) if two_sided else 0.0
        walk = walk.after(time, bound, _gap(times, k))
    return up, down


def power(design: Bounds, drift: float) -> float:
    """Chance to cross the bound on the side of `drift` at any look."""
    up, down = crossing(design.z, design.fractions, drift=drift, two_sided=design.two_sided)
    return float((up if drift >= 0 else down).sum())


def drift_for_power(design: Bounds, target: float) -> float:
    """The drift (mean of z at information 1) that is found with the chance `target`."""
    if not design.alpha < target < 1:
        raise ValueError("power lies between alpha and 1")
    from scipy.optimize import brentq

    return float(brentq(lambda drift: power(design, drift) - target, 0.0, 60.0, xtol=1e-9))


def inflation(design: Bounds, target: float = 0.8) -> float:
    """Planned units over those of one single look with the same alpha and power: the price of looking early."""
    side = design.alpha / 2 if design.two_sided else design.alpha
    single = -_NORMAL.inv_cdf(side) + _NORMAL.inv_cdf(target)
    return (drift_for_power(design, target) / single) ** 2


def expected_information(design: Bounds, drift: float) -> float:
    """Mean information fraction at the end of the trial, which stops at a crossing or at its last look; times the
    planned units it is the mean number of units."""
    up, down = crossing(design.z, design.fractions, drift=drift, two_sided=design.two_sided)
    stopped = up + down
    return float(stopped @ np.array(design.fractions)) + design.fractions[-1] * (1 - float(stopped.sum()))


def stagewise_p(design: Bounds, look: int, z: float, *, drift: float = 0.0) -> float:
    """Chance to cross upwards earlier, or to be at `z` or above at `look`: the one-sided p-value in stagewise order.

    At the look where the trial stopped. For `drift` other than 0 it is the p-value of that drift, from which the interval
    follows. Raises ValueError for a look that the design does not have.
    """
    _check_look(design, look, z)
    walk = _Walk(two_sided=design.two_sided, drift=drift)
    total = 0.0
    for k, time in enumerate(design.fractions[: look - 1]):
        total += walk.above(time, design.z[k])
        walk = walk.after(time, design.z[k], _gap(design.fractions, k))
    return total + walk.above(design.fractions[look - 1], z)


def stagewise_interval(
    design: Bounds, look: int, estimate: float, error: float, *, confidence: float | None = None
) -> Interval:
    """Median-unbiased estimate and interval (level 1 − alpha, or `confidence`) after stopping at `look`; §8.5.

    `estimate` and `error` are those of the look; the interval is in their unit. It has two sides in either design (1 − 2α
    for one side). Raises ValueError for an error that is not above 0.
    """
    if not (error > 0 and math.isfinite(error) and math.isfinite(estimate)):
        raise ValueError("an interval needs a finite estimate and an error above 0")
    tail = design.alpha / 2 if design.two_sided else design.alpha
    if confidence is not None:
        tail = (1 - confidence) / 2
    z = estimate / error
    _check_look(design, look, z)
    # A drift is the mean of z at information 1: the estimate's unit is error · √t per unit of drift.
    scale = error * math.sqrt(design.fractions[look - 1])
    low, middle, high = (_drift_at(design, look, z, target) * scale for target in (tail, 0.5, 1 - tail))
    return Interval(middle, low, high)


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """Where the statistic may be after the looks so far: points in B = z√t with their weights (density included)."""

    two_sided: bool
    drift: float = 0.0
    time: float = 0.0
    points: NDArray[np.float64] | None = None
    weights: NDArray[np.float64] | None = None

    def _at(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.points is None or self.weights is None:
            return np.zeros(1), np.ones(1)
        return self.points, self.weights

    def above(self, time: float, z: float) -> float:
        """P(still on the way, then z or more at `time`)."""
        return self._tail(time, z, 1.0)

    def below(self, time: float, z: float) -> float:
        """P(still on the way, then z or less at `time`)."""
        return self._tail(time, z, -1.0)

    def _tail(self, time: float, z: float, sign: float) -> float:
        from scipy.special import ndtr

        points, weights = self._at()
        step = time - self.time
        ends = (points + self.drift * step - z * math.sqrt(time)) / math.sqrt(step)
        return float(weights @ ndtr(sign * ends))

    def bound_for(self, time: float, chance: float) -> float:
        """The z above which lies `chance`."""
        if self.points is None:
            return math.inf if chance <= 0 else -_NORMAL.inv_cdf(chance) if chance > 1e-300 else 38.0
        from scipy.optimize import brentq

        if chance <= 0 or self.above(time, 38.0) >= chance:
            return 38.0  # nothing is left to spend: a bound that is never reached
        low = -_REACH
        return float(brentq(lambda z: self.above(time, z) - chance, low, 38.0, xtol=1e-12, rtol=1e-13))

    def after(self, time: float, z: float, gap: float) -> "_Walk":
        """The points that have not crossed ±z (one side: z) at `time`, close enough for a next look `gap` later."""
        points, weights = self._at()
        step, root, mean = math.sqrt(time - self.time), math.sqrt(time), self.drift * time
        low = max(-z * root if self.two_sided else -math.inf, mean - _REACH * root)
        high = min(z * root, mean + _REACH * root)
        if high <= low:
            return _Walk(self.two_sided, self.drift, time, np.array([mean]), np.zeros(1))
        wanted = math.ceil((high - low) / min(step, math.sqrt(gap)))
        new, factors = _panels(low, high, min(max(wanted, _PANELS[0]), _PANELS[1]))
        gaps = (new[:, None] - points[None, :] - self.drift * (time - self.time)) / step
        density = np.exp(-gaps * gaps / 2) @ weights / (step * math.sqrt(2 * math.pi))
        return _Walk(self.two_sided, self.drift, time, new, density * factors)


def _panels(low: float, high: float, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and factors of Gauss–Legendre rules side by side."""
    half = (high - low) / count / 2
    middles = low + half * (2 * np.arange(count) + 1)
    nodes, factors = _RULE
    return (middles[:, None] + half * nodes).ravel(), np.tile(half * factors, count)


def _gap(times: Sequence[float], k: int) -> float:
    """Time from look k (from 0) to the next; to the end of the plan's information after the last."""
    return times[k + 1] - times[k] if k + 1 < len(times) else 1.0


def _drift_at(design: Bounds, look: int, z: float, target: float) -> float:
    """The drift under which the stagewise p-value is `target`; it rises with the drift."""
    from scipy.optimize import brentq

    start = z / math.sqrt(design.fractions[look - 1])
    low, high = start - 8.0, start + 8.0
    while stagewise_p(design, look, z, drift=low) > target:
        low -= 2 * (high - low)
    while stagewise_p(design, look, z, drift=high) < target:
        high += 2 * (high - low)
    found = brentq(lambda drift: stagewise_p(design, look, z, drift=drift) - target, low, high, xtol=1e-8)
    return float(found)


def _times(fractions: Sequence[float]) -> tuple[float, ...]:
    times = tuple(float(fraction) for fraction in fractions)
    if not times or not all(map(math.isfinite, times)) or times[0] <= 0:
        raise ValueError("looks need information fractions above 0")
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise ValueError("information fractions rise from look to look")
    return times


def _check_look(design: Bounds, look: int, z: float) -> None:
    if not 1 <= look <= len(design.z):
        raise ValueError(f"the design has looks 1 to {len(design.z)}, not {look}")
    if not math.isfinite(z):
        raise ValueError("the statistic is not a number")
