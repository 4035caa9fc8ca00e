"""Hours that do not fit: marks in an hourly series, each with the interval that was expected.

Expected is the level of the days around (a rolling median) and what the same hour of the week is used to above or below
it (the median of the other weeks, the hour itself left out). What is left over gives the spread, by its median absolute
deviation, separately for low, middle and high levels: so counts may be more dispersed than Poisson's by any factor, and
a factor that changes with the level. Medians do not move with the anomalies that are looked for.

Sources
- Cleveland, R. B. et al. (1990), STL, Journal of Official Statistics 6, 3–73: level and season taken out, one by one.
- Vallis, O., Hochenbaum, J. and Kejariwal, A. (2014), HotCloud: medians in place of means there.
- Rousseeuw, P. J. and Croux, C. (1993), JASA 88, 1273–1283: the median absolute deviation, 1.4826 for normal noise.
- Anscombe (1948), eq. 1.1: see core/stats/forecast.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.stats.forecast import Scale, checked_values, from_even_noise, to_even_noise
from core.stats.proportions import critical_value
from core.stats.structural import Floats

CONFIDENCE = 0.999  # one hour in a thousand is marked although nothing is wrong with it
DAY, WEEK = 24, 168
LEAST_PERIODS = 3
LEAST_VALUES = 24
_MAD = 1.4826
_GROUP = 100  # values that a spread of its own needs


@dataclass(frozen=True, slots=True)
class Mark:
    """One hour: its value (NaN: missing) beside the interval that was expected. `anomaly`: it lies outside."""

    value: float
    expected: float
    low: float
    high: float
    anomaly: bool


def mark_anomalies(
    series: Sequence[float], *, scale: Scale = Scale.COUNT, confidence: float = CONFIDENCE
) -> list[Mark]:
    """A Mark for each hour of `series`, oldest first, evenly spaced, NaN where a value is missing.

    Three weeks and more: by hour of the week; three days and more: by hour of the day; else by level alone. Raises
    ValueError for fewer than LEAST_VALUES values, infinite ones, or values that the scale does not have.
    """
    y = checked_values(series, scale)
    if np.count_nonzero(~np.isnan(y)) < LEAST_VALUES:
        raise ValueError(f"anomalies need {LEAST_VALUES} hours at least")
    x = to_even_noise(y, scale)
    period = next((p for p in (WEEK, DAY) if len(x) >= LEAST_PERIODS * p), None)
    expected = _rolling_median(x, WEEK if period == WEEK else DAY)
    if period is not None:
        expected = expected + _of_other_periods(x - expected, period)
    half = critical_value(confidence) * _spread(x - expected, expected)
    low, middle, high = (
        from_even_noise(each, scale) for each in (expected - half, expected, expected + half)
    )
    if scale is Scale.COUNT:
        low, high = np.floor(low), np.ceil(high)
    outside = ~np.isnan(y) & ((y < low) | (y > high))
    return [
        Mark(float(y[i]), float(middle[i]), float(low[i]), float(high[i]), bool(outside[i]))
        for i in range(len(y))
    ]


def _rolling_median(x: Floats, window: int) -> Floats:
    """Of the `window` values around each, fewer at the ends."""
    half = window // 2
    padded = np.concatenate([np.full(half, np.nan), x, np.full(half, np.nan)])
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return _median(views, axis=1, otherwise=float(np.nanmedian(x)))


def _of_other_periods(x: Floats, period: int) -> Floats:
    """The median of the values one, two, … periods away, without the value itself; 0 where there is none."""
    rows = -(-len(x) // period)
    table = np.full((rows, period), np.nan)
    table.flat[: len(x)] = x
    found = [_median(np.delete(table, row, axis=0), axis=0, otherwise=0.0) for row in range(rows)]
    return np.concatenate(found)[: len(x)]


def _median(values: NDArray[np.float64], axis: int, otherwise: float) -> Floats:
    """Medians without the missing values; `otherwise` where all are missing."""
    empty = np.isnan(values).all(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(empty, otherwise, values), axis=axis), dtype=np.float64)


def _spread(rest: Floats, expected: Floats) -> Floats:
    """The standard deviation of what is left over, where noise is normal: one for each level, from those around it."""
    known = ~np.isnan(rest)
    groups = max(1, min(5, int(known.sum()) // _GROUP))
    order = np.flatnonzero(known)[np.argsort(expected[known], kind="stable")]
    parts = np.array_split(order, groups)
    centres = np.array([np.median(expected[part]) for part in parts])
    spreads = np.array([_MAD * float(np.median(np.abs(rest[part]))) for part in parts])
    overall = _MAD * float(np.median(np.abs(rest[known])))
    spreads = np.maximum(spreads, max(overall / 4, 1e-9 * (1 + float(np.abs(expected).max()))))
    return np.asarray(np.interp(expected, centres, spreads), dtype=np.float64)
