"""How many units an experiment needs when it is looked at once, what it can detect, and how many days that takes.

Units are per arm and rounded up by the caller who needs whole ones (`whole`); the functions give the exact number so
that they can be compared with tables.

Sources
- Cohen, J. (1988), Statistical Power Analysis for the Behavioral Sciences, §6: arcsine; as R's pwr.2p.test, pwr.2p2n.test.
- Fleiss, J. L., Levin, B. and Paik, M. C. (2003), Statistical Methods for Rates and Proportions, §4.2: the normal test
  with pooled variance under no difference; as R's power.prop.test.
- R's power.t.test: Student's t with the non-central distribution.
- Donner, A. and Klar, N. (2000), Cluster Randomization Trials, §5; Eldridge, S. M., Ashby, D. and Kerry, S. (2006),
  International Journal of Epidemiology 35, 1292–1300, eq. (3): design effect of clusters of unequal size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

from core.stats.moments import UnitSums
from core.stats.tails import log_normal_tail

_NORMAL = NormalDist()
_MOST = 1e15  # units; beyond this nobody waits


class ShareMethod(StrEnum):
    """How the power of a comparison of two shares is reckoned."""

    ARCSINE = "arcsine"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Aim:
    """What a test is to do: `alpha` errors without a difference, `power` where there is one, one side or both.

    `ratio` is how many units the treatment gets for one of the control.
    """

    alpha: float = 0.05
    power: float = 0.8
    two_sided: bool = True
    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < self.power < 1:
            raise ValueError("alpha and power lie between 0 and 1, and power is the larger")
        if not 0 < self.ratio < math.inf:
            raise ValueError("the ratio of the arms is above 0")

    @property
    def critical(self) -> float:
        """The standard normal value that a test's statistic must exceed."""
        return -_NORMAL.inv_cdf(self.alpha / 2 if self.two_sided else self.alpha)


@dataclass(frozen=True, slots=True)
class Duration:
    """Days of traffic. `whole_weeks` covers each day of the week as often as any other."""

    days: float
    whole_weeks: int


def arcsine_effect(first: float, second: float) -> float:
    """Cohen's h = 2 asin √p₂ − 2 asin √p₁."""
    _check_shares(first, second, may_be_certain=True)
    return 2 * math.asin(math.sqrt(second)) - 2 * math.asin(math.sqrt(first))


def share_power(
    n: float, first: float, second: float, aim: Aim | None = None, *, method: ShareMethod = ShareMethod.NORMAL
) -> float:
    """Chance that a difference of two shares is found with `n` units in the control (and ratio · n in the other).

    Raises ValueError unless both are shares, not both 0 or both 1, and n is positive.
    """
    aim = aim or Aim()
    if n <= 0:
        raise ValueError("a test needs units")
    if method is ShareMethod.ARCSINE:
        shift = abs(arcsine_effect(first, second)) * math.sqrt(n * aim.ratio / (1 + aim.ratio))
        return _normal_power(shift, aim)
    _check_shares(first, second)
    pooled = (first + aim.ratio * second) / (1 + aim.ratio)
    null = math.sqrt(pooled * (1 - pooled) * (1 + 1 / aim.ratio))
    true = math.sqrt(first * (1 - first) + second * (1 - second) / aim.ratio)
    if true == 0:  # one never, the other always: every sample shows it
        return 1.0
    return _normal_power(abs(second - first) * math.sqrt(n) / true, aim, widening=null / true)


def units_for_shares(
    first: float, second: float, aim: Aim | None = None, *, method: ShareMethod = ShareMethod.NORMAL
) -> float:
    """Units of the control that find the difference of two shares with the aim's power.

    Raises ValueError where there is no difference.
    """
    aim = aim or Aim()
    _check_shares(first, second)
    if first == second:
        raise ValueError("two equal shares are never told apart; name a difference")
    return _solve(lambda n: share_power(n, first, second, aim, method=method), aim.power)


def mean_power(n: float, difference: float, sd: float, aim: Aim | None = None) -> float:
    """Chance that Student's test finds a difference of two means, equal `sd` in both arms (strict = FALSE in R).

    Raises ValueError unless sd > 0 and there are three units or more in all.
    """
    aim = aim or Aim()
    degrees = n * (1 + aim.ratio) - 2
    if not (sd > 0 and math.isfinite(sd) and math.isfinite(difference)) or degrees < 1:
        raise ValueError("a comparison of means needs a spread above 0 and three units or more")
    from scipy.special import nctdtr, stdtrit

    shift = abs(difference) / sd * math.sqrt(n * aim.ratio / (1 + aim.ratio))
    critical = -float(stdtrit(degrees, aim.alpha / 2 if aim.two_sided else aim.alpha))
    if degrees > 1e6 or shift > critical + 40:
        return math.exp(log_normal_tail(critical - shift))
    return 1 - float(nctdtr(degrees, shift, critical))


def units_for_means(difference: float, sd: float, aim: Aim | None = None) -> float:
    """Units of the control that find a difference of two means. Raises ValueError for no difference or no spread."""
    aim = aim or Aim()
    if difference == 0:
        raise ValueError("two equal means are never told apart; name a difference")
    # Two units in the smaller arm at least, for one alone has no spread.
    return _solve(lambda n: mean_power(n, difference, sd, aim), aim.power, low=2 / min(1.0, aim.ratio))


def ratio_power(n: float, difference: float, pilot: UnitSums, aim: Aim | None = None) -> float:
    """Chance that a difference of two ratios Σy/Σx is found, with units that vary as those of `pilot` do.

    Units bring several requests; their linearized variance holds all of the clustering. Raises ValueError for a pilot
    without variance.
    """
    aim = aim or Aim()
    variance = pilot.unit_variance
    if not variance > 0 or n <= 0:
        raise ValueError("the pilot needs two units that differ, and the test needs units")
    return _normal_power(abs(difference) * math.sqrt(n * aim.ratio / (1 + aim.ratio) / variance), aim)


def units_for_ratios(difference: float, pilot: UnitSums, aim: Aim | None = None) -> float:
    """Units of the control that find a difference of two ratios. Raises ValueError for no difference or no variance."""
    aim = aim or Aim()
    if difference == 0:
        raise ValueError("two equal ratios are never told apart; name a difference")
    return _solve(lambda n: ratio_power(n, difference, pilot, aim), aim.power)


def design_effect(mean_size: float, correlation: float, *, variation: float = 0.0) -> float:
    """1 + ((cv² + 1) m − 1) ρ: how many times more requests are needed as units bring m each that hang together by ρ.

    `variation` is the coefficient of variation of the units' sizes. Raises ValueError for m < 1 or ρ outside 0 … 1.
    """
    if mean_size < 1 or not 0 <= correlation <= 1 or variation < 0:
        raise ValueError(
            "units bring one request or more, and the correlation within them lies between 0 and 1"
        )
    return 1 + ((variation**2 + 1) * mean_size - 1) * correlation


def detectable_share(
    n: float,
    base: float,
    aim: Aim | None = None,
    *,
    method: ShareMethod = ShareMethod.NORMAL,
    higher: bool = True,
) -> float:
    """The share nearest to `base` that n units tell from it with the aim's power. Raises ValueError if there is none."""
    aim = aim or Aim()
    _check_shares(base, base)
    from scipy.optimize import brentq

    far = 1.0 if higher else 0.0

    def lacking(share: float) -> float:
        return share_power(n, base, share, aim, method=method) - aim.power

    if lacking(far) < 0:
        raise ValueError(f"{n:g} units tell no share from {base:g} with a power of {aim.power:g}")
    return float(brentq(lacking, base, far, xtol=1e-12))


def detectable_mean(n: float, sd: float, aim: Aim | None = None) -> float:
    """The smallest difference of two means that n units find with the aim's power, in the unit of `sd`."""
    aim = aim or Aim()
    return sd * _solve(lambda d: mean_power(n, d, 1.0, aim), aim.power, low=0.0)


def detectable_ratio(n: float, pilot: UnitSums, aim: Aim | None = None) -> float:
    """The smallest difference of two ratios that n units find with the aim's power."""
    aim = aim or Aim()
    scale = math.sqrt(pilot.unit_variance)
    return scale * _solve(lambda d: ratio_power(n, d * scale, pilot, aim), aim.power, low=0.0)


def duration(
    units: float, weights: Sequence[float], new_units_per_day: float, *, share: float = 1.0
) -> Duration:
    """Days until the slowest arm has `units`, when `share` of the new units of a day enter and divide by `weights`.

    `new_units_per_day` counts each unit once, on its first day: who comes back brings no new unit. Arms of weight 0
    get none and are not waited for. Raises ValueError for impossible weights, no traffic or no units, or where the days
    are more than can be counted.
    """
    used = [weight for weight in weights if weight > 0]
    if not used or min(weights) < 0 or abs(math.fsum(weights) - 1) > 1e-6:
        raise ValueError("weights are 0 or more and sum to 1")
    if not (new_units_per_day > 0 and 0 < share <= 1 and 0 < units < math.inf):
        raise ValueError("a duration needs traffic, a share of it above 0 and up to 1, and units")
    each_day = min(used) * share * new_units_per_day
    if each_day <= 0 or not math.isfinite(days := whole(units) / each_day):
        raise ValueError("so little traffic never brings the units together")
    return Duration(days, max(1, math.ceil(days / 7 - 1e-9)))


def whole(units: float) -> int:
    """Rounded up, but not for what is only rounding above a whole number."""
    return max(1, math.ceil(units - 1e-6))


def _normal_power(shift: float, aim: Aim, *, widening: float | None = None) -> float:
    """P(|Z + shift| > critical), as R's pwr; with `widening` of the critical value the near tail alone, as
    power.prop.test."""
    edge = aim.critical * (1.0 if widening is None else widening)
    found = math.exp(log_normal_tail(edge - shift))
    if aim.two_sided and widening is None:
        found += math.exp(log_normal_tail(edge + shift))
    return found


def _solve(power: Callable[[float], float], target: float, low: float = 1e-6) -> float:
    """Where a rising power reaches the target."""
    from scipy.optimize import brentq

    high = max(2.0, 2 * low)
    while power(high) < target:
        low, high = high, 2 * high
        if high > _MOST:
            raise ValueError("the difference is too small: no number of units that anybody has would find it")
    if power(low) >= target:
        return low
    return float(brentq(lambda x: power(x) - target, low, high, rtol=1e-12))


def _check_shares(first: float, second: float, *, may_be_certain: bool = False) -> None:
    if not (0 <= first <= 1 and 0 <= second <= 1):
        raise ValueError("shares lie between 0 and 1")
    if not may_be_certain and first == second and first in (0.0, 1.0):
        raise ValueError("a share of 0 or 1 does not vary; name one in between")
