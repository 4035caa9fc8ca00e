"""Quantiles of two arms at every look of many runs at once, as `decide` reads them from the counters of sketches."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.experiments.cells import Runs
from core.stats.quantile_sequences import log_martingale
from core.stats.sketches import LogSketch

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


def judge_quantiles(runs: Runs, counts: Counts, q: float, level: float) -> tuple[Flags, Floats]:
    """By counters of the sketch. «No difference» is refused where every common counter refuses it, so that one which
    does not is enough; only where that of the pooled quantile does are the others looked at."""
    keys = _keys(runs.totals)
    middle = int(np.quantile(keys, q))
    logs = np.zeros(runs.arms.shape)
    for k in (0, 1):
        below = ((runs.arms == k) & (keys < middle)).cumsum(axis=1)
        through = ((runs.arms == k) & (keys <= middle)).cumsum(axis=1)
        logs += log_martingale(below, through, counts[k], q)
    over, value = np.asarray(logs > level), np.zeros(runs.arms.shape)
    for run in np.flatnonzero(over.any(axis=1)):
        one = _OneRun(keys[run], runs.arms[run], counts[:, run], q)
        places = np.flatnonzero(over[run])
        for step in (1, -1, 2, -2, 4, -4, 8, -8):
            places = places[one.log_at(places, middle + step) > level]
        over[run] = False
        if places.size:
            least, value[run, places] = one.least(places, middle)
            over[run, places] = least > level
    return over[None], value[None]


@dataclass(frozen=True, slots=True)
class _OneRun:
    """One run's counters, arms and numbers of units by arm and look."""

    keys: Counts
    arms: NDArray[np.int8]
    counts: Counts
    q: float

    def through(self, k: int, places: Counts, key: int) -> Counts:
        """Values of an arm in this counter and below, at some looks."""
        found: Counts = ((self.arms == k) & (self.keys <= key)).cumsum()[places]
        return found

    def log_at(self, places: Counts, key: int) -> Floats:
        """log e against a common quantile in one counter."""
        parts = [
            log_martingale(
                self.through(k, places, key - 1), self.through(k, places, key), self.counts[k, places], self.q
            )
            for k in (0, 1)
        ]
        return parts[0] + parts[1]

    def least(self, places: Counts, middle: int) -> tuple[Floats, Floats]:
        """The least over all counters, and by how many the arms' own quantiles lie apart. Each arm's log M falls up to
        its own quantile's counter and rises from there, so that the least of the sum lies between the two: a window
        that holds both is enough."""
        last = int(self.keys.max())
        for width in (24, last + 1):
            window = range(max(0, middle - width), min(last, middle + width) + 1)
            at, own = np.zeros((places.size, len(window))), []
            for k in (0, 1):
                edges = [self.through(k, places, key) for key in (window[0] - 1, *window)]
                counted = np.stack(edges, axis=1)
                n = self.counts[k, places][:, None]
                at += log_martingale(counted[:, :-1], counted[:, 1:], n, self.q)
                own.append((counted < self.q * n).sum(axis=1) - 1)
            if all(((place >= 0) & (place < len(window))).all() for place in own):
                break
        return at.min(axis=1), (own[1] - own[0]).astype(np.float64)


def _keys(values: Floats) -> Counts:
    """The counter of each value, numbered over all that occur; as LogSketch counts."""
    edges = np.array([low for low, _, _ in LogSketch.of(values.ravel()).buckets()])
    return np.searchsorted(edges, values, side="right") - 1
