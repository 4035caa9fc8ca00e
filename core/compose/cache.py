"""Compositions that are ready: each prepared once for all that ask, kept while somebody uses it, given up by age and room.

The key is the content of a composition, never a name: names are resolved per tenant before. Compositions of one
content are one entry, whoever asks; which files they are read from stays with each caller. A virtual composition takes
no memory itself: what the budget counts are adapters, and when the last entry that needs an adapter goes, the engine
unloads it. The engine serves nothing unprepared on its own, so a mistake here could cost time, but not truth.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from threading import Condition

import structlog

from core.compose.flights import (
    Flight,
    Places,
    adapter_bytes,
    error_again,
    needed_adapters,
    own_handle,
    places_of,
)
from core.compose.handles import CacheStats, CompositionHandle, Pin, WarmOutcome
from core.compose.holdings import Held, Holdings
from core.compose.tally import Tally
from core.compose.tickets import Callback, ComposeQueue, Ticket
from core.engine.records import Composition, EnginePort
from core.errors import IntegrityError, InvalidInputError, RefusedFileError

LOG = structlog.get_logger(__name__)
KEYS_KEPT = 4096
REFUSALS_KEPT = 1024


class CompositionCache:
    """From the content of a composition to a handle that the engine has prepared. Safe from any thread.

    At most `max_entries` compositions, whose adapters, each counted once, take at most `budget_bytes`; pinned ones stay
    beyond that until they are let go. An entry that nobody used for `ttl_s` is not found and goes with the next
    preparation: content does not grow old, but memory is wanted back. Files that were refused are not read again
    for `negative_ttl_s`. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        engine: Callable[[], EnginePort],
        *,
        max_entries: int = 256,
        budget_bytes: int | None = None,
        ttl_s: float | None = 3600.0,
        negative_ttl_s: float = 2.0,
        trace_length: int = 4096,
        workers: int = 2,
        max_waiting: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_entries < 1:
            raise InvalidInputError("A composition cache holds at least one entry.", "", "Raise max_entries.")
        self._engine, self._clock = engine, clock
        self._ttl_s, self._negative_ttl_s = ttl_s, negative_ttl_s
        self._changed = Condition()
        self._holdings = Holdings(max_entries, budget_bytes)
        self._flights: dict[str, Flight] = {}
        self._refusals: OrderedDict[Places, tuple[float, Exception]] = OrderedDict()
        self._keys: OrderedDict[Composition, str] = OrderedDict()
        self._tally = Tally(deque(maxlen=trace_length))
        self._queue = ComposeQueue(self._prepare_uncounted, workers=workers, max_waiting=max_waiting)

    def compose_sync(self, composition: Composition) -> CompositionHandle:
        """The handle of a composition, prepared now if it is not held. Raises what the engine's `prepare` raises."""
        held = self._find(composition, counted=True, pins=0)
        if held is None:
            held = self._enter(composition, counted=True)
            self._unpin(held)
        return own_handle(held.handle, composition)

    def pin(self, composition: Composition) -> Pin:
        """The same, and held until the pin is released: until then nothing that it needs is given up for room."""
        held = self._find(composition, counted=True, pins=1) or self._enter(composition, counted=True)
        return Pin(own_handle(held.handle, composition), lambda: self._unpin(held))

    def compose_async(
        self, composition: Composition, *, priority: int = 0, callback: Callback | None = None
    ) -> Ticket:
        """Prepare in the background, higher `priority` first. `callback` gets the ticket's id, and the handle or error.

        Not counted as a lookup. Raises BusyError when too many wait.
        """
        return self._queue.submit(composition, priority=priority, callback=callback)

    def prefetch(self, compositions: Iterable[Composition], *, priority: int = -10) -> tuple[Ticket, ...]:
        """Prepare what will be wanted soon, after everything more urgent. Raises BusyError when too many wait."""
        return tuple(self.compose_async(composition, priority=priority) for composition in compositions)

    def warm(self, compositions: Iterable[Composition]) -> tuple[WarmOutcome, ...]:
        """Prepare a list at the start, one after another. What fails is logged and told; the rest goes on."""
        outcomes = []
        for composition in compositions:
            try:
                outcomes.append(
                    WarmOutcome(composition.key, self._prepare_uncounted(composition), error=None)
                )
            except Exception as error:  # noqa: BLE001 - told and logged; the rest of the list goes on
                LOG.warning("composition.not_warmed", key=composition.key, error=str(error))
                outcomes.append(WarmOutcome(composition.key, None, error))
        return tuple(outcomes)

    def discard(self, key: str, *, idle_s: float = 0.0) -> bool:
        """Give an entry up now, or when its last pin ends, unless somebody asks for it again before.

        False: it is not held, or was asked for within the last `idle_s` seconds.
        """
        with self._changed:
            held = self._holdings.entries.get(key)
            if held is None or self._clock() - held.asked_at < idle_s:
                return False
            held.leaving = held.pins > 0
            free = [] if held.leaving else self._holdings.remove(held)
        self._unload(free)
        return True

    def forget_adapter(self, digest: str) -> int:
        """Give up all entries with this adapter, and all refusals. Answers how many entries that were."""
        with self._changed:
            self._refusals.clear()
            keys = [k for k, held in self._holdings.entries.items() if digest in held.handle.adapters]
        return sum(self.discard(key) for key in keys)

    def drain(self, key: str, timeout_s: float) -> bool:
        """Wait until nobody has this composition pinned. False: somebody still had after `timeout_s`."""

        def is_free() -> bool:
            held = self._holdings.entries.get(key)
            return held is None or held.pins == 0

        with self._changed:
            return self._changed.wait_for(is_free, timeout_s)

    def get_cache_stats(self) -> CacheStats:
        """Figures of all tenants together; `CacheStats.seen_by` leaves a tenant its own entries."""
        with self._changed:
            now = self._clock()
            free = self._expire(now)
            tally, holdings = self._tally.copy(), self._holdings
            entries = tuple(held.describe(now) for held in reversed(holdings.entries.values()))
            held_bytes, most_held, in_flight = holdings.bytes, holdings.most_held, len(self._flights)
        self._unload(free)
        return tally.stats(
            entries,
            most_held=most_held,
            held_bytes=held_bytes,
            room=(holdings.max_entries, holdings.budget_bytes),
            in_flight=in_flight,
            queued=self._queue.waiting,
        )

    def close(self) -> None:
        """End the background work; what waits there fails. Entries stay usable."""
        self._queue.close()

    def _prepare_uncounted(self, composition: Composition) -> CompositionHandle:
        held = self._enter(composition, counted=False)
        self._unpin(held)
        return own_handle(held.handle, composition)

    def _find(self, composition: Composition, *, counted: bool, pins: int) -> Held | None:
        """The entry of a composition if it is held and fresh, in microseconds; nothing else is looked after."""
        with self._changed:
            held = self._holdings.entries.get(self._key(composition))
            if held is None:
                return None
            now = self._clock()
            if self._ttl_s is not None and not held.pins and now - held.used_at >= self._ttl_s:
                return None
            held.pins += pins
            self._note_hit(held, now, counted)
            return held

    def _enter(self, composition: Composition, *, counted: bool) -> Held:
        """The entry of a composition, pinned for the caller."""
        while True:
            free: Sequence[str] = ()
            flight: Flight | None = None
            leads = False
            try:
                with self._changed:
                    key, now = self._key(composition), self._clock()
                    free = self._expire(now)
                    held = self._holdings.entries.get(key)
                    if held is None:
                        flight, leads = self._board(key, composition, now)
                    else:
                        held.pins += 1
                        self._note_hit(held, now, counted)
            finally:
                self._unload(free)
            if flight is not None:
                held = (
                    self._prepare(flight, composition, counted)
                    if leads
                    else self._wait(flight, composition, counted)
                )
            if held is not None:
                return held

    def _board(self, key: str, composition: Composition, now: float) -> tuple[Flight, bool]:
        """The preparation of this key under way, or a new one. The flag says that the caller has to do it."""
        flight = self._flights.get(key)
        if flight is not None:
            flight.waiting += 1
            return flight, False
        places = places_of(key, composition)
        refusal = self._refusals.get(places)
        if refusal is not None and now < refusal[0]:
            self._tally.refused += 1
            raise error_again(refusal[1]) from refusal[1]
        flight = self._flights[key] = Flight(places, needed_adapters(composition))
        self._holdings.claim(flight.adapters)
        return flight, True

    def _prepare(self, flight: Flight, composition: Composition, counted: bool) -> Held:
        """Do what the flight is for; everyone who waits gets the entry, pinned, or the error."""
        begun = time.perf_counter()
        try:
            engine = self._engine()
            engine.prepare(composition)
            sizes = adapter_bytes(engine, composition, flight.adapters)
        except BaseException as error:
            self._fail(flight, error)
            raise
        handle = CompositionHandle(
            composition=composition,
            key=flight.places[0],
            adapters=flight.adapters,
            bytes=sum(sizes.values()),
            prepared_ms=(time.perf_counter() - begun) * 1000,
        )
        with self._changed:
            now = self._clock()
            held = flight.held = Held(handle, now, used_at=now, asked_at=now, uses=1, pins=1 + flight.waiting)
            del self._flights[handle.key]
            self._holdings.add(held, sizes)
            self._tally.note(handle.key, hit=False, counted=counted)
            free = self._make_room()
        flight.done.set()
        self._unload(free)
        return held

    def _fail(self, flight: Flight, error: BaseException) -> None:
        """End a flight with an error. Only what is wrong with the files themselves is remembered, and not for long."""
        with self._changed:
            del self._flights[flight.places[0]]
            free = self._holdings.unclaim(flight.adapters)
            self._tally.failures += 1
            if isinstance(error, RefusedFileError | IntegrityError):
                self._refusals[flight.places] = (self._clock() + self._negative_ttl_s, error)
                if len(self._refusals) > REFUSALS_KEPT:
                    self._refusals.popitem(last=False)
            flight.error = error if isinstance(error, Exception) else None
        flight.done.set()
        self._unload(free)

    def _wait(self, flight: Flight, composition: Composition, counted: bool) -> Held | None:
        """The entry that somebody else prepares. None: that failed, and the caller's own files may be good."""
        try:
            flight.done.wait()
        except BaseException:
            with self._changed:
                flight.waiting -= 1
                held = flight.held
            if held is not None:
                self._unpin(held)
            raise
        if flight.held is not None:
            with self._changed:
                self._note_hit(flight.held, self._clock(), counted)
            return flight.held
        if flight.error is not None and flight.places == places_of(flight.places[0], composition):
            raise error_again(flight.error) from flight.error
        return None

    def _note_hit(self, held: Held, now: float, counted: bool) -> None:
        held.leaving, held.asked_at = False, now
        held.uses += 1
        self._holdings.use(held, now)
        self._tally.note(held.handle.key, hit=True, counted=counted)

    def _unpin(self, held: Held) -> None:
        with self._changed:
            held.pins -= 1
            self._holdings.use(held, self._clock())
            free: Sequence[str] = ()
            if not held.pins:
                free = self._holdings.remove(held) if held.leaving else self._make_room()
                self._changed.notify_all()
        self._unload(free)

    def _expire(self, now: float) -> Sequence[str]:
        """Drop what nobody used for too long. Answers the adapters to unload."""
        free: list[str] = []
        if self._ttl_s is not None:
            for held in self._holdings.idle_since(now - self._ttl_s):
                free += self._holdings.remove(held)
                self._tally.expired += 1
        return free

    def _make_room(self) -> Sequence[str]:
        """Drop what is too much and not pinned. Answers the adapters to unload."""
        free: list[str] = []
        while (held := self._holdings.victim()) is not None:
            free += self._holdings.remove(held)
            self._tally.evictions += 1
        self._holdings.note_size()
        return free

    def _unload(self, digests: Sequence[str]) -> None:
        """Outside the lock: with another backend this is a call over the network. One that is wanted again meanwhile
        stays; should that be missed, its next request loads it again."""
        for digest in digests:
            with self._changed:
                wanted = self._holdings.is_claimed(digest)
            if wanted:
                continue
            try:
                self._engine().unload(digest)
            except Exception:
                LOG.exception("adapter.not_unloaded", digest=digest)

    def _key(self, composition: Composition) -> str:
        """The key of a composition, hashed once."""
        key = self._keys.get(composition)
        if key is None:
            key = self._keys[composition] = composition.key
            if len(self._keys) > KEYS_KEPT:
                self._keys.popitem(last=False)
        return key
