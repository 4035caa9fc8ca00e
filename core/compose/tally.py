"""What a composition cache counts, and its last lookups for the comparison with the best possible."""

from collections import deque
from dataclasses import dataclass

from core.compose.belady import Lookup, best_hit_rate
from core.compose.handles import CacheEntry, CacheStats


@dataclass(slots=True)
class Tally:
    """Counters since the start and a trace of the last lookups. The cache changes it under its lock."""

    trace: deque[tuple[str, bool, bool]]
    hits: int = 0
    misses: int = 0
    evictions: int = 0
    expired: int = 0
    refused: int = 0
    failures: int = 0

    def note(self, key: str, *, hit: bool, counted: bool) -> None:
        """One lookup that succeeded; one that is not `counted` is a prefetch."""
        self.trace.append((key, hit, counted))
        if counted and hit:
            self.hits += 1
        elif counted:
            self.misses += 1

    def copy(self) -> "Tally":
        """As it is now."""
        return Tally(
            self.trace.copy(),
            self.hits,
            self.misses,
            self.evictions,
            self.expired,
            self.refused,
            self.failures,
        )

    @property
    def hit_rate(self) -> float | None:
        """Hits of all lookups since the start; None before the first."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else None

    def stats(
        self,
        entries: tuple[CacheEntry, ...],
        *,
        most_held: int,
        held_bytes: int,
        room: tuple[int, int | None],
        in_flight: int,
        queued: int,
    ) -> CacheStats:
        """All figures, and the trace beside what MIN would have made of it with `most_held` entries. Takes milliseconds.

        `room`: the most entries, and the most bytes.
        """
        lookups = [Lookup(*event) for event in self.trace]
        best = best_hit_rate(lookups, most_held)
        counted = [event.hit for event in lookups if event.counted]
        return CacheStats(
            hits=self.hits,
            misses=self.misses,
            hit_rate=self.hit_rate,
            evictions=self.evictions,
            expired=self.expired,
            refused=self.refused,
            failures=self.failures,
            entries_held=len(entries),
            max_entries=room[0],
            bytes=held_bytes,
            budget_bytes=room[1],
            in_flight=in_flight,
            queued=queued,
            best_hit_rate=best,
            share_of_best=sum(counted) / (best * len(counted)) if best else None,
            trace_length=len(lookups),
            entries=entries,
        )
