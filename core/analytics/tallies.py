"""Sums of requests: from single ones, and from other sums. Whole numbers and sketches, so that no order matters."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from core.analytics.costs import Prices
from core.analytics.records import CANCELLED, RequestEvent, Source, SubjectKind, Tally, Thumbs
from core.stats.sketches import LogSketch

RATING_UNITS, ACCURACY_UNITS = 1_000, 1_000_000  # of a point, of 1
MOST_ERRORS, OTHER = 50, "other"
_ADDED = (
    "requests", "successes", "cancelled", "simulated", "reported", "prompt_tokens", "completion_tokens", "cost_nano",
    "ratings", "rating_sum", "rating_squares", "thumbs_up", "thumbs_down", "accuracies", "accuracy_sum",
    "accuracy_squares",
)  # fmt: skip


class CellKey(NamedTuple):
    """Which cell: whose, of what, of which task, from which minute (or hour, or day) on."""

    tenant_id: str
    kind: str
    start: datetime
    subject: str
    task: str


NAMED = "named"  # kind of what a failed request asked for, until somebody looks up what that is


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them together."""
    parts = list(tallies)
    if len(parts) == 1:
        return parts[0]
    errors: Counter[str] = Counter()
    for part in parts:
        errors.update(part.errors)
    sums = {name: sum(getattr(part, name) for part in parts) for name in _ADDED}
    return Tally(
        **sums,
        errors=fewest_errors(errors),
        latency=LogSketch.merged(part.latency for part in parts),
        queued=LogSketch.merged(part.queued for part in parts),
        composing=LogSketch.merged(part.composing for part in parts),
        memory_bytes=max((part.memory_bytes for part in parts), default=0),
    )


def tally_of(events: Sequence[RequestEvent], prices: Prices) -> Tally:
    """Of single requests. Times are those of answered ones: a refusal after a millisecond makes nothing faster."""
    answered = [event for event in events if not event.error]
    errors = Counter(event.error for event in events if event.error and event.error != CANCELLED)
    sources = Counter(event.source for event in events)
    return Tally(
        requests=len(events),
        successes=len(answered),
        cancelled=sum(event.error == CANCELLED for event in events),
        simulated=sources[Source.SIMULATED],
        reported=sources[Source.REPORTED],
        errors=fewest_errors(errors),
        latency=LogSketch.of([event.latency_ms for event in answered]),
        queued=LogSketch.of([event.queued_ms for event in answered if event.queued_ms is not None]),
        composing=LogSketch.of([event.composing_ms for event in answered if event.composing_ms is not None]),
        prompt_tokens=sum(event.prompt_tokens for event in events),
        completion_tokens=sum(event.completion_tokens for event in events),
        cost_nano=sum(prices.cost_nano(event.prompt_tokens, event.completion_tokens) for event in events),
        memory_bytes=max((event.memory_bytes for event in events), default=0),
    )


def judgement(rating: float | None, thumbs: Thumbs | None, accuracy: float | None, sign: int = 1) -> Tally:
    """What one person said, as a tally; `sign` −1 takes it back."""
    points = 0 if rating is None else round(rating * RATING_UNITS)
    share = 0 if accuracy is None else round(accuracy * ACCURACY_UNITS)
    return Tally(
        ratings=sign * (rating is not None),
        rating_sum=sign * points,
        rating_squares=sign * points * points,
        thumbs_up=sign * (thumbs is Thumbs.UP),
        thumbs_down=sign * (thumbs is Thumbs.DOWN),
        accuracies=sign * (accuracy is not None),
        accuracy_sum=sign * share,
        accuracy_squares=sign * share * share,
    )


def tallies_of(events: Iterable[RequestEvent], prices: Prices) -> dict[CellKey, Tally]:
    """By minute and subject: all, each adapter that took part, the composition, and what a failed one asked for."""
    groups: dict[tuple[str, str, int, str, str], list[RequestEvent]] = {}
    for event in events:
        minute = math.floor(event.at / 60)
        for kind, subject in subjects_of(event):
            key = (event.tenant_id, kind, minute, subject, event.task)
            found = groups.get(key)
            if found is None:
                groups[key] = [event]
            else:
                found.append(event)
    return {
        CellKey(tenant, kind, datetime.fromtimestamp(minute * 60, UTC), subject, task): tally_of(
            found, prices
        )
        for (tenant, kind, minute, subject, task), found in groups.items()
    }


def subjects_of(event: RequestEvent) -> list[tuple[str, str]]:
    """Kind and id of everything that a request counts for."""
    found = [(SubjectKind.ALL.value, "")]
    found += [(SubjectKind.ADAPTER.value, adapter) for adapter, _ in event.adapters]
    found += [(NAMED, name) for name in event.named]
    if event.composition:
        found.append((SubjectKind.COMPOSITION.value, event.composition))
    return found


def add_all(into: dict[CellKey, Tally], more: dict[CellKey, Tally]) -> None:
    """Add to what is there."""
    for key, tally in more.items():
        known = into.get(key)
        into[key] = tally if known is None else merged((known, tally))


def fewest_errors(errors: Counter[str]) -> dict[str, int]:
    """Sorted by code; beyond MOST_ERRORS the rarest count as «other»."""
    if len(errors) > MOST_ERRORS:
        kept = dict(sorted(errors.items(), key=lambda item: (-item[1], item[0]))[: MOST_ERRORS - 1])
        kept[OTHER] = kept.get(OTHER, 0) + errors.total() - sum(kept.values())
        return dict(sorted(kept.items()))
    return dict(sorted((code, count) for code, count in errors.items() if count))
