"""Two shares compared pair by pair, at any time: exact for every number of pairs and every share.

The k-th unit of the treatment stands beside the k-th of the control. With d = 1 where only the treatment's succeeded, −1
where only the control's did and 0 else, E d is the difference of the shares. Somebody who bets a part λ of a fair capital
on d has ∏(1 + λ(dᵢ − δ)/(1 + δ)) where the difference is δ, which no system of betting makes large (Ville 1939). The bet
is spread over λ = 2θ − 1 with θ ~ Beta(a, a), one half of the capital on each side. At δ = 0 the whole is

    log e = betaln(a + plus, a + minus) − betaln(a, a) + (plus + minus)·ln 2,

and the side of the treatment has twice that times P(θ > ½ | plus, minus). A difference is refused where one side alone has
made twice the threshold; each side falls (rises) with δ, so that what is not refused is an interval. The relative interval
is of the same kind: z = y_treatment − g·y_control has mean 0 at the ratio g = 1 + lift, and is bounded, too.

Arms of unequal weight: only as many pairs as the smaller arm has units are used. That is exact, and wastes what the larger
arm has more: at 90/10 the interval is 1.3 times as wide as one from all units.

Sources
- Waudby-Smith, I. and Ramdas, A. (2024), Estimating means of bounded random variables by betting, JRSS B 86, 1–27, §4.
- Robbins, H. (1970), Annals of Mathematical Statistics 41, 1397–1409: mixtures over the alternative.
- McNemar, Q. (1947), Psychometrika 12, 153–157: only discordant pairs speak of a difference.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
PRIOR = 40.0  # θ within ½ ± ⅛ or so: bets on effects that are small beside the share of discordant pairs
_NODES = 40
_POINTS, _ROUNDS = 16, 8


def log_e_sides(plus: ArrayLike, minus: ArrayLike, *, prior: float = PRIOR) -> tuple[Floats, Floats]:
    """Log capital against «no difference» of the bet on the treatment and of that on the control. Broadcasts."""
    from scipy.special import betainc, betaln

    up, down = np.asarray(plus, dtype=np.float64), np.asarray(minus, dtype=np.float64)
    whole = betaln(prior + up, prior + down) - betaln(prior, prior) + (up + down) * math.log(2)
    with np.errstate(divide="ignore"):
        better = whole + math.log(2) + np.log(betainc(prior + down, prior + up, 0.5))
        worse = whole + math.log(2) + np.log(betainc(prior + up, prior + down, 0.5))
    return better, worse


def log_e_pairs(plus: ArrayLike, minus: ArrayLike, *, prior: float = PRIOR) -> Floats:
    """Log e-value against «no difference», both directions: the better side's half of the capital. Broadcasts."""
    better, worse = log_e_sides(plus, minus, prior=prior)
    return np.maximum(better, worse) - math.log(2)


def log_capital(counts: ArrayLike, gains: ArrayLike, *, prior: float = PRIOR) -> Floats:
    """log ∫ ∏ⱼ (1 + λ·gainⱼ)^countⱼ dF(λ) over 0 < λ < 1, F the upper half of 2·Beta(a, a) − 1.

    `counts` and `gains` (…, outcomes) broadcast; gains are at least −1. The integrand is log-concave: its top is found by
    Newton's method kept within brackets, and 40 Gauss–Legendre nodes cover eight deviations to each side of it.
    """
    from scipy.special import betaln

    c, g = np.broadcast_arrays(np.asarray(counts, dtype=np.float64), np.asarray(gains, dtype=np.float64))
    top, slope, bend = _top(c, g, prior)
    spread = 8 / np.sqrt(bend)
    right = np.minimum(top + spread, 1.0)
    steep = np.where(slope < 0, 45 / np.maximum(-slope, 45.0), 1.0)  # at 0 it may fall faster than a bell
    right = np.where(top == 0, np.minimum(right, steep), right)
    left = np.maximum(top - spread, 0.0)
    nodes, weights = _quadrature()
    half = (right - left) / 2
    at = left[..., None] + half[..., None] * (1 + nodes)
    logs = (prior - 1) * np.log1p(-at * at)
    for j in range(c.shape[-1]):
        logs += c[..., j, None] * np.log1p(at * g[..., j, None])
    constant = -(prior - 1) * math.log(4) - betaln(prior, prior)
    peak = logs.max(axis=-1)
    found: Floats = constant + np.log(half) + peak + np.log(np.exp(logs - peak[..., None]) @ weights)
    return found


def difference_interval(
    plus: float, minus: float, ties: float, log_threshold: float, *, prior: float = PRIOR
) -> tuple[float, float]:
    """Differences of the shares that are not refused at a log e of `log_threshold`; (−1, 1) without pairs.

    Leaves 0 out exactly where `log_e_pairs` reaches the threshold.
    """
    counts = np.array([[plus, minus, ties], [minus, plus, ties]])

    def capital(difference: Floats) -> Floats:
        below = np.full_like(difference, -1.0)
        gains = np.stack(
            [(1 - difference) / (1 + difference), below, -difference / (1 + difference)], axis=-1
        )
        return log_capital(counts[:, None, :], gains, prior=prior)

    low, turned = _last_refused(capital, -1.0, 1.0, log_threshold + math.log(2))
    return _agreeing(low, -turned, plus, minus, log_threshold, prior)


def relative_interval(
    plus: float, minus: float, both: float, log_threshold: float, *, prior: float = PRIOR
) -> tuple[float, float] | None:
    """Lifts (treatment's share / control's share − 1) that are not refused; None where the control's may be 0.

    `both`: pairs in which both succeeded. Leaves 0 out exactly where `log_e_pairs` reaches the threshold.
    """
    counts = np.array([[plus, minus, both], [minus, plus, both]])
    edge = 25.0

    def capital(log_ratio: Floats) -> Floats:
        inverse = np.exp(-log_ratio)
        gains = np.stack([inverse, np.full_like(inverse, -1.0), inverse - 1], axis=-1)
        return log_capital(counts[:, None, :], gains, prior=prior)

    low, turned = _last_refused(capital, -edge, edge, log_threshold + math.log(2))
    if turned <= -edge:
        return None
    lift = -1.0 if low <= -edge else math.expm1(low)
    return _agreeing(lift, math.expm1(-turned), plus, minus, log_threshold, prior)


def _agreeing(
    low: float, high: float, plus: float, minus: float, log_threshold: float, prior: float
) -> tuple[float, float]:
    """The ends as found by search, on that side of 0 where the closed form puts them."""
    better, worse = (float(side) - math.log(2) for side in log_e_sides(plus, minus, prior=prior))
    tiny = float(np.finfo(np.float64).tiny)
    low = max(low, tiny) if better >= log_threshold else min(low, 0.0)
    high = min(high, -tiny) if worse >= log_threshold else max(high, 0.0)
    return low, high


def _last_refused(capital: Callable[[Floats], Floats], low: float, high: float, threshold: float) -> Floats:
    """Where two falling curves go through the threshold, by cutting the bracket into 17 parts eight times; `low` where
    they never reach it."""
    begin, end = np.full(2, low), np.full(2, high)
    cuts = np.arange(1, _POINTS + 1) / (_POINTS + 1)
    for _ in range(_ROUNDS):
        at = begin[:, None] + (end - begin)[:, None] * cuts
        refused = (capital(at) >= threshold).sum(axis=1)
        edges = np.concatenate([begin[:, None], at, end[:, None]], axis=1)
        rows = np.arange(2)
        begin, end = edges[rows, refused], edges[rows, refused + 1]
    return begin


def _top(c: Floats, g: Floats, prior: float) -> tuple[Floats, Floats, Floats]:
    """Where the integrand is highest on [0, 1), its slope at 0 and how it bends at the top (its second derivative,
    negated)."""
    first = (c * g).sum(axis=-1)
    low, high = np.zeros_like(first), np.ones_like(first)
    at = np.where(first > 0, 0.1, 0.0)
    bend = np.ones_like(first)
    for _ in range(30):
        part = g / (1 + at[..., None] * g)
        room = 1 - at * at
        slope = (c * part).sum(axis=-1) - 2 * (prior - 1) * at / room
        bend = (c * part * part).sum(axis=-1) + 2 * (prior - 1) * (1 + at * at) / (room * room)
        low, high = np.where(slope > 0, at, low), np.where(slope > 0, high, at)
        step = at + slope / bend
        inside = (step > low) & (step < high)
        moved = np.where(first > 0, np.where(inside, step, (low + high) / 2), 0.0)
        settled = float(np.abs(moved - at).max(initial=0.0)) < 1e-7
        at = moved
        if settled:
            break
    return at, first, bend


@lru_cache(maxsize=1)
def _quadrature() -> tuple[Floats, Floats]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes, weights
