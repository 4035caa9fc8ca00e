"""What the composition cache hands out, and what it tells about itself."""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from core.engine.records import Composition


@dataclass(frozen=True, slots=True)
class CompositionHandle:
    """A composition that the engine has prepared. It never changes.

    `key` names its content and nothing else. The paths in `composition` are those that the caller gave, so that
    nobody depends on the files of another tenant that happen to be equal. `adapters` are their digests, each once;
    `bytes` is what they occupy together.
    """

    composition: Composition
    key: str
    adapters: tuple[str, ...]
    bytes: int
    prepared_ms: float


class Pin:
    """A handle that is kept while somebody uses it. `release`, or the end of the `with`, lets it go."""

    __slots__ = ("_lock", "_release", "handle")

    def __init__(self, handle: CompositionHandle, release: Callable[[], None]) -> None:
        self.handle = handle
        self._release: Callable[[], None] | None = release
        self._lock = threading.Lock()

    def __enter__(self) -> CompositionHandle:
        return self.handle

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go. Calling it again, from whatever thread, does nothing."""
        with self._lock:
            release, self._release = self._release, None
        if release is not None:
            release()


@dataclass(frozen=True, slots=True)
class WarmOutcome:
    """What became of one composition of a pre-warm list: a handle, or the error that kept it away."""

    key: str
    handle: CompositionHandle | None
    error: Exception | None


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One composition that is held. `idle_s` counts from its last use, `age_s` from its preparation."""

    key: str
    adapters: tuple[str, ...]
    bytes: int
    age_s: float
    idle_s: float
    uses: int
    pins: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """The cache now, and what it did since the start.

    `hits` are lookups that needed no preparation of their own, `misses` those that led to one; what failed is
    neither: `failures` were tried, `refused` were answered with an error kept from a moment ago. `best_hit_rate` is
    what no cache can exceed that holds as many compositions, on the same last `trace_length` lookups, and
    `share_of_best` is how much of that was reached on them. Rates are None where nothing was looked up.
    """

    hits: int
    misses: int
    hit_rate: float | None
    evictions: int
    expired: int
    refused: int
    failures: int
    entries_held: int
    max_entries: int
    bytes: int
    budget_bytes: int | None
    in_flight: int
    queued: int
    best_hit_rate: float | None
    share_of_best: float | None
    trace_length: int
    entries: tuple[CacheEntry, ...]

    def seen_by(self, digests: Collection[str]) -> "CacheStats":
        """For one tenant: of the entries, those that consist of these adapters alone."""
        known = frozenset(digests)
        return replace(
            self, entries=tuple(entry for entry in self.entries if known.issuperset(entry.adapters))
        )
