"""From evidence points to the share of such suggestions that turn out right.

The map is a logistic regression on the lead over the second-best target, the points of the best and whether it has
no place in RMIS. Its constants were fitted on the development shapes, each network judged by the others
(benchmarks/mapping_quality.py --fit prints them).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_MOST_LEAD, _MOST_POINTS = 8.0, 12.0


@dataclass(frozen=True, slots=True)
class Features:
    """`lead`: points of the chosen target before the best other one. `forced`: another column had taken the best."""

    lead: float
    points: float
    no_place: bool = False
    forced: bool = False

    def vector(self) -> tuple[float, ...]:
        """The numbers that the regression weighs, the constant first."""
        lead = max(-2.0, min(self.lead, _MOST_LEAD))
        points = max(0.0, min(self.points, _MOST_POINTS))
        return (1.0, lead, points, float(self.no_place), float(self.forced))


#: Weights of Features.vector().
WEIGHTS = (-0.0346, 0.5548, 0.0638, 1.6206, -1.0363)
#: Below this a suggestion is not made: the two best candidates are shown instead.
ABSTAIN_BELOW = 0.5
#: Most that is said for «nothing is suggested»: about so many of these columns have no place in RMIS.
NOT_SAID = 0.4


def confidence(features: Features, weights: Sequence[float] = WEIGHTS) -> float:
    """Share of suggestions with such evidence that are right, between 0.02 and 0.99."""
    points = sum(weight * value for weight, value in zip(weights, features.vector(), strict=True))
    return min(0.99, max(0.02, 1 / (1 + math.exp(-points))))


def fit_weights(
    features: Sequence[Features], right: Sequence[bool], *, ridge: float = 1.0, steps: int = 50
) -> tuple[float, ...]:
    """Logistic regression by Newton's method with a ridge that keeps few examples from extremes.

    Raises ValueError where there is nothing to fit.
    """
    if not features or len(features) != len(right):
        raise ValueError("a fit needs as many outcomes as examples, and at least one")
    table = np.array([each.vector() for each in features])
    wanted = np.array(right, dtype=float)
    weights = np.array(WEIGHTS)
    penalty = ridge * np.eye(table.shape[1])
    penalty[0, 0] = 1e-6
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-np.clip(table @ weights, -30, 30)))
        slope = table.T @ (wanted - chance) - penalty @ weights
        bend = (table * (chance * (1 - chance))[:, None]).T @ table + penalty
        step = np.linalg.solve(bend, slope)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-8:
            break
    return tuple(float(round(weight, 4)) for weight in weights)


def expected_calibration_error(stated: Sequence[float], right: Sequence[bool], bins: int = 10) -> float:
    """Mean distance between stated confidence and share of right ones over equally wide bins, weighed by size.

    Source: Guo, Pleiss, Sun and Weinberger (2017), ICML, «On calibration of modern neural networks», eq. 3.
    """
    if not stated:
        raise ValueError("there is nothing to measure")
    error = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [i for i, each in enumerate(stated) if low < each <= high or (index == 0 and each == 0)]
        if inside:
            sure = sum(stated[i] for i in inside) / len(inside)
            share = sum(right[i] for i in inside) / len(inside)
            error += len(inside) / len(stated) * abs(sure - share)
    return error
