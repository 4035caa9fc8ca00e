"""The most hits that any cache could have had on a trace of lookups, known only afterwards.

Source: L. A. Belady, «A study of replacement algorithms for a virtual-storage computer», IBM Systems Journal 5(2),
1966, pp. 78-101: the algorithm MIN. Every entry counts as one, whatever its bytes: with sizes the problem is NP-hard
(Chrobak et al. 2012), and `capacity` is a number of entries. A looked-up entry need not be kept (bypass), which
can only raise the bound.
"""

import heapq
import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lookup:
    """One event of a trace. `hit`: it was there. An event that is not `counted` (a prefetch) only brings it in."""

    key: Hashable
    hit: bool
    counted: bool = True


def best_hits(trace: Sequence[Lookup], capacity: int, initial: Collection[Hashable] = ()) -> int:
    """Hits among the counted events of `trace` under MIN, which begins with `initial` in the cache."""
    nexts = _next_uses(trace)
    held: dict[Hashable, float] = {}
    farthest: list[tuple[float, int, Hashable]] = []
    first_use = _first_uses(trace)
    hits = 0

    def keep(key: Hashable, use: float, order: int) -> None:
        held[key] = use
        heapq.heappush(farthest, (-use, order, key))
        while len(held) > capacity:
            late, _, key = heapq.heappop(farthest)
            if held.get(key) == -late:
                del held[key]

    for order, key in enumerate(initial):
        keep(key, first_use.get(key, math.inf), -1 - order)
    for position, (event, use) in enumerate(zip(trace, nexts, strict=True)):
        hits += event.counted and event.key in held
        keep(event.key, use, position)
    return hits


def best_hit_rate(trace: Sequence[Lookup], capacity: int) -> float | None:
    """Share of the counted events. What the first event of a key found there, MIN finds there too."""
    counted = sum(event.counted for event in trace)
    if not counted:
        return None
    firsts: dict[Hashable, bool] = {}
    for event in trace:
        firsts.setdefault(event.key, event.hit)
    return best_hits(trace, capacity, [key for key, hit in firsts.items() if hit]) / counted


def _next_uses(trace: Sequence[Lookup]) -> list[float]:
    """For every event the position of the next counted one with its key; infinite: there is none."""
    later: dict[Hashable, float] = {}
    nexts = [math.inf] * len(trace)
    for position in range(len(trace) - 1, -1, -1):
        event = trace[position]
        nexts[position] = later.get(event.key, math.inf)
        if event.counted:
            later[event.key] = position
    return nexts


def _first_uses(trace: Sequence[Lookup]) -> dict[Hashable, float]:
    first: dict[Hashable, float] = {}
    for position, event in enumerate(trace):
        if event.counted:
            first.setdefault(event.key, position)
    return first
