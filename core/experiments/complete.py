"""What is said of one event at different times becomes one impression: each value is there once, and stays.

An answer tells of itself whether it succeeded and how long it took; a client adds what only it knows, with the request's
id as the event. Either may come first. What is there is never changed, with one exception: as long as it is not counted,
what the answer tells of itself takes the place of what a client said of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TypeVar

from core.experiments.records import LATENCY, RATING, SUCCESS, Impression

Value = TypeVar("Value")


def names_of(impression: Impression) -> tuple[str, ...]:
    """The names of the values that an impression has."""
    standard = {
        SUCCESS: impression.success,
        LATENCY: impression.latency_ms,
        RATING: impression.feedback_score,
    }
    return *(name for name, value in standard.items() if value is not None), *impression.metrics


def completed(
    known: Impression, more: Impression, counted: Collection[str] = (), *, measured: bool = False
) -> Impression:
    """`known` with what `more` adds to it; `known` itself where that is nothing, or of another arm.

    `counted`: names of the values that are in the sums and stay. `measured`: `more` is what the answer tells of itself,
    so that it says whose request it was and which arm gave it, unless something of it is counted.
    """
    whole = known
    if measured and not counted:
        whole = replace(more, event_id=known.event_id, segment=more.segment or known.segment)
    elif known.variant != more.variant:
        return known

    def chosen(name: str, there: Value | None, told: Value | None) -> Value | None:
        if told is None or (there is not None and (not measured or name in counted)):
            return there
        return told

    told: Mapping[str, float] = more.metrics
    metrics = {**told, **known.metrics}
    if measured:
        metrics |= {name: value for name, value in told.items() if name not in counted}
    return replace(
        whole,
        success=chosen(SUCCESS, known.success, more.success),
        latency_ms=chosen(LATENCY, known.latency_ms, more.latency_ms),
        feedback_score=chosen(RATING, known.feedback_score, more.feedback_score),
        metrics=metrics,
        segment=whole.segment or more.segment,
        exposure=known.exposure and more.exposure,
    )
