"""Means, ratios and shares of clusters compared at any time, from sums over units.

For a contrast D of two arms with variance V, worth as much as n pairs, the normal mixture (Robbins 1970)

    log e(δ) = ½·log(ρ/(n + ρ)) + n·Z²/(2(n + ρ)),   Z² = (D − δ)²/(V + (D − δ)²/N)

is an e-process as n grows (Waudby-Smith et al. 2024, theorem 2.2); its interval is D ± k·√V with the k at which
log e is the threshold. ρ is chosen for the interval to be tightest at `TUNED_PAIRS` pairs. Three things keep it honest where
few units, rare successes or long tails would fool a variance that was merely estimated:

- (D − δ)²/N is the part of the variance that lies between the arms: V is the variance under the hypothesis that is
  tested, as in a permutation. So Z² never exceeds N, and by ρ nothing at all can be shown before some 30 units per arm;
  where the arms are as large as each other, the sum of pairs that are symmetric under the hypothesis is bounded by its
  own squares, whatever the tails (de la Peña 1999): one giant value gives Z = 1.
- V is the larger of the two arms' own variances and the variance pooled over both. They differ for arms of unequal size
  only: a giant value in the small arm swells the first, and one that the small arm missed swells the second.
- What rounding could have made of the squares is added to the variance.

Sources
- Waudby-Smith, I., Arbour, D., Sinha, R., Kennedy, E. H. and Ramdas, A. (2024), Time-uniform central limit theory and
  asymptotic confidence sequences, Annals of Statistics 52, 2613–2640 (arXiv 2103.06476).
- de la Peña, V. H. (1999), Annals of Probability 27, 537–564: self-normalized sums of symmetric variables.
- Deng, A., Knoblich, U. and Lu, J. (2018), KDD: ratios by linearized units. Fieller, E. C. (1954), JRSS B 16, 175–185.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
TUNED_PAIRS = 3_000.0
_ROUNDING = 1e-13


class Sums(Protocol):
    """As UnitSums; the fields may be arrays."""

    @property
    def n(self) -> Any: ...
    @property
    def y(self) -> Any: ...
    @property
    def yy(self) -> Any: ...
    @property
    def x(self) -> Any: ...
    @property
    def xx(self) -> Any: ...
    @property
    def xy(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class MeanContrast:
    """Treatment minus control; arrays or numbers. `own` and `own_control` are the variances of the two means, `variance`
    that of the difference, `widened` how many times their sum it is. `pairs`: the harmonic mean of the arms' units, as
    many pairs of one unit each as would say as much. Not a number where an arm has under two units."""

    value: Any
    mean: Any
    control_mean: Any
    own: Any
    own_control: Any
    variance: Any
    widened: Any
    pairs: Any
    units: Any


def tuned_scale(pairs: float = TUNED_PAIRS, alpha: float = 0.05) -> float:
    """ρ that makes the interval tightest at so many pairs: n / (−2·log α + log(−2·log α) + 1), the approximation of the
    paper's appendix on tuning."""
    double = -2 * math.log(alpha)
    return pairs / (double + math.log(double) + 1)


SCALE = tuned_scale()


def contrast(treatment: Sums, control: Sums) -> MeanContrast:
    """The difference of Σy/Σx between two arms, with its variance. Broadcasts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, spread = _linearized(treatment)
        control_mean, control_spread = _linearized(control)
        n, m = np.asarray(treatment.n, dtype=np.float64), np.asarray(control.n, dtype=np.float64)
        own, own_control = spread / n, control_spread / m
        apart = own + own_control
        pooled = (n * spread + m * control_spread) / (n * m)  # of N units, times 1/n + 1/m
        variance = np.maximum(apart, pooled)
        widened = np.where(apart > 0, variance / apart, 1.0)
        pairs = 2 * n * m / (n + m)
    return MeanContrast(
        mean - control_mean, mean, control_mean, own, own_control, variance, widened, pairs, n + m
    )


def log_e(found: MeanContrast, *, shift: Any = 0.0, scale: float = SCALE) -> Floats:
    """Log e-value against a difference of `shift`; 0 where an arm has under two units. Broadcasts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = (found.value - shift) ** 2
        z2 = np.where(square > 0, square / (found.variance + square / found.units), 0.0)
        evidence = 0.5 * np.log(scale / (scale + found.pairs)) + found.pairs * z2 / (
            2 * (found.pairs + scale)
        )
    return np.where(np.isfinite(found.variance), evidence, 0.0)


def half_width(found: MeanContrast, log_threshold: Any, *, scale: float = SCALE) -> Floats:
    """What is on either side of the difference in its interval; infinite while nothing can be refused. Broadcasts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = critical_square(found.pairs, log_threshold, scale=scale)
        width = np.sqrt(square * found.variance / (1 - square / found.units))
    return np.where((square < found.units) & np.isfinite(found.variance), width, np.inf)


def critical_square(pairs: Any, log_threshold: Any, *, scale: float = SCALE) -> Any:
    """Z² at which log e is the threshold."""
    return 2 * (pairs + scale) / pairs * (log_threshold + 0.5 * np.log((scale + pairs) / scale))


def relative_bounds(
    found: MeanContrast, log_threshold: Any, *, scale: float = SCALE
) -> tuple[Floats, Floats]:
    """Lifts (treatment / control − 1) that are not refused at any time. Not a number where there is no bounded interval,
    because the control's mean may be 0 or less. Broadcasts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        square = critical_square(found.pairs, log_threshold, scale=scale)
        return fieller_bounds(found, square, 1 - square / found.units)


def fieller_bounds(found: MeanContrast, square: Any, kept: Any = 1.0) -> tuple[Floats, Floats]:
    """Lifts at which mean − (1 + lift)·control has a Z² below `square`, Z as in log e. Fieller (1954). Broadcasts.

    `kept` is 1 − square/N where the variance between the arms counts, and 1 where it does not.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = square * found.widened
        bend = found.control_mean**2 * kept - cost * found.own_control
        middle = found.mean * found.control_mean * kept
        rest = found.mean**2 * kept - cost * found.own
        root = np.sqrt(np.maximum(middle * middle - bend * rest, 0.0))
        low, high = (middle - root) / bend - 1, (middle + root) / bend - 1
        told = (np.asarray(kept) > 0) & (bend > 0) & (found.control_mean > 0)
    return np.where(told, low, np.nan), np.where(told, high, np.nan)


def pairs_needed(effect: float, log_threshold: float, *, scale: float = SCALE) -> float:
    """Pairs at which log e is expected to reach the threshold where the difference is `effect` deviations of a pair.

    Infinite for no effect, and beyond a billion.
    """
    if not effect > 0 or not math.isfinite(effect):
        return math.inf

    def reached(pairs: float) -> bool:
        gain = pairs * pairs * effect * effect / (2 * (pairs + scale))
        return gain - 0.5 * math.log1p(pairs / scale) >= log_threshold

    low, high = 0.0, 1.0
    while not reached(high):
        low, high = high, high * 2
        if high > 1e9:
            return math.inf
    while high - low > 0.5:
        low, high = (low, (low + high) / 2) if reached((low + high) / 2) else ((low + high) / 2, high)
    return high


def _linearized(sums: Sums) -> tuple[Any, Any]:
    """Σy/Σx and the variance over units of (y − R·x)/mean(x), as UnitSums.unit_variance, with what rounding may hide."""
    n, x, y, yy = (np.asarray(part, dtype=np.float64) for part in (sums.n, sums.x, sums.y, sums.yy))
    ratio = y / x
    squares = yy - 2 * ratio * sums.xy + ratio * ratio * sums.xx
    floor = _ROUNDING * (yy + ratio * ratio * sums.xx)
    size = x / n
    variance = np.maximum(squares, floor) / (n - 1) / (size * size)
    return ratio, np.where((n >= 2) & (x > 0), variance, np.nan)
