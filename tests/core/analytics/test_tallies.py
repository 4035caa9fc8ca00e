"""Sums of requests."""

import itertools

from core.analytics.costs import Prices
from core.analytics.records import RequestEvent, Thumbs
from core.analytics.tallies import MOST_ERRORS, judgement, merged, tallies_of, tally_of


def event(**more: object) -> RequestEvent:
    plain = RequestEvent(
        "ten",
        120.0,
        "req",
        "m",
        "c" * 64,
        (("a", "task"),),
        (),
        "copy",
        "",
        10.0,
        1.0,
        None,
        None,
        5,
        2,
        0,
        "served",
    )
    return plain._replace(**more)  # type: ignore[arg-type]


def test_failures_make_no_answer_faster_and_who_left_is_neither() -> None:
    events = [event(), event(error="timeout", latency_ms=0.1), event(error="cancelled", latency_ms=3.0)]
    tally = tally_of(events, Prices(1.0, 10.0))
    assert (tally.requests, tally.successes, tally.cancelled, tally.errors) == (3, 1, 1, {"timeout": 1})
    assert (tally.latency.count, tally.latency.mean, tally.queued.count, tally.composing.count) == (
        1,
        10.0,
        1,
        0,
    )
    assert (tally.prompt_tokens, tally.completion_tokens, tally.cost_nano) == (15, 6, 3 * 25_000)


def test_any_order_and_grouping_gives_the_same_tally() -> None:
    parts = [
        tally_of(
            [event(latency_ms=0.1 * n, error="x" if n % 3 == 0 else "", memory_bytes=n)], Prices(0.3, 0.7)
        )
        for n in range(1, 6)
    ] + [
        judgement(4.5, Thumbs.UP, 0.9),
        judgement(1.0, Thumbs.DOWN, None),
        judgement(1.0, Thumbs.DOWN, None, -1),
    ]
    whole = merged(parts)
    assert (whole.ratings, whole.rating_sum, whole.thumbs_up, whole.thumbs_down) == (1, 4500, 1, 0)
    assert (whole.accuracies, whole.accuracy_sum, whole.memory_bytes) == (1, 900_000, 5)
    for order in itertools.islice(itertools.permutations(parts), 0, 4000, 97):
        assert merged([merged(order[:3]), merged(order[3:])]) == whole


def test_a_request_counts_for_everything_that_took_part() -> None:
    tallies = tallies_of(
        [event(adapters=(("a", "task"), ("b", "brand"))), event(at=61.0, adapters=())], Prices()
    )
    found = {
        (key.kind, key.subject, int(key.start.timestamp())): tally.requests for key, tally in tallies.items()
    }
    assert found == {
        ("all", "", 120): 1,
        ("adapter", "a", 120): 1,
        ("adapter", "b", 120): 1,
        ("composition", "c" * 64, 120): 1,
        ("all", "", 60): 1,
        ("composition", "c" * 64, 60): 1,
    }


def test_errors_beyond_a_number_of_kinds_count_as_other() -> None:
    tally = tally_of([event(error=f"e{number % 60}") for number in range(120)], Prices())
    assert len(tally.errors) == MOST_ERRORS
    assert sum(tally.errors.values()) == 120
    assert tally.errors["other"] == 22
