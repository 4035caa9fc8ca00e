"""From sums to figures: each with its n, its interval, and a word where it means less than it seems.

Requests are treated as independent of each other; a workspace whose requests come in bursts of one kind is less sure
than its intervals say. Sources: core.stats.proportions (Wilson; Newcombe's method 10), core.stats.quantiles (order
statistics; Zou and Donner), core.stats.ratios (Student; Welch).
"""

import math

from core.analytics.costs import Prices, money
from core.analytics.periods import Period
from core.analytics.records import (
    CONFIDENCE,
    LEAST_FOR_P95,
    LEAST_FOR_P99,
    Figure,
    Subject,
    Summary,
    Tally,
)
from core.analytics.tallies import ACCURACY_UNITS, RATING_UNITS
from core.stats.proportions import wilson
from core.stats.quantiles import order_ranks
from core.stats.ratios import student_quantile
from core.stats.sketches import RELATIVE_ERROR, LogSketch

SHARE, MS, POINTS, REQUESTS, BYTES = "share", "ms", "points", "requests", "bytes"
NOTHING = "Nothing was recorded."
LEAST_RATING, MOST_RATING = 1.0, 5.0
LEAST_FOR_STUDENT = 30
_LEAST = {0.95: LEAST_FOR_P95, 0.99: LEAST_FOR_P99}


def summary_of(subject: Subject, tally: Tally, period: Period, prices: Prices) -> Summary:
    """All figures of one subject."""
    source = source_of(tally)
    failures = tally.requests - tally.successes - tally.cancelled
    said = tally.thumbs_up + tally.thumbs_down
    return Summary(
        subject=subject,
        since=period.since,
        until=period.until,
        requests=tally.requests,
        successes=tally.successes,
        failures=failures,
        cancelled=tally.cancelled,
        simulated=tally.simulated,
        reported=tally.reported,
        errors=tally.errors,
        success_rate=share(tally.successes, tally.successes + failures, source),
        latency_mean=mean_ms(tally.latency, source),
        latency_p50=percentile(tally.latency, 0.5, source),
        latency_p95=percentile(tally.latency, 0.95, source),
        latency_p99=percentile(tally.latency, 0.99, source),
        queued_mean=mean_ms(tally.queued, source),
        queued_p95=percentile(tally.queued, 0.95, source),
        composing_mean=mean_ms(tally.composing, source),
        composing_p95=percentile(tally.composing, 0.95, source),
        prompt_tokens=tally.prompt_tokens,
        completion_tokens=tally.completion_tokens,
        cost=cost(tally, prices),
        rating=rating(tally),
        thumbs=share(tally.thumbs_up, said, "thumbs"),
        thumbs_up=tally.thumbs_up,
        thumbs_down=tally.thumbs_down,
        accuracy=accuracy(tally),
        memory=_bytes(
            tally.memory_bytes or None, tally.requests, "The most that the adapters of a request held."
        ),
        size=_bytes(subject.size_bytes, 1, "Its files."),
        source=source,
    )


def source_of(tally: Tally) -> str:
    """Where the requests come from, in words."""
    if not tally.requests:
        return ""
    served = tally.requests - tally.simulated - tally.reported
    parts = [
        (served, "measured here"), (tally.reported, "reported through the API"), (tally.simulated, "simulated"),
    ]  # fmt: skip
    return ", ".join(f"{count:,} {word}" for count, word in parts if count)


def share(successes: int, n: int, source: str = "") -> Figure:
    """A share with Wilson's interval."""
    if n <= 0:
        return Figure(None, 0, SHARE, note=NOTHING, source=source)
    found = wilson(successes, n, confidence=CONFIDENCE)
    return Figure(found.value, n, SHARE, found.low, found.high, source=source)


def percentile(values: LogSketch, q: float, source: str = "") -> Figure:
    """A quantile in milliseconds with its order-statistic interval, an end None where so few values do not bound it.

    Below LEAST_FOR_P95 (P99: LEAST_FOR_P99) values there is none: it would be the slowest request.
    """
    n, least = values.count, _LEAST.get(q, 1)
    if n < least:
        note = (
            NOTHING
            if not n
            else f"It needs {least} requests: of {n} it is only the slowest, {values.maximum:,.1f} ms."
        )
        return Figure(None, n, MS, note=note, source=source)
    low, high = order_ranks(n, q, confidence=CONFIDENCE)
    return Figure(
        values.quantile(q),
        n,
        MS,
        values.bounds_at_rank(low)[0] if low >= 1 else None,
        values.bounds_at_rank(high)[1] if high <= n else None,
        note=f"To {RELATIVE_ERROR:.1%}.",
        source=source,
    )


def mean_ms(values: LogSketch, source: str = "") -> Figure:
    """A mean, exact, with Student's interval from LEAST_FOR_P95 values on; its spread is that of the sketch, to 1 %."""
    n = values.count
    if not n:
        return Figure(None, 0, MS, note=NOTHING, source=source)
    if n < LEAST_FOR_P95:
        note = f"It needs {LEAST_FOR_P95} requests to have an interval."
        return Figure(values.mean, n, MS, note=note, source=source)
    half = student_quantile(CONFIDENCE, n - 1) * math.sqrt(values.variance / n)
    return Figure(values.mean, n, MS, max(0.0, values.mean - half), values.mean + half, source=source)


def total(count: int, source: str = "") -> Figure:
    """A number of requests: counted, so without an interval."""
    return Figure(float(count), count, REQUESTS, source=source)


def rating(tally: Tally) -> Figure:
    """Mean rating with its interval, within 1–5."""
    return _mean_of(
        tally.ratings,
        tally.rating_sum,
        tally.rating_squares,
        RATING_UNITS,
        POINTS,
        (LEAST_RATING, MOST_RATING),
    )


def accuracy(tally: Tally) -> Figure:
    """Mean of what was told about how right answers are, with its interval, within 0–1."""
    return _mean_of(
        tally.accuracies, tally.accuracy_sum, tally.accuracy_squares, ACCURACY_UNITS, SHARE, (0.0, 1.0)
    )


def cost(tally: Tally, prices: Prices) -> Figure:
    """Total cost, at the prices that held when each request ended."""
    note = (
        ""
        if prices.known or tally.cost_nano
        else "No prices are set: RMN_PROMPT_PRICE, RMN_COMPLETION_PRICE."
    )
    return Figure(
        money(tally.cost_nano), tally.requests, prices.currency, note=note, source="tokens times price"
    )


def _mean_of(n: int, total: int, squares: int, units: int, unit: str, bounds: tuple[float, float]) -> Figure:
    if n <= 0:
        return Figure(None, 0, unit, note="Nobody has said anything.", source="judgements")
    mean = total / n / units
    variance = variance_of_mean(n, total, squares, units)
    least, most = bounds
    if n < LEAST_FOR_STUDENT or variance <= 0:
        # A value within bounds varies no more than one that is only ever at the bounds.
        found = wilson(min(max(mean - least, 0.0) / (most - least), 1.0) * n, n, confidence=CONFIDENCE)
        low, high = least + found.low * (most - least), least + found.high * (most - least)
        note = "Of so few, or all alike, the widest interval that such values can have."
        return Figure(mean, n, unit, low, high, note=note, source="judgements")
    half = student_quantile(CONFIDENCE, n - 1) * math.sqrt(variance)
    return Figure(mean, n, unit, max(least, mean - half), min(most, mean + half), source="judgements")


def variance_of_mean(n: int, total: int, squares: int, units: int) -> float:
    """Variance of the mean, from exact sums; 0 where all are alike or there is one."""
    if n < 2:
        return 0.0
    return max(0, n * squares - total * total) / (n * n * (n - 1)) / units**2


def _bytes(value: int | None, n: int, what: str) -> Figure:
    if value is None:
        return Figure(None, 0, BYTES, note="Unknown.")
    return Figure(float(value), n, BYTES, note=what)
