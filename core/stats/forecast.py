"""What comes next in an hourly or daily series, with intervals.

Level, slope that may fade, and waves of the day and the week, weighed as core/stats/structural.py says. Counts are foretold
as square roots and positive values as logarithms, where their noise is even; a count's interval holds counts.

Sources
- Anscombe, F. J. (1948), Biometrika 35, 246–254, eq. 1.1: 2·√(y + 3/8) of a Poisson count has a variance near 1.
- Gardner, E. S. and McKenzie, E. (1985), Forecasting trends in time series, Management Science 31, 1237–1246: a slope
  that fades foretells better than one that lasts.
- De Livera, A. M., Hyndman, R. J. and Snyder, R. D. (2011), JASA 106, 1513–1527, eqs. 3–4: seasons as a few waves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.stats.structural import Floats, Ratios, draw_paths, run_filters, waves, weigh

CONFIDENCE = 0.95
DRAWS = 2000
LEAST_VALUES = 12
MOST_VALUES = 2000  # the newest ones; older ones say nothing about next week
HARMONICS = {24.0: 4, 168.0: 3, 7.0: 3}
_LEVELS = (0.0, 0.0005, 0.005, 0.05, 0.3, 1.0, 4.0)
_SLOPES = ((0.0, 1.0), (1e-6, 0.995), (1e-4, 0.98))  # how much it moves, and what of it stays


class Scale(StrEnum):
    """What kind of values a series holds."""

    COUNT = "count"  # 0, 1, 2, …
    POSITIVE = "positive"  # above 0: milliseconds, money
    REAL = "real"


@dataclass(frozen=True, slots=True)
class Forecast:
    """One entry for each coming step: the median, and the ends of the interval of each step by itself. `values` is how
    many the forecast rests on, `seasons` are the periods that were long enough to be seen, in steps."""

    median: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    confidence: float
    values: int
    seasons: tuple[float, ...]


def forecast(
    series: Sequence[float],
    steps: int,
    *,
    scale: Scale = Scale.REAL,
    seasons: Sequence[float] = (24.0, 168.0),
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Forecast:
    """The next `steps` of `series`, oldest first, evenly spaced, NaN where a value is missing.

    A season needs two whole periods in the series, else it is left out. Raises ValueError for fewer than LEAST_VALUES
    values, what is infinite, or values that the scale does not have.
    """
    y = checked_values(series, scale)[-MOST_VALUES:]
    known = int(np.count_nonzero(~np.isnan(y)))
    if known < LEAST_VALUES:
        raise ValueError(f"a forecast needs {LEAST_VALUES} values at least")
    if not 1 <= steps <= 10_000 or not 0 < confidence < 1:
        raise ValueError("a forecast has 1 to 10,000 steps and a confidence between 0 and 1")
    y = to_even_noise(y, scale)
    centre, spread = float(np.nanmean(y)), float(np.nanstd(y)) or 1.0
    used = tuple(period for period in seasons if len(y) >= 2 * period)
    columns = season_columns(len(y) + steps, used)
    columns = columns[:, : max(0, known // 3)]
    choices = [Ratios(level, slope, stays) for level in _LEVELS for slope, stays in _SLOPES]
    fits = run_filters((y - centre) / spread, columns[: len(y)], choices, with_slope=True)
    weights = weigh(fits, [1.0] * len(fits))
    paths = draw_paths(fits, weights, columns[len(y) :], with_slope=True, draws=draws, seed=seed)
    values = from_even_noise(centre + spread * paths, scale)
    tail = 100 * (1 - confidence) / 2
    low, middle, high = np.percentile(values, [tail, 50, 100 - tail], axis=0)
    if scale is Scale.COUNT:
        low, high = np.floor(low), np.ceil(high)
    return Forecast(_plain(middle), _plain(low), _plain(high), confidence, known, used)


def season_columns(length: int, seasons: Sequence[float]) -> Floats:
    """Waves of all seasons for times 0 … length − 1. A wave that two seasons share stands there once."""
    times = np.arange(length)
    parts: list[Floats] = []
    shorter: list[float] = []
    for period in sorted(seasons):
        kept = [
            h
            for h in range(1, HARMONICS.get(period, 3) + 1)
            if not any(math.isclose(period / h * k, other) for other in shorter for k in range(1, 13))
        ]
        parts += [waves(times, period / h, 1) for h in kept]
        shorter.append(period)
    return np.column_stack(parts) if parts else np.zeros((length, 0))


def checked_values(series: Sequence[float], scale: Scale) -> Floats:
    """As an array. Raises ValueError for what is infinite or what the scale does not have; NaN is a missing value."""
    y = np.asarray(series, dtype=np.float64)
    known = y[~np.isnan(y)]
    if y.ndim != 1 or not np.isfinite(known).all():
        raise ValueError("a series is a row of finite numbers; NaN is a missing one")
    if (scale is Scale.COUNT and (known < 0).any()) or (scale is Scale.POSITIVE and (known <= 0).any()):
        raise ValueError(f"a series of the kind «{scale}» has no such values")
    return y


def to_even_noise(y: Floats, scale: Scale) -> Floats:
    """Onto the scale where noise is about equal everywhere."""
    if scale is Scale.COUNT:
        return np.asarray(2 * np.sqrt(y + 0.375))
    return np.log(y) if scale is Scale.POSITIVE else y


def from_even_noise(y: Floats, scale: Scale) -> Floats:
    """Back again."""
    if scale is Scale.COUNT:
        return np.asarray(np.maximum(np.square(np.maximum(y, 0.0)) / 4 - 0.375, 0.0))
    return np.exp(np.minimum(y, 700.0)) if scale is Scale.POSITIVE else y


def _plain(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
