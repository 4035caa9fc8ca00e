"""Which adapters are in memory, what they take, and which one leaves when another needs the room.

The rule is GreedyDual-Size: an adapter is worth H = L + cost/size; the one with the least H leaves, and L becomes its
H; every use sets H anew. What is quick to load again and was not used for long goes first. Cost is the time that its
last load took. Times within a factor of four of the usual one are noise and count as equal: among such adapters the
rule is exactly least recently used. Size is bytes under a memory budget; where only slots are short, all are equal.
Source: Cao & Irani 1997, «Cost-Aware WWW Proxy Caching Algorithms», USENIX Symposium on Internet Technologies and
Systems, section 4.
"""

import statistics
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from core.engine.pool import Pool
from core.engine.records import AdapterRef, ResidentAdapter
from core.engine.token_gate import Directions

NOISE_FACTOR = 4.0


@dataclass(slots=True, eq=False)
class Resident:
    """An adapter in memory, or on its way there. `place` is set once it is loaded, `error` when that failed."""

    ref: AdapterRef
    bytes: int = 0
    pins: int = 0
    uses: int = 0
    load_ms: float = 0.0
    used_at: float = 0.0
    cost: float = 1.0
    worth: float = 0.0
    place: tuple[Pool, int] | None = None
    directions: Directions | None = None
    error: BaseException | None = None
    leaving: bool = False
    settled: threading.Event = field(default_factory=threading.Event)


class Residents:
    """The adapters of a bank, least recently used first. Its caller holds the bank's lock."""

    def __init__(self, slots: int, budget_bytes: int | None) -> None:
        self._slots, self._budget_bytes = slots, budget_bytes
        self._by_digest: OrderedDict[str, Resident] = OrderedDict()
        self._least_worth = 0.0  # L

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: str) -> Resident | None:
        """The adapter, loaded or not yet."""
        return self._by_digest.get(digest)

    def all(self) -> tuple[Resident, ...]:
        """Every one, least recently used first."""
        return tuple(self._by_digest.values())

    def loaded(self) -> list[Resident]:
        """Those that can be used, least recently used first."""
        return [resident for resident in self._by_digest.values() if resident.place is not None]

    def describe(self, now: float) -> tuple[ResidentAdapter, ...]:
        """Those that can be used, as others see them."""
        return tuple(
            ResidentAdapter(
                digest=resident.ref.digest,
                bytes=resident.bytes,
                pins=resident.pins,
                uses=resident.uses,
                load_ms=resident.load_ms,
                idle_s=0.0 if resident.pins else max(0.0, now - resident.used_at),
            )
            for resident in self.loaded()
        )

    def holds(self, resident: Resident) -> bool:
        """Whether this very one is still here."""
        return self._by_digest.get(resident.ref.digest) is resident

    def add(self, ref: AdapterRef, size: int) -> Resident:
        """Set room aside for an adapter that is about to be loaded."""
        resident = self._by_digest[ref.digest] = Resident(ref, bytes=size)
        return resident

    def touch(self, resident: Resident, now: float) -> None:
        """Note a use."""
        self._by_digest.move_to_end(resident.ref.digest)
        resident.used_at = now
        resident.worth = self._least_worth + resident.cost

    def price(self, resident: Resident, load_ms: float) -> None:
        """Note how long a load took."""
        resident.load_ms = load_ms
        before, resident.cost = resident.cost, self._relative_cost(resident)
        resident.worth += resident.cost - before

    def remove(self, resident: Resident) -> None:
        """Take it out of the books; the caller frees its memory."""
        del self._by_digest[resident.ref.digest]

    def evict(self, resident: Resident) -> None:
        """As `remove`, to make room."""
        self._least_worth = max(self._least_worth, resident.worth)
        self.remove(resident)

    def bytes(self) -> int:
        """Bytes of all, those on their way included."""
        return sum(resident.bytes for resident in self._by_digest.values())

    def victims(self, refs: Sequence[AdapterRef], sizes: Mapping[str, int]) -> list[Resident] | None:
        """Who has to leave so that `refs` fit; None when those who may leave are not enough."""
        wanted = {ref.digest for ref in refs}
        missing = wanted - self._by_digest.keys()
        slots = len(missing) - (self._slots - len(self._by_digest))
        size = 0
        if self._budget_bytes is not None:
            size = self.bytes() + sum(sizes.get(digest, 0) for digest in missing) - self._budget_bytes
        leaving: list[Resident] = []
        if not missing or (slots <= 0 and size <= 0):
            return leaving
        for resident in self._idle(wanted):
            if len(leaving) >= slots and size <= 0:
                break
            leaving.append(resident)
            size -= resident.bytes
        return leaving if len(leaving) >= slots and size <= 0 else None

    def surplus(self) -> list[Resident]:
        """Idle ones that have to leave because others turned out larger than was set aside for them."""
        size = self.bytes() - self._budget_bytes if self._budget_bytes is not None else 0
        leaving = []
        for resident in self._idle(()) if size > 0 else ():
            if size > 0:
                leaving.append(resident)
                size -= resident.bytes
        return leaving

    def _idle(self, wanted: Collection[str]) -> list[Resident]:
        """Those that nobody uses or is about to use, in the order in which they leave."""
        idle = [r for r in self._by_digest.values() if r.pins == 0 and r.ref.digest not in wanted]
        return sorted(idle, key=lambda resident: resident.worth)  # stable: least recently used first

    def _relative_cost(self, resident: Resident) -> float:
        """Time to load it again over the usual one; 1 when they are alike."""
        costs = [self._cost(other) for other in self._by_digest.values() if other.load_ms > 0.0]
        own = self._cost(resident)
        if not costs or own == 0.0:
            return 1.0
        ratio = own / statistics.median(costs)
        return 1.0 if 1.0 / NOISE_FACTOR <= ratio <= NOISE_FACTOR else ratio

    def _cost(self, resident: Resident) -> float:
        return (
            resident.load_ms / max(1, resident.bytes) if self._budget_bytes is not None else resident.load_ms
        )
