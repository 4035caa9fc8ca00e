"""Differences of figures with their intervals, and whether they say anything.

Sources: Newcombe (1998b), method 10, of shares; Zou and Donner (2008), eq. 5, of quantiles; Welch (1947) of means.
"""

import math

from core.analytics.figures import (
    MS,
    SHARE,
    accuracy,
    mean_ms,
    percentile,
    rating,
    variance_of_mean,
)
from core.analytics.records import CONFIDENCE, LEAST_FOR_P95, Change, Figure, Outlook, Tally
from core.analytics.tallies import ACCURACY_UNITS, RATING_UNITS
from core.stats.proportions import share_difference
from core.stats.quantiles import order_ranks
from core.stats.ratios import contrast
from core.stats.sketches import LogSketch


def outlook(low: float | None, high: float | None, *, lower_is_better: bool = False) -> Outlook:
    """What an interval of a difference says."""
    if low is None or high is None or low <= 0 <= high:
        return Outlook.UNCLEAR
    return Outlook.BETTER if (low > 0) is not lower_is_better else Outlook.WORSE


def change_of_share(metric: str, now: Figure, before: Figure, confidence: float = CONFIDENCE) -> Change:
    """Difference of two shares with Newcombe's interval."""
    if now.value is None or before.value is None:
        return _no_change(metric, now, before)
    found = share_difference(
        before.value * before.n, before.n, now.value * now.n, now.n, confidence=confidence
    )
    figure = Figure(found.value, now.n + before.n, SHARE, found.low, found.high)
    return Change(metric, now, before, figure, outlook(found.low, found.high))


def change_of_quantile(
    metric: str, values: LogSketch, values_before: LogSketch, q: float, confidence: float = CONFIDENCE
) -> Change:
    """Difference of two quantiles from their own intervals (Zou and Donner 2008, eq. 5)."""
    now, before = percentile(values, q), percentile(values_before, q)
    ends, ends_before = _ends(values, q, confidence), _ends(values_before, q, confidence)
    if now.value is None or before.value is None:
        return _no_change(metric, now, before)
    difference = now.value - before.value
    if ends is None or ends_before is None:
        note = "So few requests do not bound it."
        return Change(
            metric, now, before, Figure(difference, now.n + before.n, MS, note=note), Outlook.UNCLEAR
        )
    (low, high), (low_before, high_before) = ends, ends_before
    bottom = difference - math.hypot(now.value - low, high_before - before.value)
    top = difference + math.hypot(high - now.value, before.value - low_before)
    figure = Figure(difference, now.n + before.n, MS, bottom, top)
    return Change(metric, now, before, figure, outlook(bottom, top, lower_is_better=True))


def change_of_mean_ms(
    metric: str, values: LogSketch, values_before: LogSketch, confidence: float = CONFIDENCE
) -> Change:
    """Difference of two mean times with Welch's interval."""
    now, before = mean_ms(values), mean_ms(values_before)
    if now.value is None or before.value is None:
        return _no_change(metric, now, before)
    spreads = [(each.variance / each.count, each.count) for each in (values_before, values)]
    if min(now.n, before.n) < LEAST_FOR_P95:
        spreads = [(0.0, 0)] * 2
    return _welch(metric, now, before, spreads, confidence, lower_is_better=True)


def change_of_rating(metric: str, now: Tally, before: Tally, confidence: float = CONFIDENCE) -> Change:
    """Difference of two mean ratings with Welch's interval."""
    return _change_of_mean(
        metric,
        rating(now),
        rating(before),
        (now.ratings, now.rating_sum, now.rating_squares),
        (before.ratings, before.rating_sum, before.rating_squares),
        RATING_UNITS,
        confidence,
    )


def change_of_accuracy(metric: str, now: Tally, before: Tally, confidence: float = CONFIDENCE) -> Change:
    """Difference of two mean accuracies with Welch's interval."""
    return _change_of_mean(
        metric,
        accuracy(now),
        accuracy(before),
        (now.accuracies, now.accuracy_sum, now.accuracy_squares),
        (before.accuracies, before.accuracy_sum, before.accuracy_squares),
        ACCURACY_UNITS,
        confidence,
    )


def change_of_count(metric: str, now: Figure, before: Figure) -> Change:
    """Difference of two totals: what was counted is known, so it has no interval and is neither better nor worse."""
    difference = (now.value or 0.0) - (before.value or 0.0)
    return Change(metric, now, before, Figure(difference, now.n + before.n, now.unit), Outlook.UNCLEAR)


def _change_of_mean(
    metric: str,
    now: Figure,
    before: Figure,
    sums: tuple[int, int, int],
    sums_before: tuple[int, int, int],
    units: int,
    confidence: float,
) -> Change:
    if now.value is None or before.value is None:
        return _no_change(metric, now, before)
    spreads = [
        (variance_of_mean(*sums_before, units), before.n),
        (variance_of_mean(*sums, units), now.n),
    ]
    return _welch(metric, now, before, spreads, confidence)


def _welch(
    metric: str,
    now: Figure,
    before: Figure,
    spreads: list[tuple[float, int]],
    confidence: float,
    *,
    lower_is_better: bool = False,
) -> Change:
    """`spreads`: variance of the mean and n, before and now."""
    difference, n = (now.value or 0.0) - (before.value or 0.0), now.n + before.n
    try:
        found = contrast(difference, spreads[0], spreads[1], confidence=confidence).interval
    except ValueError:
        note = "There are too few, or all are alike, so the difference has no interval."
        return Change(metric, now, before, Figure(difference, n, now.unit, note=note), Outlook.UNCLEAR)
    figure = Figure(difference, n, now.unit, found.low, found.high)
    return Change(
        metric, now, before, figure, outlook(found.low, found.high, lower_is_better=lower_is_better)
    )


def _no_change(metric: str, now: Figure, before: Figure) -> Change:
    note = "There is nothing to compare with." if now.value is not None else now.note
    return Change(metric, now, before, Figure(None, now.n + before.n, now.unit, note=note), Outlook.UNCLEAR)


def _ends(values: LogSketch, q: float, confidence: float) -> tuple[float, float] | None:
    if not values.count:
        return None
    low, high = order_ranks(values.count, q, confidence=confidence)
    if low < 1 or high > values.count:
        return None
    return values.bounds_at_rank(low)[0], values.bounds_at_rank(high)[1]
