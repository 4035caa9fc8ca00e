"""What a composition cache holds now: entries in the order of their use, and what their adapters occupy.

Not thread-safe: the cache that owns it calls it under its lock.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.compose.handles import CacheEntry, CompositionHandle


@dataclass(slots=True, eq=False)
class Held:
    """One entry. `asked_at`: its last lookup; `used_at`: that, or the end of its last pin. `leaving`: it goes as soon
    as its last pin does."""

    handle: CompositionHandle
    prepared_at: float
    used_at: float
    asked_at: float
    uses: int = 0
    pins: int = 0
    leaving: bool = False

    def describe(self, now: float) -> CacheEntry:
        """As shown."""
        handle = self.handle
        return CacheEntry(
            key=handle.key,
            adapters=handle.adapters,
            bytes=handle.bytes,
            age_s=now - self.prepared_at,
            idle_s=now - self.used_at,
            uses=self.uses,
            pins=self.pins,
        )


class Holdings:
    """Entries by key, least recently used first. Adapters that several entries share count once in `bytes`.

    Preparations under way claim their adapters too, so that nothing they need is given up meanwhile.
    """

    def __init__(self, max_entries: int, budget_bytes: int | None) -> None:
        self.max_entries, self.budget_bytes = max_entries, budget_bytes
        self.entries: OrderedDict[str, Held] = OrderedDict()
        self.bytes = 0
        self.most_held = 0
        self._claims: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}

    def claim(self, digests: Iterable[str]) -> None:
        """Somebody needs these adapters."""
        self._claims.update(digests)

    def unclaim(self, digests: Iterable[str]) -> list[str]:
        """Somebody does not need them any more. Answers those that now nobody needs."""
        free = []
        for digest in digests:
            self._claims[digest] -= 1
            if self._claims[digest] == 0:
                del self._claims[digest]
                self.bytes -= self._sizes.pop(digest, 0)
                free.append(digest)
        return free

    def is_claimed(self, digest: str) -> bool:
        """Whether an entry or a preparation needs this adapter."""
        return digest in self._claims

    def add(self, held: Held, sizes: Mapping[str, int]) -> None:
        """Take an entry in. Its adapters have been claimed; `sizes` are their bytes."""
        for digest in held.handle.adapters:
            self.bytes += sizes[digest] - self._sizes.get(digest, 0)
            self._sizes[digest] = sizes[digest]
        self.entries[held.handle.key] = held

    def remove(self, held: Held) -> list[str]:
        """Give an entry up. Answers the adapters that now nobody needs."""
        del self.entries[held.handle.key]
        return self.unclaim(held.handle.adapters)

    def use(self, held: Held, now: float) -> None:
        """Note a use: it is the youngest now."""
        held.used_at = now
        self.entries.move_to_end(held.handle.key)

    def note_size(self) -> None:
        """After room was made: remember the most entries that stayed."""
        self.most_held = max(self.most_held, len(self.entries))

    def victim(self) -> Held | None:
        """What has to go next because there is too much; None: there is room, or all is pinned.

        Over the number of entries it is the least recently used. Over the budget it is the least recently used
        whose going frees something; an entry that shares all its adapters comes only after those.
        """
        too_many = len(self.entries) > self.max_entries
        if not too_many and (self.budget_bytes is None or self.bytes <= self.budget_bytes):
            return None
        first: Held | None = None
        for held in self.entries.values():
            if held.pins:
                continue
            if too_many or any(self._claims[digest] == 1 for digest in held.handle.adapters):
                return held
            if first is None and held.handle.adapters:
                first = held
        return first

    def idle_since(self, moment: float) -> list[Held]:
        """Unpinned entries that nobody has used since then."""
        found = []
        for held in self.entries.values():
            if held.used_at > moment:
                break
            if not held.pins:
                found.append(held)
        return found
