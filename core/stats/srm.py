"""Sample ratio mismatch: do the arms hold as many units as their weights say?

Source: Lindon, M. and Malek, A. (2022), Anytime-valid inference for multinomial count data, NeurIPS 35: with a
Dirichlet mixture around the planned shares, the posterior odds that they are wrong are an e-process, after every unit.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONCENTRATION = 1_000.0  # the mixture looks for shares that are off by a few in a hundred
LEVEL = 0.01  # a false alarm in one of a hundred experiments, however long they run


def log_e_ratio(
    counts: ArrayLike, weights: Sequence[float], *, concentration: float = CONCENTRATION
) -> NDArray[np.float64]:
    """Log e-value against the planned shares, over the last axis of `counts` (…, arms).

    Only arms with a weight above 0 count: the others have no share to miss. 0 where one arm alone is left.
    Raises ValueError for negative counts and for weights that are negative or all 0.
    """
    from scipy.special import gammaln

    found = np.asarray(counts, dtype=np.float64)
    shares = np.asarray(weights, dtype=np.float64)
    if shares.min() < 0 or not shares.sum() > 0 or (found < 0).any():
        raise ValueError("counts are not negative, and some weight is above 0")
    found, shares = found[..., shares > 0], shares[shares > 0] / shares.sum()
    prior, total = concentration * shares, found.sum(axis=-1)
    drawn = (gammaln(prior + found) - gammaln(prior) - found * np.log(shares)).sum(axis=-1)
    evidence: NDArray[np.float64] = gammaln(concentration) - gammaln(concentration + total) + drawn
    return evidence


def chi_square_p(counts: Sequence[int], weights: Sequence[float]) -> float | None:
    """p-value of Pearson's chi-square against the planned shares, for one look at the end; arms of weight 0 give no
    degree of freedom. None where there is nothing to compare. Accurate to 1e-300 and below: a tail, never 1 − cdf."""
    from scipy.special import chdtrc

    kept = [(n, w) for n, w in zip(counts, weights, strict=True) if w > 0]
    total, whole = sum(n for n, _ in kept), sum(w for _, w in kept)
    if len(kept) < 2 or total == 0:
        return None
    statistic = sum((n - total * w / whole) ** 2 / (total * w / whole) for n, w in kept)
    return float(chdtrc(len(kept) - 1, statistic))


def expected_units(counts: Sequence[int], weights: Sequence[float]) -> list[float]:
    """Units that each arm should have of those in arms with a weight."""
    total = sum(n for n, w in zip(counts, weights, strict=True) if w > 0)
    return [total * w / sum(weights) for w in weights]
