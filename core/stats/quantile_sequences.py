"""Quantiles of two arms compared at any time, from counts of values: exact for every distribution, ties included.

If v is the q-quantile of an arm, each of its values lies at or below v with chance q, so that of n values k at or below
v gives

    log M = betaln(aq + k, a(1 − q) + n − k) − betaln(aq, a(1 − q)) − k·log q − (n − k)·log(1 − q),

a martingale from 1 (Howard and Ramdas 2022, theorem 1: the beta-binomial sequence). Both arms are independent, so M
of the one times M of the other, at their true quantiles, is one, too: pairs of quantiles whose product stays below the
threshold are those that are not refused, and the interval of the difference is what these pairs can differ by. That is
narrower than subtracting two intervals of half the error each. «No difference» is refused where the product is at the
threshold for every common v. Of a value within a counter of a sketch it is only known that k lies between the counts
below and through it; the k nearest to q·n is taken, which never helps to refuse, and is also what makes ties right.

Where units return, their values hang together: shares of values are then taken of `effective` units (Kish) in place of
n. This is exact for one value per unit and careful where a unit's values differ.

Source: Howard, S. R. and Ramdas, A. (2022), Sequential estimation of quantiles with applications to A/B testing and best-arm
identification, Bernoulli 28, 1704–1728.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.stats.confidence_sequences import SCALE
from core.stats.sketches import LogSketch

Floats = NDArray[np.float64]


def log_martingale(
    below: ArrayLike, through: ArrayLike, n: ArrayLike, q: float, *, scale: float = SCALE
) -> Floats:
    """log M against «the q-quantile lies here», of n values of which `below` lie below here and `through` not above.

    Broadcasts; counts need not be whole. 0 where n is 0.
    """
    from scipy.special import betaln

    size = np.asarray(n, dtype=np.float64)
    k = np.clip(q * size, below, through)
    a, b = scale * q, scale * (1 - q)
    found: Floats = betaln(a + k, b + size - k) - betaln(a, b) - k * math.log(q) - (size - k) * math.log1p(-q)
    return found


@dataclass(frozen=True, slots=True)
class QuantileContrast:
    """Where the quantiles of both arms may lie: by place, from the least value to beyond the largest, its ends and each
    arm's log M. `value` and `control_value` are the sketches' own quantiles; not a number without values."""

    low: Floats
    high: Floats
    log_m: Floats
    control_log_m: Floats
    value: float
    control_value: float
    units: int
    independent: bool = True

    @property
    def log_e(self) -> float:
        """Against «no difference»: the least at a common place."""
        return float(self._together(self.log_m, self.control_log_m).min())

    def difference(self, log_threshold: float) -> tuple[float, float]:
        """Treatment minus control, not refused at this log e."""
        low, high = self._kept(self.log_m, self.control_log_m.min(), log_threshold)
        least = math.inf
        most = -math.inf
        for first, second in self._pairs(low, high, log_threshold):
            least = min(least, float((self.low[first] - self.high[second]).min()))
            most = max(most, float((self.high[first] - self.low[second]).max()))
        return least, most

    def relative(self, log_threshold: float) -> tuple[float, float] | None:
        """Treatment / control − 1; None where the control's quantile may be 0 or either may have no end."""
        low, high = self._kept(self.log_m, self.control_log_m.min(), log_threshold)
        least, most = math.inf, -math.inf
        for first, second in self._pairs(low, high, log_threshold):
            if self.low[second].min() <= 0 or not math.isfinite(
                self.high[first].max() + self.high[second].max()
            ):
                return None
            least = min(least, float((self.low[first] / self.high[second]).min()))
            most = max(most, float((self.high[first] / self.low[second]).max()))
        return least - 1, most - 1

    def _kept(self, logs: Floats, other: ArrayLike, log_threshold: float) -> tuple[int, int]:
        places = np.flatnonzero(self._together(logs, np.asarray(other)) < log_threshold)
        return int(places[0]), int(places[-1]) + 1

    def _together(self, logs: Floats, control: Floats) -> Floats:
        """The product of independent arms; the mean where both answered the same requests, which holds for any arms."""
        return logs + control if self.independent else np.logaddexp(logs, control) - math.log(2)

    def _pairs(
        self, low: int, high: int, log_threshold: float
    ) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Places of treatment and control that may both be true: for each of the treatment's, the control's outermost."""
        kept = self._together(self.log_m[low:high, None], self.control_log_m[None, :]) < log_threshold
        rows = np.flatnonzero(kept.any(axis=1))
        first = kept[rows].argmax(axis=1)
        last = kept.shape[1] - 1 - kept[rows, ::-1].argmax(axis=1)
        return [(rows + low, first), (rows + low, last)]


def quantile_contrast(
    treatment: LogSketch,
    control: LogSketch,
    q: float,
    effective: tuple[float, float] | None = None,
    *,
    independent: bool = True,
    scale: float = SCALE,
) -> QuantileContrast:
    """Of two arms' values. `effective` units of treatment and control, where units bring several values each.
    `independent`: not of the same requests.

    Raises ValueError unless 0 < q < 1.
    """
    if not 0 < q < 1:
        raise ValueError("a quantile lies between 0 and 1")
    arms = [sketch.buckets() for sketch in (treatment, control)]
    edges = sorted({(low, high) for arm in arms for low, high, _ in arm})
    place = {edge: i + 1 for i, edge in enumerate(edges)}
    count = len(edges) + 2  # a place before the least value and one after the largest
    logs = []
    for number, (sketch, arm) in enumerate(zip((treatment, control), arms, strict=True)):
        counts = np.zeros(count)
        for low, high, values in arm:
            counts[place[low, high]] = values
        size = float(sketch.count) if effective is None else min(effective[number], float(sketch.count))
        part = size / sketch.count if sketch.count else 0.0
        through = counts.cumsum() * part
        logs.append(log_martingale(through - counts * part, through, through[-1], q, scale=scale))
    least, most = (edges[0][0], edges[-1][1]) if edges else (0.0, 0.0)
    return QuantileContrast(
        np.array([0.0, *(low for low, _ in edges), most]),
        np.array([least, *(high for _, high in edges), math.inf]),
        logs[0],
        logs[1],
        treatment.quantile(q) if treatment.count else math.nan,
        control.quantile(q) if control.count else math.nan,
        treatment.count + control.count,
        independent,
    )
