"""Sums over units, from which every mean, ratio and adjusted mean of an experiment follows.

A unit (a person, a session, a request) brings a total y (successes, milliseconds) and a size x (its requests; 1 where
only the unit itself counts). Sums add up: over days, processes and files, in any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class UnitSums:
    """How many units, and the sums over them of y, y², x, x² and xy."""

    n: float = 0.0
    y: float = 0.0
    yy: float = 0.0
    x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    @classmethod
    def of(cls, totals: Sequence[float], sizes: Sequence[float] | None = None) -> "UnitSums":
        """Of units given one by one; `sizes` left out: 1 each.

        Raises ValueError for unequal lengths, and for numbers that are not finite or whose squares are not.
        """
        y: NDArray[np.float64] = np.asarray(totals, dtype=np.float64)
        x = np.ones_like(y) if sizes is None else np.asarray(sizes, dtype=np.float64)
        if y.shape != x.shape or y.ndim != 1:
            raise ValueError("each unit needs one total and one size")
        if not (np.isfinite(y).all() and np.isfinite(x).all()):
            raise ValueError("totals and sizes are finite numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            sums = [float(part.sum()) for part in (y, y * y, x, x * x, x * y)]
        if not all(math.isfinite(each) for each in sums):
            raise ValueError("totals and sizes are too large for their squares to be added up")
        return cls(float(y.size), *sums)

    def __add__(self, other: "UnitSums") -> "UnitSums":
        return UnitSums(
            self.n + other.n,
            self.y + other.y,
            self.yy + other.yy,
            self.x + other.x,
            self.xx + other.xx,
            self.xy + other.xy,
        )

    def replaced(self, before: tuple[float, float], after: tuple[float, float]) -> "UnitSums":
        """With one unit's (y, x) changed from `before` to `after`."""
        (y0, x0), (y1, x1) = before, after
        return UnitSums(
            self.n,
            self.y + y1 - y0,
            self.yy + y1 * y1 - y0 * y0,
            self.x + x1 - x0,
            self.xx + x1 * x1 - x0 * x0,
            self.xy + x1 * y1 - x0 * y0,
        )

    @property
    def ratio(self) -> float:
        """Σy / Σx; not a number where no size is there."""
        return self.y / self.x if self.x > 0 else math.nan

    @property
    def unit_variance(self) -> float:
        """Variance over units of the linearized value (y − R·x) / mean(x), with n − 1 (Deng et al. 2018, §2.2; Cochran
        1977, §6.4). Divided by n it is the variance of the ratio. Not a number below two units, or where the sums are
        none: a variance of 0 would claim what nobody knows."""
        if self.n < 2 or self.x <= 0:
            return math.nan
        ratio = self.y / self.x
        squares = self.yy - 2 * ratio * self.xy + ratio * ratio * self.xx
        if not math.isfinite(squares):
            return math.nan
        return max(0.0, squares) / (self.n - 1) / (self.x / self.n) ** 2

    @property
    def effective_units(self) -> float:
        """Kish's size (Σx)² / Σx²: as many units of equal size would say as much were the requests of each all alike."""
        return self.x * self.x / self.xx if self.xx > 0 else 0.0
