"""A series as level, slope and fixed effects with noise on each: the model under forecasts and causal impact.

    y_t = x_t·β + μ_t + ε_t,         ε ~ N(0, σ²)
    μ_{t+1} = μ_t + φ·ν_t + η_t,     η ~ N(0, q·σ²)
    ν_{t+1} = φ·ν_t + ζ_t,           ζ ~ N(0, r·σ²)

β are the coefficients of columns that are known for all times: sines of the day and the week, control series. The ratios
q and r are not chosen but weighed: on a grid, each by how well it foretold the series, with σ² integrated out. So the
intervals know that the ratios are not known.

Sources
- Durbin, J. and Koopman, S. J. (2012), Time Series Analysis by State Space Methods, §4.3 (filter), §2.9 and §5.2 (diffuse
  starts as large variances), §3.2 (local linear trend).
- Harvey, A. C. (1989), Forecasting, Structural Time Series Models and the Kalman Filter, §3.3.1 and 4.3.2: the scale σ²
  taken out of the filter; with the prior 1/σ² its posterior is scaled inverse chi-square and forecasts are Student's t.
- Brodersen, K. H. et al. (2015), Inferring causal impact using Bayesian structural time-series models, Annals of Applied
  Statistics 9, 247–274: eqs. 2.1–2.3.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_LARGE = 1e6  # variance of a start of which nothing is known, in variances of the series
_LEAST_SCALE = 1e-12


@dataclass(frozen=True, slots=True)
class Ratios:
    """How much level and slope move, as parts of the noise's variance, and what of the slope stays (φ)."""

    level: float
    slope: float = 0.0
    damping: float = 1.0


@dataclass(frozen=True, slots=True)
class Filtered:
    """What is known after the last value under one choice of ratios: state, its covariance in units of σ², degrees of
    freedom and scale of σ², and the logarithm of how likely the series was."""

    ratios: Ratios
    state: Floats
    covariance: Floats
    degrees: int
    scale: float
    evidence: float


def run_filters(y: Floats, columns: Floats, choices: Sequence[Ratios], *, with_slope: bool) -> list[Filtered]:
    """Kalman's filter over `y` (n,) with `columns` (n, k), under all choices at once; NaN in `y` is a missing value.

    The series should have been brought to a variance near 1. Raises ValueError when there are too few values.
    """
    n, k = columns.shape
    first = 2 if with_slope else 1
    size, g = first + k, len(choices)
    degrees = int(np.count_nonzero(~np.isnan(y))) - size
    if degrees < 2:
        raise ValueError("there are too few values for so many effects")
    q, r, d = (np.array([getattr(c, name) for c in choices]) for name in ("level", "slope", "damping"))
    states, covariances = np.zeros((g, size)), np.tile(np.eye(size) * _LARGE, (g, 1, 1))
    squares, logs = np.zeros(g), np.zeros(g)
    z, seen = np.zeros(size), 0
    z[0] = 1.0
    for t in range(n):
        if not math.isnan(y[t]):
            z[first:] = columns[t]
            pz = covariances @ z
            f = pz @ z + 1.0
            error = y[t] - states @ z
            gain = pz / f[:, None]
            states += gain * error[:, None]
            covariances -= gain[:, :, None] * pz[:, None, :]
            seen += 1
            if seen > size:  # the first values only find the start
                squares += error * error / f
                logs += np.log(f)
        if t < n - 1:
            if with_slope:
                _move_slopes(states, covariances, r, d)
            covariances[:, 0, 0] += q
    scales = np.maximum(squares / degrees, _LEAST_SCALE)
    evidence = -0.5 * (logs + degrees * np.log(scales))
    return [
        Filtered(choice, states[i], covariances[i], degrees, float(scales[i]), float(evidence[i]))
        for i, choice in enumerate(choices)
    ]


def _move_slopes(states: Floats, covariances: Floats, noise: Floats, damping: Floats) -> None:
    """One time on, in place: the slope is damped, and the level goes on by it."""
    states[:, 1] *= damping
    states[:, 0] += states[:, 1]
    covariances[:, 1, :] *= damping[:, None]
    covariances[:, :, 1] *= damping[:, None]
    covariances[:, 0, :] += covariances[:, 1, :]
    covariances[:, :, 0] += covariances[:, :, 1]
    covariances[:, 1, 1] += noise


def weigh(fits: Sequence[Filtered], prior: Sequence[float]) -> Floats:
    """The share of each choice of ratios: prior times likelihood, summing to 1."""
    logs = np.array([fit.evidence for fit in fits]) + np.log(np.asarray(prior, dtype=np.float64))
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def draw_paths(
    fits: Sequence[Filtered],
    weights: Floats,
    columns: Floats,
    *,
    with_slope: bool,
    draws: int,
    seed: int,
) -> Floats:
    """Futures of the series, (draws, m): for each a choice of ratios, a σ², a state now, and its noise from here on.

    `columns` (m, k) are those of the m times after the last.
    """
    random = np.random.default_rng(seed)
    counts = random.multinomial(draws, weights)
    parts = [
        _paths_of(fit, columns, with_slope=with_slope, draws=int(count), random=random)
        for fit, count in zip(fits, counts, strict=True)
        if count
    ]
    return np.concatenate(parts)


def _paths_of(
    fit: Filtered, columns: Floats, *, with_slope: bool, draws: int, random: np.random.Generator
) -> Floats:
    m, first = len(columns), 2 if with_slope else 1
    sigma = np.sqrt(fit.degrees * fit.scale / random.chisquare(fit.degrees, draws))
    values, vectors = np.linalg.eigh((fit.covariance + fit.covariance.T) / 2)
    root = vectors * np.sqrt(np.clip(values, 0.0, None))
    states = fit.state + sigma[:, None] * (random.standard_normal((draws, len(fit.state))) @ root.T)
    fixed = states[:, first:] @ columns.T if columns.shape[1] else np.zeros((draws, m))
    level = states[:, 0].copy()
    slope = states[:, 1].copy() if with_slope else np.zeros(draws)
    q, r = math.sqrt(fit.ratios.level), math.sqrt(fit.ratios.slope)
    out = np.empty((draws, m))
    for t in range(m):
        slope = fit.ratios.damping * slope
        level = level + slope + q * sigma * random.standard_normal(draws)
        if with_slope:
            slope = slope + r * sigma * random.standard_normal(draws)
        out[:, t] = level + fixed[:, t] + sigma * random.standard_normal(draws)
    return out


def waves(times: NDArray[np.int64], period: float, harmonics: int) -> Floats:
    """Sines and cosines of a period at whole times, (n, 2·harmonics); those that a whole period cannot show are left out."""
    found = [
        wave(2 * math.pi * h * times / period)
        for h in range(1, harmonics + 1)
        for wave in (np.cos, np.sin)
        if not (wave is np.sin and 2 * h == period) and 2 * h <= period
    ]
    return np.column_stack(found) if found else np.zeros((len(times), 0))
