"""The adapters in memory: loaded once, pinned while a request uses them, dropped cheapest first (see residents.py).

Each load runs in a thread of its own: a slow or a bad adapter delays nobody but the requests that ask for it.

Locks, in the order in which a thread may take them, each while it holds those before it:
    1. the engine's, of `Turns`: the inference thread between two steps, callers who come and go
    2. the bank's, shared by `Room`, `Residents`, `AdapterLoader` and `SharedGates`
    3. a `Pool`'s: its views, and its slab when that moves
Nobody waits for anything else while holding one of them. Without any of them a thread waits for: room (ends when a
lease does), a load (ends by itself), and a loading thread for its turn to compute (those before it wait for nobody)
and then for the inference thread (which waits for nobody but work; a trial is refused when it has ended).
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from core.engine.adapter_files import count_values
from core.engine.lease import Lease, row_term
from core.engine.loading import AdapterLoader, Canary, run_beside
from core.engine.pool import Pool
from core.engine.records import AdapterRef, Composition, ResidentAdapter
from core.engine.residents import Resident, Residents
from core.engine.room import POLL_SECONDS, Granted, Room
from core.engine.shared_gates import SharedGates
from core.engine.site_factors import SiteFactors, SiteMap, check_gate
from core.engine.sites import Site
from core.errors import InsufficientMemoryError, InvalidInputError, UnavailableError


@dataclass(frozen=True, slots=True)
class BankCounters:
    """What the bank did since it was made. A hit is an adapter that a lease found in memory."""

    loads: int = 0
    hits: int = 0
    evictions: int = 0
    load_ms: float = 0.0


class AdapterBank:
    """Up to `slots` adapters in up to `budget_bytes` beside the base. Every method may be called from any thread.

    `canary` is called with every new adapter before anybody can use it, in the thread that loads it.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        base_digest: str,
        *,
        slots: int,
        dtype: torch.dtype,
        device: torch.device,
        budget_bytes: int | None = None,
        canary: Canary | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sites, self._map = tuple(sites), SiteMap(sites)
        self._slots, self._budget_bytes, self._item_bytes = slots, budget_bytes, dtype.itemsize
        self._clock = clock
        self._lock = threading.Lock()
        self._residents = Residents(slots, budget_bytes)
        self._loader = AdapterLoader(sites, base_digest, self._lock, slots, dtype, device, canary)
        self._room = Room(self._lock, self._residents, self._evict, clock)
        self._gates = SharedGates(sites, self._lock, self._trim)
        self._loads = self._hits = self._evictions = 0
        self._load_ms = 0.0

    @property
    def slots(self) -> int:
        """How many adapters fit at once."""
        return self._slots

    @property
    def budget_bytes(self) -> int | None:
        """How many bytes adapters may take; None where only slots count."""
        return self._budget_bytes

    @property
    def counters(self) -> BankCounters:
        """What happened so far."""
        with self._lock:
            return BankCounters(self._loads, self._hits, self._evictions, self._load_ms)

    def set_canary(self, canary: Canary) -> None:
        """Give the check that every adapter loaded from now on has to pass."""
        self._loader.canary = canary

    def resident(self) -> tuple[int, int]:
        """Number of loaded adapters and the bytes they occupy."""
        with self._lock:
            loaded = self._residents.loaded()
        return len(loaded), sum(resident.bytes for resident in loaded)

    def residents(self) -> tuple[ResidentAdapter, ...]:
        """Every loaded adapter, least recently used first."""
        with self._lock:
            return self._residents.describe(self._clock())

    @property
    def crowded(self) -> bool:
        """Whether anybody waits for room."""
        return self._room.crowded

    def lease(
        self, composition: Composition, *, cancelled: Callable[[], bool] | None = None, owner: str = ""
    ) -> Lease | None:
        """Load what is missing and pin everything the composition adds; None when cancelled while waiting.

        Waits while all room is pinned by others: the owner that holds least is first, then who came first. An adapter
        whose weights sum to 0 adds nothing and is not loaded. Raises RefusedFileError or IntegrityError when a file is
        bad, InvalidInputError for a composition that this base cannot do, InsufficientMemoryError when it needs more
        than there is.
        """
        weights = self._map.weigh(composition)
        if composition.gate is not None:
            check_gate(composition.gate)
        refs = {term.adapter.digest: term.adapter for term in composition.terms}
        wanted = [refs[digest] for digest in weights]
        if len(wanted) > self._slots:
            raise InvalidInputError(
                f"The composition needs {len(wanted)} adapters at once.",
                f"This engine holds {self._slots}.",
                "Use fewer adapters, or raise adapter_slots.",
            )
        while True:
            residents = self._acquire(wanted, cancelled, owner)
            if residents is None:
                return None
            if all(resident.error is None for resident in residents):
                return self._make_lease(composition, owner, residents, weights)
            # Another request's load of the same adapter failed; try with our own path.
            self._unpin(residents, owner)

    def lease_loaded(self, composition: Composition, owner: str) -> Lease | None:
        """As `lease`, without waiting and without loading; None where that is not possible."""
        weights = self._map.weigh(composition)
        refs = {term.adapter.digest: term.adapter for term in composition.terms}
        residents = self._room.pin_loaded([refs[digest] for digest in weights], owner)
        return None if residents is None else self._make_lease(composition, owner, residents, weights)

    def gives_way(self, owner: str) -> bool:
        """Whether another owner waits for room that would still hold less than this one."""
        return self._room.gives_way(owner)

    def give_back(self, residents: Sequence[Resident], owner: str) -> None:
        """End a lease of `owner` on these."""
        self._unpin(residents, owner)

    def prefetch(self, ref: AdapterRef) -> bool:
        """Load an adapter without pinning it. False when there is no room without waiting or displacing a pinned one.

        Returns when it can be used. Raises what `lease` raises for a bad file.
        """
        granted = self._room.reserve_now([ref], self._measure([ref]))
        if granted is None:
            return False
        residents = self._settle(granted, None, "")
        self._unpin(residents or (), "")
        return residents is not None and residents[0].error is None

    def unload(self, digest: str) -> bool:
        """Free an adapter now, or when its last pin ends. False when it is not loaded."""
        with self._lock:
            resident = self._residents.get(digest)
            if resident is None:
                return False
            resident.leaving = True
            if resident.pins == 0:
                self._drop(resident)
            self._room.serve()
            return True

    # --- leases ---

    def _make_lease(
        self,
        composition: Composition,
        owner: str,
        residents: Sequence[Resident],
        weights: Mapping[str, float | SiteFactors],
    ) -> Lease:
        try:
            terms = tuple(row_term(resident, weights[resident.ref.digest]) for resident in residents)
            gate = self._gates.get(composition.gate, residents, terms)
        except BaseException:
            self._unpin(residents, owner)
            raise
        return Lease(self, residents, terms, gate, composition=composition, owner=owner)

    # --- room ---

    def _acquire(
        self, wanted: Sequence[AdapterRef], cancelled: Callable[[], bool] | None, owner: str
    ) -> list[Resident] | None:
        granted = self._room.reserve(wanted, self._measure(wanted), cancelled, owner)
        return None if granted is None else self._settle(granted, cancelled, owner)

    def _measure(self, refs: Sequence[AdapterRef]) -> dict[str, int]:
        """Bytes that those not in memory will take. Raises InsufficientMemoryError when all are over the budget."""
        if self._budget_bytes is None:
            return {}
        sizes = {}
        for ref in refs:
            with self._lock:
                known = self._residents.get(ref.digest)
            sizes[ref.digest] = known.bytes if known else count_values(ref) * self._item_bytes
        needed = sum(sizes.values())
        if needed > self._budget_bytes:
            raise InsufficientMemoryError(
                "The adapters of this composition do not fit into memory together.",
                f"They need {needed / 1e6:,.1f} MB, and {self._budget_bytes / 1e6:,.1f} MB are set aside for adapters.",
                "Use fewer or smaller adapters, or set more memory aside.",
            )
        return sizes

    # --- loading ---

    def _settle(
        self, granted: Granted, cancelled: Callable[[], bool] | None, owner: str
    ) -> list[Resident] | None:
        """Start the claimed loads and wait until all are there; None when cancelled. Raises what a claimed one did.

        A load that nobody waits for any more goes on: its adapter is there for the next who asks.
        """
        residents = [resident for resident, _ in granted]
        try:
            for resident, is_new in granted:
                if is_new:
                    self._start(resident)
            for resident in residents:
                while not resident.settled.wait(POLL_SECONDS if cancelled else None):
                    if cancelled is not None and cancelled():
                        self._unpin(residents, owner)
                        return None
            for resident, is_new in granted:
                if is_new and resident.error is not None:
                    raise resident.error
        except BaseException:
            self._unpin(residents, owner)
            raise
        with self._lock:
            for resident, is_new in granted:
                resident.uses += 1
                self._hits += not is_new
        return residents

    def _start(self, resident: Resident) -> None:
        try:
            run_beside(partial(self._load, resident))
        except UnavailableError as error:
            self._give_up(resident, error)

    def _load(self, resident: Resident) -> None:
        """What the loading thread does. Whatever happens, those who wait for it are told."""
        began = self._clock()
        try:
            place = self._loader.load(resident.ref)
            with self._lock:
                self._arrive(resident, place, (self._clock() - began) * 1e3)
        except BaseException as error:  # noqa: BLE001 - it is raised where the adapter was asked for
            self._give_up(resident, error)
        else:
            self._unpin([resident])
        finally:
            resident.settled.set()

    def _arrive(self, resident: Resident, place: tuple[Pool, int], load_ms: float) -> None:
        resident.place, resident.bytes = place, place[0].line_bytes
        self._residents.price(resident, load_ms)
        self._loads, self._load_ms = self._loads + 1, self._load_ms + load_ms
        self._trim()

    def _give_up(self, resident: Resident, error: BaseException) -> None:
        try:
            with self._lock:
                resident.error = error
                resident.pins -= 1
                if self._residents.holds(resident):
                    self._drop(resident)
                self._room.serve()
        finally:
            resident.settled.set()

    # --- leaving ---

    def _unpin(self, residents: Sequence[Resident], owner: str | None = None) -> None:
        """`owner`: whose lease held them; None for a load, which holds its own adapter."""
        with self._lock:
            if owner is not None:
                self._room.give_back(owner, len(residents))
            for resident in residents:
                resident.pins -= 1
                if resident.pins == 0:
                    resident.used_at = self._clock()
                    if resident.leaving and self._residents.holds(resident):
                        self._drop(resident)
            self._room.serve()

    def _trim(self) -> None:
        for resident in self._residents.surplus():
            self._evict(resident)

    def _evict(self, resident: Resident) -> None:
        self._residents.evict(resident)
        self._evictions += 1
        self._free(resident)

    def _drop(self, resident: Resident) -> None:
        self._residents.remove(resident)
        self._free(resident)

    def _free(self, resident: Resident) -> None:
        place, resident.place, resident.directions = resident.place, None, None
        if place is not None:
            self._loader.free(*place)
