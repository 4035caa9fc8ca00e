"""What a change did: the series after it beside what it would have been, told from series that the change did not touch.

Before the change the series is learned as level, controls and waves (core/stats/structural.py); after it the model runs on
with the controls alone. The difference is the effect, its interval is that of the futures that were possible.

It is only as good as its controls: they must not be touched by the change, and must have gone along with the series for
another reason. Without a control the interval only knows how the series moved by itself.

Source: Brodersen, K. H., Gallusser, F., Koehler, J., Remy, N. and Scott, S. L. (2015), Inferring causal impact using
Bayesian structural time-series models, Annals of Applied Statistics 9, 247–274: eqs. 2.1–2.3 (model), 2.16–2.17 (pointwise
and cumulative impact). In place of their sampler, the few variances are weighed on a grid, all alike beforehand, and the
rest is exact. Simulated (60 values before, 30 after, one control), a 95 % interval covers 99 % where the level stands still,
97 % where it moves by 0.05 of the noise at each step, 93.5 % at 0.3; a prior that favours small moves covered 90 % there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.stats.forecast import season_columns
from core.stats.proportions import Interval
from core.stats.structural import Floats, Ratios, draw_paths, run_filters, weigh

CONFIDENCE = 0.95
DRAWS = 4000
LEAST_BEFORE = 14
_LEVELS = (0.0, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0)
_PRIOR = (1.0,) * len(_LEVELS)


@dataclass(frozen=True, slots=True)
class Impact:
    """The effect of a change. `expected` by step after it, with ends; `average` and `total` are the effect, in the series'
    unit and over all steps; `relative` is the total as a part of what was expected, None where that is not clearly above
    0. `tail` is the probability of a total on the other side of 0 (one-sided). `moved`: the interval leaves 0 out."""

    expected: tuple[Interval, ...]
    average: Interval
    total: Interval
    relative: Interval | None
    tail: float
    before: int
    after: int
    confidence: float

    @property
    def moved(self) -> bool:
        """Whether the interval of the total leaves 0 out."""
        return self.total.low > 0 or self.total.high < 0


def causal_impact(
    series: Sequence[float],
    changed_at: int,
    *,
    controls: Sequence[Sequence[float]] = (),
    seasons: Sequence[float] = (),
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Impact:
    """The effect of a change before the value with the index `changed_at`; `series` oldest first, evenly spaced, NaN where
    a value is missing; each control as long as the series and without missing values.

    Raises ValueError for a control that does not fit or never moves before the change, for fewer than LEAST_BEFORE known
    values before it or none after it, and for infinite values.
    """
    y = np.asarray(series, dtype=np.float64)
    before = _check(y, changed_at, confidence)
    x = _control_columns(controls, len(y), changed_at)
    used = tuple(period for period in seasons if changed_at >= 2 * period)
    columns = np.column_stack([x, season_columns(len(y), used)])
    if columns.shape[1] + 3 > before:
        raise ValueError("there are too few values before the change for so many controls and seasons")
    centre, spread = float(np.nanmean(y[:changed_at])), float(np.nanstd(y[:changed_at])) or 1.0
    fits = run_filters(
        (y[:changed_at] - centre) / spread,
        columns[:changed_at],
        [Ratios(q) for q in _LEVELS],
        with_slope=False,
    )
    weights = weigh(fits, _PRIOR)
    paths = draw_paths(fits, weights, columns[changed_at:], with_slope=False, draws=draws, seed=seed)
    return _effect(y[changed_at:], centre + spread * paths, before, confidence)


def _effect(seen: Floats, paths: Floats, before: int, confidence: float) -> Impact:
    tail = 100 * (1 - confidence) / 2
    known = ~np.isnan(seen)
    ends = np.percentile(paths, [tail, 100 - tail], axis=0)
    expected = tuple(
        Interval(float(np.median(paths[:, t])), float(ends[0, t]), float(ends[1, t]))
        for t in range(paths.shape[1])
    )
    would = paths[:, known].sum(axis=1)
    totals = float(seen[known].sum()) - would
    count = int(known.sum())
    total = _interval(totals, tail)
    clear = float(np.percentile(would, tail)) > 0
    return Impact(
        expected=expected,
        average=Interval(total.value / count, total.low / count, total.high / count),
        total=total,
        relative=_interval(totals / would, tail) if clear and bool((would > 0).all()) else None,
        tail=float(min((totals <= 0).mean(), (totals >= 0).mean())),
        before=before,
        after=count,
        confidence=confidence,
    )


def _interval(draws: NDArray[np.float64], tail: float) -> Interval:
    low, middle, high = np.percentile(draws, [tail, 50, 100 - tail])
    return Interval(float(middle), float(low), float(high))


def _check(y: Floats, changed_at: int, confidence: float) -> int:
    if y.ndim != 1 or np.isinf(y).any() or not 0 < confidence < 1:
        raise ValueError("a series is a row of finite numbers, and a confidence lies between 0 and 1")
    if not 0 < changed_at < len(y):
        raise ValueError("the change lies within the series")
    before = int(np.count_nonzero(~np.isnan(y[:changed_at])))
    if before < LEAST_BEFORE or np.isnan(y[changed_at:]).all():
        raise ValueError(f"an effect needs {LEAST_BEFORE} values before the change and one after it")
    return before


def _control_columns(controls: Sequence[Sequence[float]], length: int, changed_at: int) -> Floats:
    """As columns of mean 0 and spread 1 before the change."""
    columns = []
    for control in controls:
        x = np.asarray(control, dtype=np.float64)
        if x.shape != (length,) or not np.isfinite(x).all():
            raise ValueError("a control is as long as the series and has no missing value")
        spread = float(x[:changed_at].std())
        if spread <= 1e-12 * (1 + float(np.abs(x).max())):
            raise ValueError("a control that never moves before the change says nothing")
        columns.append((x - x[:changed_at].mean()) / spread)
    return np.column_stack(columns) if columns else np.zeros((length, 0))
