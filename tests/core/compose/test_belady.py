from collections import OrderedDict
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from core.compose.belady import Lookup, best_hit_rate, best_hits

traces = st.lists(st.integers(0, 4), max_size=9)


def lookups(keys: list[int]) -> list[Lookup]:
    return [Lookup(key, hit=False) for key in keys]


def most_hits_of_all_choices(trace: list[Lookup], capacity: int) -> int:
    """Tries every cache that fits after every event."""
    best = {frozenset[object](): 0}
    for event in trace:
        following: dict[frozenset[object], int] = {}
        for held, hits in best.items():
            gained = hits + (event.counted and event.key in held)
            there = held | {event.key}
            for size in range(min(capacity, len(there)) + 1):
                for kept in map(frozenset, combinations(sorted(there), size)):
                    following[kept] = max(following.get(kept, 0), gained)
        best = following
    return max(best.values())


def lru_trace(keys: list[int], capacity: int) -> list[Lookup]:
    held: OrderedDict[int, None] = OrderedDict()
    events = []
    for key in keys:
        events.append(Lookup(key, hit=key in held))
        held[key] = None
        held.move_to_end(key)
        if len(held) > capacity:
            held.popitem(last=False)
    return events


def test_the_example_of_a_textbook_has_one_hit_more_because_not_everything_must_be_kept() -> None:
    # Silberschatz, Operating System Concepts, 9.4: 20 references, 3 frames; 9 faults at best and 12 under LRU, where
    # each page that is read has to be kept.
    keys = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1]
    assert best_hits(lookups(keys), 3) == 20 - 9 + 1
    assert sum(event.hit for event in lru_trace(keys, 3)) == 20 - 12


@settings(deadline=None)
@given(keys=traces, counted=st.lists(st.booleans(), min_size=9, max_size=9), capacity=st.integers(1, 3))
def test_no_choice_of_what_to_keep_has_more_hits(keys: list[int], counted: list[bool], capacity: int) -> None:
    trace = [Lookup(key, hit=False, counted=c) for key, c in zip(keys, counted, strict=False)]
    assert best_hits(trace, capacity) == most_hits_of_all_choices(trace, capacity)


@given(keys=st.lists(st.integers(0, 9), max_size=60), capacity=st.integers(1, 5), start=st.integers(0, 30))
def test_a_window_of_what_an_lru_did_never_beats_the_best(keys: list[int], capacity: int, start: int) -> None:
    window = lru_trace(keys, capacity)[start:]
    rate = best_hit_rate(window, capacity)
    if not window:
        assert rate is None
        return
    assert rate is not None
    assert sum(event.hit for event in window) / len(window) <= rate <= 1


def test_a_prefetch_makes_a_hit_possible_and_is_not_counted_itself() -> None:
    fetched = [Lookup("a", hit=False, counted=False), Lookup("a", hit=True)]
    assert best_hit_rate(fetched, 1) == 1
    assert best_hit_rate([Lookup("a", hit=False)], 1) == 0
