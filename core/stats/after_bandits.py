"""What arms are worth after a bandit divided the traffic: estimates that its choices do not bias, with intervals.

An arm that was unlucky early is tried less and stays low, so its plain mean is too low, and no interval around it holds.
Weighting by the stored propensities mends the bias, and weights that follow them mend the spread.

Source: Hadad, V., Hirshberg, D. A., Zhan, R., Wager, S. and Athey, S. (2021), PNAS 118 (15), e2014602118: scores (2),
estimate (4) and its variance (5), weights √e (constant allocation rate), contrasts (appendix on contrasts).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.stats.proportions import CONFIDENCE, Interval, critical_value
from core.stats.tails import Significance, normal_test

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Per decision and arm: the doubly robust score and its weight; both have the shape (decisions, arms)."""

    values: _Array
    weights: _Array

    @property
    def arms(self) -> int:
        """How many arms there are."""
        return int(self.values.shape[1])


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean outcome (or a difference of two) with its standard error and interval."""

    value: float
    error: float
    interval: Interval
    test: Significance | None = None


def scores(arms: ArrayLike, outcomes: ArrayLike, propensities: ArrayLike) -> Scores:
    """Scores m̂ + 1{chosen} (outcome − m̂) / e of decisions in the order in which they were made.

    `arms` and `outcomes` are (decisions,), `propensities` (decisions, arms): the probabilities of all arms when the
    decision was made. m̂ is the mean of the arm's outcomes before, so no decision predicts itself.
    Raises ValueError for shapes that do not fit, an arm that does not exist, a chosen arm whose probability was 0, any
    arm whose probability was 0 (it cannot be judged), or what is not finite.
    """
    chosen = np.asarray(arms)
    y, e = np.asarray(outcomes, dtype=np.float64), np.asarray(propensities, dtype=np.float64)
    if e.ndim != 2 or chosen.shape != y.shape or y.shape != e.shape[:1] or y.size < 2:
        raise ValueError("each decision needs an arm, an outcome and the probabilities of all arms")
    if not np.isin(chosen, np.arange(e.shape[1])).all() or not np.isfinite(y).all():
        raise ValueError("a decision names one of the arms and has a finite outcome")
    if not ((e > 0) & (e <= 1)).all() or (np.abs(e.sum(axis=1) - 1) > 1e-6).any():
        raise ValueError("probabilities are above 0 and sum to 1 at each decision; allocate with a floor")
    picked = chosen[:, None] == np.arange(e.shape[1])
    count = np.cumsum(picked, axis=0) - picked
    total = np.cumsum(picked * y[:, None], axis=0) - picked * y[:, None]
    before = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    return Scores(before + picked * (y[:, None] - before) / e, np.sqrt(e))


def arm_mean(given: Scores, arm: int, *, confidence: float = CONFIDENCE) -> Estimate:
    """Mean outcome of an arm, were it used throughout (eq. 4 and 5). Raises ValueError for an arm that does not exist."""
    value, parts = _estimate(given, arm)
    return _with_interval(value, parts, confidence)


def arm_difference(
    given: Scores, control: int, treatment: int, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Mean outcome of the treatment minus that of the control, with its test. Raises ValueError as `arm_mean`."""
    if control == treatment:
        raise ValueError("an arm is not compared with itself")
    value_c, parts_c = _estimate(given, control)
    value_t, parts_t = _estimate(given, treatment)
    found = _with_interval(value_t - value_c, parts_t - parts_c, confidence)
    return Estimate(found.value, found.error, found.interval, normal_test(found.value / found.error))


def _estimate(given: Scores, arm: int) -> tuple[float, _Array]:
    """The weighted mean and each decision's part of its error."""
    if not 0 <= arm < given.arms:
        raise ValueError(f"there are arms 0 to {given.arms - 1}, not {arm}")
    h, gamma = given.weights[:, arm], given.values[:, arm]
    value = float(h @ gamma) / float(h.sum())
    return value, h * (gamma - value) / float(h.sum())


def _with_interval(value: float, parts: _Array, confidence: float) -> Estimate:
    error = math.sqrt(float(parts @ parts))
    if error <= 0:
        raise ValueError("no outcome differs from another, so the estimate has no interval")
    half = critical_value(confidence) * error
    return Estimate(value, error, Interval(value, value - half, value + half))
