"""Allocation of traffic to the arm that seems best, with the probability of every choice, which inference needs.

Everything is deterministic: posteriors give each arm's probability of being best by quadrature (in logarithms, so that
a poor arm's is small and never 0), allocations are vectors, and a choice is made from one number that the caller drew.
Lower is better by turning the outcomes round (failures for successes, −mean for mean), so that both directions are the
same arithmetic.

Sources
- Thompson, W. R. (1933), Biometrika 25, 285–294: an arm with the probability that it is best.
- Russo, D. (2016), Simple Bayesian algorithms for best-arm identification, COLT, §3.2: top-two Thompson sampling.
- Agrawal, S. and Goyal, N. (2013), ICML: linear Thompson sampling; Li, L., Chu, W., Langford, J. and Schapire, R. E.
  (2010), WWW, algorithm 1: LinUCB.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Array = NDArray[np.float64]
_RULE = np.polynomial.legendre.leggauss(8)
_REACH = 38  # standard deviations around each arm that are integrated: tails to 1e-300


@dataclass(frozen=True, slots=True)
class Choice:
    """The arm chosen (from 0) and the probability with which it was, to be stored with the assignment."""

    arm: int
    propensity: float


def best_of_shares(
    successes: ArrayLike,
    failures: ArrayLike,
    *,
    higher_is_better: bool = True,
    prior: tuple[float, float] = (1.0, 1.0),
) -> _Array:
    """ln P(arm has the best success rate), Beta posteriors; one per arm. `prior` is (successes, failures) before any.

    Raises ValueError for fewer than two arms, negative or not finite counts, or a prior that is not positive.
    """
    won, lost = _pair(successes, failures)
    if (won < 0).any() or (lost < 0).any() or not all(0 < part < math.inf for part in prior):
        raise ValueError("successes and failures are 0 or more, and the prior is above 0")
    a, b = won + prior[0], lost + prior[1]
    return _best_of_betas(a, b) if higher_is_better else _best_of_betas(b, a)


def best_of_means(means: ArrayLike, errors: ArrayLike, *, higher_is_better: bool = True) -> _Array:
    """ln P(arm has the best mean), normal posteriors with standard deviations `errors`; one per arm.

    Raises ValueError for fewer than two arms, or errors that are not positive.
    """
    centre, spread = _pair(means, errors)
    if (spread <= 0).any():
        raise ValueError("each arm needs an error above 0; give an arm without data a wide one")
    centre = centre if higher_is_better else -centre
    from scipy.special import log_ndtr

    def log_density(x: _Array) -> _Array:
        z = (x[:, None] - centre) / spread
        return -z * z / 2 - np.log(spread * math.sqrt(2 * math.pi))

    def log_below(x: _Array) -> _Array:
        return np.asarray(log_ndtr((x[:, None] - centre) / spread), dtype=np.float64)

    return _log_best(centre, spread, log_density, log_below)


def thompson(log_best: ArrayLike) -> _Array:
    """Thompson sampling's probabilities: that of being best."""
    logs = np.asarray(log_best, dtype=np.float64)
    shares = np.exp(logs - logs.max())
    return np.asarray(shares / shares.sum(), dtype=np.float64)


def top_two(log_best: ArrayLike, *, leader: float = 0.5) -> _Array:
    """Top-two Thompson sampling's probabilities in closed form (Russo 2016): the best of a draw with the chance
    `leader`, else the best of a draw in which another one won.

    With α the probabilities of being best: ψᵢ = αᵢ (β + (1 − β) Σ_{j≠i} αⱼ / (1 − αⱼ)). 1 − αⱼ is the sum of the
    others, in logarithms, so that a sure leader still has a challenger, with two arms as with many.
    """
    if not 0 < leader < 1:
        raise ValueError("the leader's chance lies between 0 and 1")
    logs = np.asarray(log_best, dtype=np.float64)
    if logs.ndim != 1 or logs.size < 2 or np.isnan(logs).any():
        raise ValueError("a choice needs two arms or more")
    logs = np.maximum(logs, -1e300)  # an arm that is given as impossible is only far away
    logs = logs - _log_total(logs)
    others = np.array([_log_total(np.delete(logs, j)) for j in range(logs.size)])
    # Given that j leads, i challenges with αᵢ / (1 − αⱼ).
    ratios = logs[None, :] - others[:, None]
    np.fill_diagonal(ratios, -np.inf)
    challenge = np.exp(ratios)
    shares = np.exp(logs)
    found = leader * shares + (1 - leader) * shares @ challenge
    return np.asarray(found / found.sum(), dtype=np.float64)


def with_floor(probabilities: ArrayLike, floor: float) -> _Array:
    """No arm below `floor`: inference after a bandit needs that each arm keeps being tried.

    Raises ValueError unless 0 ≤ floor ≤ 1 / arms.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    if not 0 <= floor * shares.size <= 1 or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise ValueError("probabilities are 0 or more and sum to 1, and the floor leaves room for all arms")
    return np.asarray(floor + (1 - floor * shares.size) * shares, dtype=np.float64)


def choose(probabilities: Sequence[float], draw: float) -> Choice:
    """The arm that a number `draw` in [0, 1) falls on; never one of probability 0."""
    if not 0 <= draw < 1:
        raise ValueError("a draw lies in [0, 1)")
    edges = list(accumulate(probabilities))
    if not edges or min(probabilities) < 0 or abs(edges[-1] - 1) > 1e-6:
        raise ValueError("probabilities are 0 or more and sum to 1")
    arm = bisect_right(edges, draw * edges[-1])
    while arm >= len(edges) or probabilities[arm] == 0:
        arm -= 1
    return Choice(arm, float(probabilities[arm]))


@dataclass(frozen=True, slots=True, eq=False)
class LinearArms:
    """What a contextual bandit knows: per arm ridge·I + Σ x xᵀ, shape (arms, d, d), and Σ outcome·x, (arms, d)."""

    precision: _Array
    weighted: _Array

    @classmethod
    def fresh(cls, arms: int, dimensions: int, *, ridge: float = 1.0) -> "LinearArms":
        """Before any outcome. Raises ValueError for fewer than two arms, no dimension or a ridge that is not positive."""
        if arms < 2 or dimensions < 1 or not 0 < ridge < math.inf:
            raise ValueError(
                "a contextual choice needs two arms or more, a dimension or more, and a ridge above 0"
            )
        return cls(np.tile(ridge * np.eye(dimensions), (arms, 1, 1)), np.zeros((arms, dimensions)))

    def learned(self, arm: int, context: ArrayLike, outcome: float) -> "LinearArms":
        """With one outcome more. Raises ValueError for an arm or context of another shape, or what is not finite."""
        x = self._context(context)
        if not 0 <= arm < self.precision.shape[0] or not math.isfinite(outcome):
            raise ValueError("an outcome needs one of the arms and a finite value")
        precision, weighted = self.precision.copy(), self.weighted.copy()
        precision[arm] += np.outer(x, x)
        weighted[arm] += outcome * x
        return LinearArms(precision, weighted)

    def predictions(self, context: ArrayLike) -> tuple[_Array, _Array]:
        """Each arm's predicted outcome and the width √(xᵀA⁻¹x) of its doubt, in units of the outcome's own spread."""
        x = self._context(context)
        # Solved together, one right-hand side per arm: A⁻¹x gives both numbers.
        solved = np.linalg.solve(self.precision, np.broadcast_to(x, self.weighted.shape)[..., None])[..., 0]
        widths = np.sqrt(np.maximum(solved @ x, 0.0))
        return np.asarray((solved * self.weighted).sum(axis=1), dtype=np.float64), widths

    def log_best(self, context: ArrayLike, *, spread: float = 1.0, higher_is_better: bool = True) -> _Array:
        """ln P(arm is best here) under linear Thompson sampling; `spread` is v. Exact, for arms are independent."""
        means, widths = self.predictions(context)
        if not widths.all():
            raise ValueError("the context is all 0 and says nothing about any arm; give it a constant 1")
        return best_of_means(means, spread * widths, higher_is_better=higher_is_better)

    def upper_bounds(
        self, context: ArrayLike, *, alpha: float = 1.0, higher_is_better: bool = True
    ) -> _Array:
        """LinUCB's score of each arm: the largest is to be chosen, in either direction."""
        means, widths = self.predictions(context)
        return (means if higher_is_better else -means) + alpha * widths

    def _context(self, context: ArrayLike) -> _Array:
        x = np.asarray(context, dtype=np.float64)
        if x.shape != self.weighted.shape[1:] or not np.isfinite(x).all():
            raise ValueError(f"a context here is {self.weighted.shape[1]} finite numbers")
        return x


def linear_ucb(scores: ArrayLike, *, floor: float = 0.0) -> _Array:
    """LinUCB as probabilities: all on the largest score (even among equals), but for the floor."""
    given = np.asarray(scores, dtype=np.float64)
    best = (given == given.max()).astype(np.float64)
    return with_floor(best / best.sum(), floor)


def _best_of_betas(a: _Array, b: _Array) -> _Array:
    """On the scale of log-odds, where Beta densities are smooth and have no ends."""
    from scipy.special import betainc, betaln, digamma, polygamma

    centre = np.asarray(digamma(a) - digamma(b), dtype=np.float64)
    spread = np.sqrt(np.asarray(polygamma(1, a) + polygamma(1, b), dtype=np.float64))
    constant = np.asarray(betaln(a, b), dtype=np.float64)

    def log_density(x: _Array) -> _Array:
        y = x[:, None]
        return -a * np.logaddexp(0.0, -y) - b * np.logaddexp(0.0, y) - constant

    def log_below(x: _Array) -> _Array:
        share = 1 / (1 + np.exp(-np.clip(x, -700, 700)))[:, None]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(betainc(a, b, share)), dtype=np.float64)

    return _log_best(centre, spread, log_density, log_below)


def _log_best(
    centre: _Array,
    spread: _Array,
    log_density: Callable[[_Array], _Array],
    log_below: Callable[[_Array], _Array],
) -> _Array:
    """ln ∫ fᵢ Π_{j≠i} Fⱼ for each arm; beyond the reach of numbers the exponent of its closest rival."""
    x, factors = _grid(centre, spread)
    below, density = log_below(x), log_density(x)
    found = np.empty(centre.size)
    for i in range(centre.size):
        rivals = np.delete(below, i, axis=1).sum(axis=1)
        with np.errstate(divide="ignore"):
            found[i] = _log_total(density[:, i] + rivals + np.log(factors))
    far = ~(found > -600)
    if far.any():
        found = np.where(far, np.minimum(_rival_bound(centre, spread), -600.0), found)
    return found - _log_total(found)


def _rival_bound(centre: _Array, spread: _Array) -> _Array:
    from scipy.special import log_ndtr

    gaps = centre[:, None] - centre[None, :]
    z = gaps / np.sqrt(spread[:, None] ** 2 + spread[None, :] ** 2)
    np.fill_diagonal(z, np.inf)
    return np.asarray(log_ndtr(z).min(axis=1), dtype=np.float64)


def _grid(centre: _Array, spread: _Array) -> tuple[_Array, _Array]:
    """Gauss–Legendre panels of one standard deviation or two, around every arm; close around the sharpest."""
    steps = np.concatenate((np.arange(-_REACH, -6, 2), np.arange(-6, 6), np.arange(6, _REACH + 1, 2)))
    edges = np.unique((centre[:, None] + spread[:, None] * steps).ravel())
    half = np.diff(edges) / 2
    nodes, factors = _RULE
    points = (edges[:-1] + half)[:, None] + half[:, None] * nodes
    return points.ravel(), (half[:, None] * factors).ravel()


def _log_total(logs: _Array) -> float:
    largest = float(logs.max())
    if not math.isfinite(largest):
        return largest
    return largest + math.log(float(np.exp(logs - largest).sum()))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[_Array, _Array]:
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != other.shape or one.size < 2:
        raise ValueError("a choice needs two arms or more, with two numbers each")
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        raise ValueError("what arms have shown is finite")
    return one, other
