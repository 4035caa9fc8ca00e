"""Which adapters do best, by what is sure and not by what is seen: the end of the interval that speaks against each.

So 2 of 2 (Wilson's lower end .342) does not beat 980 of 1,000 (.969). Source: E. Miller (2009), «How Not To Sort By
Average Rating», on Wilson's interval (1927). For times it is the upper end; a time that so few requests do not bound
comes after all that are bounded.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from core.analytics.changes import (
    change_of_accuracy,
    change_of_mean_ms,
    change_of_quantile,
    change_of_rating,
    change_of_share,
)
from core.analytics.figures import total
from core.analytics.records import (
    CONFIDENCE,
    Change,
    Difference,
    Figure,
    Ranked,
    RankMetric,
    Summary,
    Tally,
)

FIGURES: Mapping[RankMetric, Callable[[Summary], Figure]] = {
    RankMetric.SUCCESS_RATE: lambda each: each.success_rate,
    RankMetric.AVG_LATENCY_MS: lambda each: each.latency_mean,
    RankMetric.P95_LATENCY_MS: lambda each: each.latency_p95,
    RankMetric.AVG_USER_RATING: lambda each: each.rating,
    RankMetric.THUMBS_UP_RATE: lambda each: each.thumbs,
    RankMetric.TASK_ACCURACY: lambda each: each.accuracy,
    RankMetric.TOTAL_REQUESTS: lambda each: total(each.requests, each.source),
}


def rank(summaries: Sequence[Summary], metric: RankMetric, limit: int) -> list[Ranked]:
    """Best first; those without a figure are left out. Equal bounds: the one with more requests, then by label."""
    found = [(FIGURES[metric](each), each) for each in summaries]
    known = [(figure, each) for figure, each in found if figure.value is not None]
    known.sort(key=lambda item: (*_order(item[0], metric), -item[0].n, item[1].subject.label))
    return [
        Ranked(place, each.subject, figure, _bound(figure, metric), each)
        for place, (figure, each) in enumerate(known[:limit], start=1)
    ]


def differences(
    reference: tuple[Summary, Tally], others: Sequence[tuple[Summary, Tally]]
) -> list[Difference]:
    """Each other one minus the reference, in five metrics. Of one metric all intervals hold together (Bonferroni)."""
    confidence = 1 - (1 - CONFIDENCE) / max(1, len(others))
    before, tally_before = reference
    found: list[Difference] = []
    for now, tally in others:
        changes = (
            change_of_share(RankMetric.SUCCESS_RATE, now.success_rate, before.success_rate, confidence),
            change_of_mean_ms(RankMetric.AVG_LATENCY_MS, tally.latency, tally_before.latency, confidence),
            change_of_quantile(
                RankMetric.P95_LATENCY_MS, tally.latency, tally_before.latency, 0.95, confidence
            ),
            change_of_rating(RankMetric.AVG_USER_RATING, tally, tally_before, confidence),
            change_of_share(RankMetric.THUMBS_UP_RATE, now.thumbs, before.thumbs, confidence),
            change_of_accuracy(RankMetric.TASK_ACCURACY, tally, tally_before, confidence),
        )
        found += [_difference(change, before, now) for change in changes]
    return found


def _difference(change: Change, reference: Summary, other: Summary) -> Difference:
    return Difference(
        change.metric, reference.subject.id, other.subject.id, change.difference, change.outlook
    )


def _bound(figure: Figure, metric: RankMetric) -> float | None:
    if metric is RankMetric.TOTAL_REQUESTS:
        return figure.value
    return figure.high if metric.lower_is_better else figure.low


def _order(figure: Figure, metric: RankMetric) -> tuple[float, float]:
    """The smaller, the better."""
    sign = 1.0 if metric.lower_is_better else -1.0
    bound = _bound(figure, metric)
    return math.inf if bound is None else sign * bound, sign * (figure.value or 0.0)
