"""E-values: evidence that may be looked at whenever anybody likes, put together over arms.

An e-process starts at 1 and, where there is no effect, exceeds 1/α at any time with probability α at most (Ville 1939),
so 1/e is a p-value at every moment. All numbers here are natural logarithms: evidence of e^1000 is still evidence.

Sources
- Vovk, V. and Wang, R. (2021), E-values: calibration, combination and applications, Annals of Statistics 49, 1736–1754:
  weighted means of e-values are e-values (§3), and with them Marcus's closure gives adjusted ones (§5, algorithm 1).
- Marcus, R., Peritz, E. and Gabriel, K. R. (1976), Biometrika 63, 655–660: closed testing.
"""

import sys

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_SMALLEST = sys.float_info.min


def p_value(log_e: ArrayLike) -> Floats:
    """min(1, 1/e), with its full relative accuracy down to 1e-300; never 0, but the smallest double there is in full."""
    return np.maximum(_SMALLEST, np.exp(-np.maximum(0.0, np.asarray(log_e, dtype=np.float64))))


def adjusted_log_e(log_e: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Logarithms of the closure's adjusted e-values, of the same shape (…, hypotheses).

    That of hypothesis i is the least of the weighted means over all sets that hold i: rejecting those of 1/α and more
    makes one false claim or more with probability α at most, at any time. `weights` are equal where left out. The least
    mean takes others from the smallest on, so that hypotheses · log(hypotheses) sums are enough.
    """
    logs = np.asarray(log_e, dtype=np.float64)
    shares = _log_weights(logs, weights)
    order = np.argsort(logs, axis=-1, kind="stable")
    ranked, ranked_shares = np.take_along_axis(logs, order, -1), np.take_along_axis(shares, order, -1)
    adjusted = np.empty_like(logs)
    for i in range(logs.shape[-1]):
        own, own_share = logs[..., i : i + 1], shares[..., i : i + 1]
        others = np.where(order == i, -np.inf, ranked + ranked_shares)
        other_shares = np.where(order == i, -np.inf, ranked_shares)
        sums = np.logaddexp(own + own_share, np.logaddexp.accumulate(others, axis=-1))
        sizes = np.logaddexp(own_share, np.logaddexp.accumulate(other_shares, axis=-1))
        adjusted[..., i] = np.minimum(own[..., 0], (sums - sizes).min(axis=-1))
    return adjusted


def closed_log_threshold(log_e: ArrayLike, log_level: float, weights: ArrayLike | None = None) -> Floats:
    """What each log e would have to reach, the others being as they are, for its adjusted one to reach `log_level`.

    The interval of an arm at this threshold leaves 0 out exactly when its adjusted p-value is below e^−log_level. Alone
    it is log_level; of k equally weighted arms without evidence it is close to log k more.
    """
    logs = np.asarray(log_e, dtype=np.float64)
    shares = np.exp(_log_weights(logs, weights))
    level = np.exp(log_level)
    # Others that are at the level themselves never make it harder.
    values = np.exp(np.minimum(logs, log_level))
    lacking = np.where(logs >= log_level, 0.0, shares * (level - values))
    total = lacking.sum(axis=-1, keepdims=True)
    threshold: Floats = np.log(level + (total - lacking) / shares)
    return threshold


def _log_weights(logs: Floats, weights: ArrayLike | None) -> Floats:
    if weights is None:
        return np.zeros_like(logs)
    given = np.asarray(weights, dtype=np.float64)
    if not (given > 0).all():
        raise ValueError("the weights of e-values are above 0")
    return np.log(np.broadcast_to(given, logs.shape))
