"""The adapters in memory: loaded once, pinned while a request uses them, dropped least recently used first."""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from core.engine.adapter_files import read_adapter
from core.engine.limits import check_adapter
from core.engine.memory import free_bytes
from core.engine.plan import RowTerm
from core.engine.pool import Pool, lay_out
from core.engine.records import AdapterRef, Composition
from core.engine.sites import Site
from core.errors import InvalidInputError

POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Resident:
    """An adapter in memory, or on its way there. `place` is set once it is loaded."""

    ref: AdapterRef
    pins: int = 0
    place: tuple[Pool, int] | None = None
    failed: bool = False
    leaving: bool = False
    settled: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True, eq=False)
class _Ticket:
    """A request that waits for free slots. `granted` holds its residents once it has them."""

    refs: Sequence[AdapterRef]
    ready: threading.Event = field(default_factory=threading.Event)
    granted: list[tuple[_Resident, bool]] | None = None


class Lease:
    """Adapters of one composition, pinned until `release`."""

    __slots__ = ("_bank", "_residents", "terms")

    def __init__(
        self, bank: "AdapterBank", residents: Sequence[_Resident], terms: tuple[RowTerm, ...]
    ) -> None:
        self._bank, self._residents = bank, residents
        self.terms = terms

    @classmethod
    def empty(cls, bank: "AdapterBank") -> "Lease":
        """A lease on nothing: the base alone."""
        return cls(bank, (), ())

    def release(self) -> None:
        """Unpin. Calling it again does nothing."""
        residents, self._residents = self._residents, ()
        self._bank._unpin(residents)


class AdapterBank:
    """Up to `slots` adapters beside the base. Every method may be called from any thread."""

    def __init__(
        self, sites: Sequence[Site], base_digest: str, *, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._sites, self._base_digest = tuple(sites), base_digest
        self._slots, self._dtype, self._device = slots, dtype, device
        self._lock = threading.Lock()
        self._residents: OrderedDict[str, _Resident] = OrderedDict()
        self._pools: dict[tuple[int, ...], Pool] = {}
        self._tickets: deque[_Ticket] = deque()

    @property
    def slots(self) -> int:
        """How many adapters fit at once."""
        return self._slots

    def resident(self) -> tuple[int, int]:
        """Number of loaded adapters and the bytes they occupy."""
        with self._lock:
            places = [r.place for r in self._residents.values() if r.place is not None]
        return len(places), sum(pool.line_bytes for pool, _ in places)

    def lease(self, composition: Composition, *, cancelled: Callable[[], bool] | None = None) -> Lease | None:
        """Load what is missing and pin everything the composition adds; None when cancelled while waiting.

        Waits, in order of arrival, while all slots are pinned by others. An adapter whose weights sum to 0
        adds nothing and is not loaded. Raises RefusedFileError or IntegrityError when a file is bad.
        """
        weights = sum_weights(composition)
        refs = {term.adapter.digest: term.adapter for term in composition.terms}
        wanted = [refs[digest] for digest, weight in weights.items() if weight != 0.0]
        if len(wanted) > self._slots:
            raise InvalidInputError(
                f"The composition needs {len(wanted)} adapters at once.",
                f"This engine holds {self._slots}.",
                "Use fewer adapters, or raise adapter_slots.",
            )
        while True:
            granted = self._reserve(wanted, cancelled)
            if granted is None:
                return None
            residents = [resident for resident, _ in granted]
            try:
                loaded = self._load(granted)
            except BaseException:
                self._unpin(residents)
                raise
            if loaded:
                return Lease(self, residents, _terms(residents, weights))
            self._unpin(residents)  # another request's load of the same adapter failed; try with our own path

    def unload(self, digest: str) -> bool:
        """Free an adapter now, or when its last pin ends. False when it is not loaded."""
        with self._lock:
            resident = self._residents.get(digest)
            if resident is None:
                return False
            resident.leaving = True
            if resident.pins == 0:
                self._drop(digest)
            self._serve_tickets()
            return True

    def _reserve(
        self, refs: Sequence[AdapterRef], cancelled: Callable[[], bool] | None
    ) -> list[tuple[_Resident, bool]] | None:
        """Pin or claim every adapter at once. The flag says that the caller has to load it."""
        with self._lock:
            granted = None if self._tickets else self._try_reserve(refs)
            if granted is not None:
                return granted
            ticket = _Ticket(refs)
            self._tickets.append(ticket)
        try:
            while not ticket.ready.wait(POLL_SECONDS if cancelled else None):
                if cancelled is not None and cancelled():
                    self._withdraw(ticket)
                    break
        except BaseException:
            self._withdraw(ticket)
            self._abandon(ticket.granted or [])
            raise
        return ticket.granted

    def _withdraw(self, ticket: _Ticket) -> None:
        """Stop waiting. The ticket may have been granted in the meantime; then it stays granted."""
        with self._lock:
            if ticket.granted is None:
                self._tickets.remove(ticket)
                self._serve_tickets()

    def _abandon(self, granted: Sequence[tuple[_Resident, bool]]) -> None:
        for resident, is_new in granted:
            if is_new:
                self._give_up(resident)
        self._unpin(resident for resident, _ in granted)

    def _try_reserve(self, refs: Sequence[AdapterRef]) -> list[tuple[_Resident, bool]] | None:
        missing = [ref for ref in refs if ref.digest not in self._residents]
        needed = {ref.digest for ref in refs}
        idle = [d for d, r in self._residents.items() if r.pins == 0 and d not in needed]
        short = len(missing) - (self._slots - len(self._residents))
        if short > len(idle):
            return None
        for digest in idle[: max(0, short)]:
            self._drop(digest)
        granted = []
        for ref in refs:
            resident = self._residents.get(ref.digest)
            is_new = resident is None
            if resident is None:
                resident = self._residents[ref.digest] = _Resident(ref)
            self._residents.move_to_end(ref.digest)
            resident.pins += 1
            granted.append((resident, is_new))
        return granted

    def _load(self, granted: Iterable[tuple[_Resident, bool]]) -> bool:
        """Load the claimed ones, wait for those that others load. False when another's load failed."""
        pairs = list(granted)
        claimed = deque(resident for resident, is_new in pairs if is_new)
        try:
            while claimed:
                self._load_one(claimed[0])
                claimed.popleft()
        finally:
            for resident in claimed:  # only after an error: the one that failed and those not reached
                self._give_up(resident)
        for resident, _ in pairs:
            resident.settled.wait()
        return not any(resident.failed for resident, _ in pairs)

    def _load_one(self, resident: _Resident) -> None:
        weights = read_adapter(resident.ref, self._sites, self._base_digest)
        check_adapter(
            4 * sum(t.numel() for t in (*weights.a.values(), *weights.b.values())), free_bytes(self._device)
        )
        with self._lock:
            pool = self._pools.get(weights.ranks)
            if pool is None:
                layout = lay_out(self._sites, weights.ranks)
                pool = Pool(self._sites, layout, self._slots, self._dtype, self._device)
                self._pools[weights.ranks] = pool
            line = pool.take()
        try:
            pool.write(line, weights.a, weights.b)
        except BaseException:
            with self._lock:
                self._return_line(pool, line)
            raise
        with self._lock:
            resident.place = (pool, line)
        resident.settled.set()

    def _give_up(self, resident: _Resident) -> None:
        with self._lock:
            resident.failed = True
            if self._residents.get(resident.ref.digest) is resident:
                del self._residents[resident.ref.digest]
            self._serve_tickets()
        resident.settled.set()

    def _unpin(self, residents: Iterable[_Resident]) -> None:
        with self._lock:
            for resident in residents:
                resident.pins -= 1
                digest = resident.ref.digest
                if resident.pins == 0 and resident.leaving and self._residents.get(digest) is resident:
                    self._drop(digest)
            self._serve_tickets()

    def _serve_tickets(self) -> None:
        while self._tickets:
            granted = self._try_reserve(self._tickets[0].refs)
            if granted is None:
                return
            ticket = self._tickets.popleft()
            ticket.granted = granted
            ticket.ready.set()

    def _drop(self, digest: str) -> None:
        resident = self._residents.pop(digest)
        if resident.place is not None:
            self._return_line(*resident.place)
            resident.place = None

    def _return_line(self, pool: Pool, line: int) -> None:
        pool.give_back(line)
        if pool.in_use == 0:
            del self._pools[pool.layout.ranks]


def sum_weights(composition: Composition) -> Mapping[str, float]:
    """Weight per adapter digest; an adapter that is named twice adds up. Raises InvalidInputError for NaN."""
    weights: Counter[str] = Counter()
    for term in composition.terms:
        weights[term.adapter.digest] += term.weight  # type: ignore[assignment]
    for weight in weights.values():
        if not -1e6 < weight < 1e6:
            raise InvalidInputError(
                "A weight of the composition is not usable.",
                f"It is {weight}.",
                "Use a number between -8 and 8.",
            )
    return dict(sorted(weights.items()))


def _terms(residents: Sequence[_Resident], weights: Mapping[str, float]) -> tuple[RowTerm, ...]:
    places = [(resident.ref.digest, resident.place) for resident in residents]
    return tuple(RowTerm(*place, weights[digest]) for digest, place in places if place is not None)
