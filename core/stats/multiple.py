"""Several comparisons at once: Dunnett's against one control, Holm's and Benjamini–Hochberg's adjusted p-values.

Sources
- Dunnett, C. W. (1955), JASA 50, 1096–1121: many arms against one control; the correlation of two contrasts is λᵢλⱼ with
  λᵢ² = v₀ / (v₀ + vᵢ), which leaves an integral over one normal and one chi variable.
- Hasler, M. and Hothorn, L. A. (2008), Biometrical Journal 50, 793–800: arms of unequal variance.
- Holm, S. (1979), Scandinavian Journal of Statistics 6, 65–70.
- Benjamini, Y. and Hochberg, Y. (1995), JRSS B 57, 289–300, as adjusted p-values (Yekutieli and Benjamini 1999).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.stats.moments import UnitSums
from core.stats.proportions import CONFIDENCE, Interval
from core.stats.ratios import satterthwaite, student_quantile
from core.stats.tails import Side, Significance, log_student_tail, significance

_REACH = 9.0  # beyond this many standard deviations a normal density adds nothing that a float keeps
_FAR = 12.0  # from here on tails are taken in logarithms
_FARTHEST = 200.0  # p-values below 1e-8600


@dataclass(frozen=True, slots=True)
class Versus:
    """One treatment against the control: the difference, its error, the adjusted test and the simultaneous interval.

    The interval leaves 0 out exactly when the adjusted p-value is below 1 − confidence (for one side, its end alone).
    """

    value: float
    error: float
    test: Significance
    interval: Interval


def dunnett(
    estimates: Sequence[float],
    variances: Sequence[float],
    degrees: float = math.inf,
    *,
    confidence: float = CONFIDENCE,
    side: Side = Side.BOTH,
) -> tuple[Versus, ...]:
    """Each treatment against the control, which comes first. `variances` are those of the estimates (s²/n).

    The classic test has s² pooled and Σn − arms degrees of freedom. One side: the other end is infinite.
    Raises ValueError for fewer than two arms, unequal lengths, what is not finite, or variances that are not positive.
    """
    values, spreads = np.asarray(estimates, np.float64), np.asarray(variances, np.float64)
    if values.ndim != 1 or values.shape != spreads.shape or values.size < 2:
        raise ValueError("each arm needs an estimate and a variance, and a comparison two arms or more")
    if not (np.isfinite(values).all() and np.isfinite(spreads).all() and (spreads > 0).all()):
        raise ValueError("estimates are finite and their variances above 0")
    differences, errors = values[1:] - values[0], np.sqrt(spreads[1:] + spreads[0])
    loadings = np.sqrt(spreads[0]) / errors
    critical = dunnett_critical(loadings, degrees, confidence=confidence, side=side)
    return tuple(
        _versus(float(d), float(e), loadings, degrees, critical, confidence, side)
        for d, e in zip(differences, errors, strict=True)
    )


def dunnett_sums(
    arms: Sequence[UnitSums], *, confidence: float = CONFIDENCE, side: Side = Side.BOTH
) -> tuple[Versus, ...]:
    """Ratios of arms, each with its own variance over units; the degrees of freedom are the fewest of any contrast.

    Raises ValueError as `dunnett`, and when an arm has fewer than two units.
    """
    if len(arms) < 2 or any(arm.n < 2 or arm.x <= 0 for arm in arms):
        raise ValueError("a comparison needs two arms or more, each of two units or more with sizes above 0")
    variances = [arm.unit_variance / arm.n for arm in arms]
    if min(variances) <= 0:
        raise ValueError("in one arm no unit differs from another, so its differences have no interval")
    control = (variances[0], arms[0].n)
    degrees = min(satterthwaite(control, (v, arm.n)) for v, arm in zip(variances[1:], arms[1:], strict=True))
    return dunnett([arm.ratio for arm in arms], variances, degrees, confidence=confidence, side=side)


def dunnett_critical(
    loadings: ArrayLike,
    degrees: float = math.inf,
    *,
    confidence: float = CONFIDENCE,
    side: Side = Side.BOTH,
) -> float:
    """The value that the largest of the contrasts' statistics exceeds with probability 1 − confidence.

    `loadings` are λᵢ = √(v₀ / (v₀ + vᵢ)): √½ each where all arms have one size and one variance. Raises ValueError for
    loadings outside 0 … 1.
    """
    from scipy.optimize import brentq

    lambdas: NDArray[np.float64] = np.atleast_1d(np.asarray(loadings, dtype=np.float64))
    if lambdas.size == 0 or not ((lambdas >= 0) & (lambdas <= 1)).all():
        raise ValueError("a comparison needs one treatment or more, with loadings from 0 to 1")
    if not degrees > 0 or not 0 < confidence < 1:
        raise ValueError("degrees of freedom are above 0 and confidence lies between 0 and 1")
    target = math.log1p(-confidence)
    # Between the value of one comparison and Bonferroni's of all.
    tail = (1 - confidence) / (2 if side is Side.BOTH else 1)
    low = student_quantile(1 - 2 * tail, degrees) - 1e-6 if tail < 0.5 else -_REACH
    high = student_quantile(1 - 2 * tail / lambdas.size, degrees) + 1e-6 if tail < 0.5 else _REACH
    found = brentq(
        lambda c: log_largest_exceeds(c, lambdas, degrees, side=side) - target,
        low,
        high,
        xtol=1e-13,
        rtol=1e-14,
    )
    return float(found)


def log_largest_exceeds(
    critical: float, loadings: NDArray[np.float64], degrees: float = math.inf, *, side: Side = Side.BOTH
) -> float:
    """ln P(some |Tᵢ| > critical), or of some Tᵢ > critical for one side; a tail from the start, never 1 − cdf.

    Trapezoids on an even grid, which for such integrands converge faster than any power of the step.
    """
    reach = max(critical, 0.0)
    if reach / math.sqrt(1 + reach * reach / degrees) > _FARTHEST:
        # So far out two exceed together with no chance that counts, and the union is the sum of single tails.
        both = math.log(2) if side is Side.BOTH else 0.0
        return both + math.log(loadings.size) + log_student_tail(critical, degrees)
    if math.isinf(degrees):
        return float(_log_normal_union(np.array([critical]), loadings, side)[0])
    sd = 1 / math.sqrt(2 * degrees)
    # ln s counts where both the chi density and the tail at critical·s do: their product has the density's own shape,
    # moved to this place.
    peak = -0.5 * math.log1p(reach * reach / degrees)
    low = peak - _REACH * sd - 40 / degrees
    high = peak + 0.5 * math.log1p(math.sqrt(200 / degrees) + 100 / degrees)
    logs = np.linspace(low, high, max(48, math.ceil((high - low) / sd * 2)))
    density = _log_chi_density(logs, degrees)
    inner = _log_normal_union(critical * np.exp(logs), loadings, side)
    return float(_log_sum(density + inner) + math.log(logs[1] - logs[0]))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values, along the last axis: below α all together make one false claim in no more than α.

    Raises ValueError for anything that is not a probability.
    """
    p = _probabilities(p_values)
    order = np.argsort(p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    factors = np.arange(p.shape[-1], 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(ranked * factors, axis=-1), 1.0)
    return _put_back(adjusted, order)


def benjamini_hochberg(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values along the last axis: of the claims with one below α, a share of no more than α is false.

    For independent tests, and for those that hang together positively. Raises ValueError as `holm`.
    """
    p = _probabilities(p_values)
    order = np.argsort(p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    raised = ranked * (p.shape[-1] / np.arange(1, p.shape[-1] + 1))
    adjusted = np.minimum.accumulate(raised[..., ::-1], axis=-1)[..., ::-1]
    return _put_back(np.minimum(adjusted, 1.0), order)


def _versus(
    value: float,
    error: float,
    loadings: NDArray[np.float64],
    degrees: float,
    critical: float,
    confidence: float,
    side: Side,
) -> Versus:
    statistic = value / error
    measured = {Side.BOTH: abs(statistic), Side.GREATER: statistic, Side.LESS: -statistic}[side]
    log_p = log_largest_exceeds(measured, loadings, degrees, side=side)
    test = significance(statistic, degrees, log_p)
    # The critical value is a root found to rounding: what lies on it follows the p-value.
    apart = test.p_value < 1 - confidence
    edge = math.nextafter(measured, -math.inf if apart else math.inf)
    half = (min(critical, edge) if apart else max(critical, edge)) * error
    low = -math.inf if side is Side.LESS else value - half
    high = math.inf if side is Side.GREATER else value + half
    return Versus(value, error, test, Interval(value, low, high))


def _log_normal_union(
    critical: NDArray[np.float64], loadings: NDArray[np.float64], side: Side
) -> NDArray[np.float64]:
    """ln P(some statistic exceeds) for normal contrasts with the correlation λᵢλⱼ, for each critical value."""
    from scipy.special import ndtr

    # The limit: a control whose variance is 10,000 times that of a treatment, or more.
    loadings = np.minimum(loadings, math.sqrt(1 - 1e-4))
    rest = np.sqrt(1 - loadings**2)
    reach = float(np.abs(critical).max()) + _REACH
    step = min(0.5, float(rest.min()) / 1.5)
    z = np.arange(-reach, reach + step, step)
    shift = np.multiply.outer(z, loadings)[None, :, :]
    c = critical[:, None, None]
    weights = -z * z / 2 + math.log(step / math.sqrt(2 * math.pi))
    if critical.min() > _FAR:
        union = _log_union_far((shift - c) / rest, (-shift - c) / rest if side is Side.BOTH else None)
        return _log_sum(union + weights, axis=1)
    tails = ndtr((shift - c) / rest)
    if side is Side.BOTH:
        tails = np.minimum(tails + ndtr((-shift - c) / rest), 1.0)
    with np.errstate(divide="ignore"):
        # 1 − Π(1 − qᵢ) without the subtraction.
        union = -np.expm1(np.log1p(-tails).sum(axis=2))
        return np.asarray(np.log(union @ np.exp(weights)), dtype=np.float64)


def _log_union_far(up: NDArray[np.float64], down: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """ln(1 − Π(1 − qᵢ)) where q is too small for a float: there it is the sum of the q, to all digits."""
    from scipy.special import log_ndtr

    tails = log_ndtr(up) if down is None else np.logaddexp(log_ndtr(up), log_ndtr(down))
    tails = np.minimum(tails, 0.0)
    with np.errstate(divide="ignore"):
        union = np.log(-np.expm1(np.log1p(-np.exp(tails)).sum(axis=2)))
    return np.where(tails.max(axis=2) < -30, _log_sum(tails, axis=2), union)


def _log_chi_density(logs: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """ln density of ln s, where ν s² is chi-square with ν degrees of freedom."""
    half = degrees / 2
    if degrees > 200:  # Stirling's series, for two large numbers would cancel
        constant = 0.5 * math.log(half / (2 * math.pi)) - 1 / (12 * half) + 1 / (360 * half**3)
    else:
        constant = half * math.log(half) - half - math.lgamma(half)
    return math.log(2) + constant - half * (np.expm1(2 * logs) - 2 * logs)


def _log_sum(parts: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    largest = parts.max(axis=axis, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.exp(parts - largest).sum(axis=axis)) + np.squeeze(largest, axis=axis)
    return np.asarray(total, dtype=np.float64)


def _probabilities(p_values: ArrayLike) -> NDArray[np.float64]:
    p: NDArray[np.float64] = np.atleast_1d(np.asarray(p_values, dtype=np.float64))
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values are numbers from 0 to 1")
    return p


def _put_back(ranked: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    found = np.empty_like(ranked)
    np.put_along_axis(found, order, ranked, axis=-1)
    return found
