"""Who gets room for which adapters, and when: all at once or not at all, the owner that holds least first."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from core.engine.records import AdapterRef
from core.engine.residents import Resident, Residents

POLL_SECONDS = 0.05

# The flag says that the caller has to load it.
Granted = list[tuple[Resident, bool]]


@dataclass(slots=True, eq=False)
class _Ticket:
    """A request that waits for room. `granted` holds its residents once it has them."""

    refs: Sequence[AdapterRef]
    sizes: Mapping[str, int]
    owner: str
    number: int
    ready: threading.Event = field(default_factory=threading.Event)
    granted: Granted | None = None


class Room:
    """Pins adapters that are there, and sets room aside for those that are not. `lock` is the bank's.

    `evict` frees one that has to leave. Because a request gets all it needs at once, two that need each other's room
    never wait for each other. Among those who wait the owner whose requests hold the fewest adapters is first, and
    within an owner who came first; nobody overtakes the first, so that nobody starves.
    """

    def __init__(
        self,
        lock: threading.Lock,
        residents: Residents,
        evict: Callable[[Resident], None],
        clock: Callable[[], float],
    ) -> None:
        self._lock, self._residents, self._evict, self._clock = lock, residents, evict, clock
        self._tickets: dict[str, deque[_Ticket]] = {}  # by owner
        self._held: Counter[str] = Counter()  # adapters that the leases of an owner hold
        self._numbers = count()

    @property
    def waiting(self) -> int:
        """How many requests wait for room."""
        return sum(map(len, [*self._tickets.values()]))

    @property
    def crowded(self) -> bool:
        """Whether anybody waits."""
        return bool(self._tickets)

    def reserve(
        self,
        refs: Sequence[AdapterRef],
        sizes: Mapping[str, int],
        cancelled: Callable[[], bool] | None,
        owner: str = "",
    ) -> Granted | None:
        """Pin or claim every adapter, waiting for room; None when cancelled. `sizes`: bytes of those not here."""
        with self._lock:
            ticket = _Ticket(refs, sizes, owner, next(self._numbers))
            self._tickets.setdefault(owner, deque()).append(ticket)
            self.serve()
            if ticket.granted is not None:
                return ticket.granted
        try:
            while not ticket.ready.wait(POLL_SECONDS if cancelled else None):
                if cancelled is not None and cancelled():
                    break
        except BaseException:
            self._withdraw(ticket)
            if ticket.granted is None:
                raise
            # It got its room in the same moment: the caller has to take it, and will ask `cancelled` again.
        self._withdraw(ticket)
        return ticket.granted

    def reserve_now(self, refs: Sequence[AdapterRef], sizes: Mapping[str, int]) -> Granted | None:
        """As `reserve`, without waiting; None when there is no room or others wait for some."""
        with self._lock:
            granted = None if self._tickets else self._try(refs, sizes)
            if granted is not None:
                self._held[""] += len(granted)
            return granted

    def pin_loaded(self, refs: Sequence[AdapterRef], owner: str) -> list[Resident] | None:
        """Pin adapters that can all be used at once; None when one cannot, or when it is the turn of another owner."""
        with self._lock:
            first = self._first()
            if first is not None and self._held[owner] >= self._held[first.owner]:
                return None
            found = [self._residents.get(ref.digest) for ref in refs]
            loaded = [resident for resident in found if resident is not None and resident.place is not None]
            if len(loaded) < len(refs):
                return None
            now = self._clock()
            for ref in refs:
                self._pin(ref, {}, now)
            self._held[owner] += len(refs)
            return loaded

    def gives_way(self, owner: str) -> bool:
        """Whether `owner` holds more than the owner whose turn it is would hold with what it waits for."""
        with self._lock:
            first = self._first()
            return first is not None and self._held[owner] > self._held[first.owner] + len(first.refs)

    def give_back(self, owner: str, adapters: int) -> None:
        """`owner` holds so many fewer. The caller holds the lock, and calls `serve` when they are unpinned."""
        self._held[owner] -= adapters
        if self._held[owner] <= 0:
            del self._held[owner]

    def serve(self) -> None:
        """Give room to those who wait, as far as there is some. The caller holds the lock."""
        while (ticket := self._first()) is not None:
            granted = self._try(ticket.refs, ticket.sizes)
            if granted is None:
                return
            self._remove(ticket)
            self._held[ticket.owner] += len(granted)
            ticket.granted = granted
            ticket.ready.set()

    def _first(self) -> _Ticket | None:
        heads = (tickets[0] for tickets in self._tickets.values())
        return min(heads, key=lambda ticket: (self._held[ticket.owner], ticket.number), default=None)

    def _remove(self, ticket: _Ticket) -> None:
        tickets = self._tickets[ticket.owner]
        tickets.remove(ticket)
        if not tickets:
            del self._tickets[ticket.owner]

    def _withdraw(self, ticket: _Ticket) -> None:
        """Stop waiting. The ticket may have been granted in the meantime; then it stays granted."""
        with self._lock:
            if ticket in self._tickets.get(ticket.owner, ()):
                self._remove(ticket)
                self.serve()

    def _try(self, refs: Sequence[AdapterRef], sizes: Mapping[str, int]) -> Granted | None:
        leaving = self._residents.victims(refs, sizes)
        if leaving is None:
            return None
        for resident in leaving:
            self._evict(resident)
        now = self._clock()
        return [self._pin(ref, sizes, now) for ref in refs]

    def _pin(self, ref: AdapterRef, sizes: Mapping[str, int], now: float) -> tuple[Resident, bool]:
        found = self._residents.get(ref.digest)
        resident = found or self._residents.add(ref, sizes.get(ref.digest, 0))
        if found is None:
            resident.pins += 1  # by its load, so that it is not dropped half way
        self._residents.touch(resident, now)
        resident.pins += 1
        return resident, found is None
