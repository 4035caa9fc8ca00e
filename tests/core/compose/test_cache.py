"""The composition cache on the real engine: once for all that ask, never under a pin, by age and by room."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.compose.cache import CompositionCache
from core.compose.handles import CompositionHandle, Pin
from core.engine.records import AdapterRef, Composition
from core.errors import BusyError, ConflictError, IntegrityError, InvalidInputError, UnavailableError
from tests.core.compose.swap_bench import WatchedEngine
from tests.core.engine.conftest import Bench

KINDS = 5


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("cache"), engine_options={"adapter_slots": 16})
    yield made
    made.engine.close()


@pytest.fixture(scope="module")
def refs(bench: Bench) -> list[AdapterRef]:
    return [bench.adapter(f"a{n}", rank=2) for n in range(KINDS)]


@pytest.fixture
def engine(bench: Bench) -> Iterator[WatchedEngine]:
    yield WatchedEngine(bench.engine)
    for resident in bench.engine.status().residents:
        bench.engine.unload(resident.digest)


def cache_on(engine: WatchedEngine, **options: Any) -> CompositionCache:
    port: Any = engine
    return CompositionCache(lambda: port, **options)


def singles(bench: Bench, refs: list[AdapterRef]) -> list[Composition]:
    return [bench.compose((ref, 1.0)) for ref in refs]


def test_a_composition_is_prepared_once_and_found_afterwards(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine)
    both = bench.compose((refs[0], 0.5), (refs[1], 0.5))
    turned = bench.compose((refs[1], 0.5), (refs[0], 0.5))
    first, again = cache.compose_sync(both), cache.compose_sync(turned)
    assert engine.prepared == [both.key]
    assert (first.key, first.adapters) == (again.key, again.adapters)
    assert first.adapters == tuple(sorted(ref.digest for ref in refs[:2]))
    assert bench.engine.status().adapters_resident == 2
    stats = cache.get_cache_stats()
    assert (stats.hits, stats.misses, stats.hit_rate, stats.entries_held) == (1, 1, 0.5, 1)
    assert [(entry.uses, entry.pins) for entry in stats.entries] == [(2, 0)]


def test_the_least_recently_used_goes_and_its_adapter_leaves_the_engine(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, max_entries=2)
    one, two, three = singles(bench, refs)[:3]
    for composition in (one, two, one, three):
        cache.compose_sync(composition)
    stats = cache.get_cache_stats()
    assert [entry.key for entry in stats.entries] == [three.key, one.key]
    assert stats.evictions == 1
    assert engine.unloaded == [refs[1].digest]
    assert {r.digest for r in bench.engine.status().residents} == {refs[0].digest, refs[2].digest}


def test_what_entries_share_counts_once_and_stays_until_the_last_of_them_goes(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine)
    alone, both = bench.compose((refs[0], 1.0)), bench.compose((refs[0], 0.5), (refs[1], 0.5))
    size = cache.compose_sync(alone).bytes
    assert cache.compose_sync(both).bytes == 2 * size
    assert cache.get_cache_stats().bytes == 2 * size
    assert cache.discard(both.key)
    assert engine.unloaded == [refs[1].digest]
    assert cache.get_cache_stats().bytes == size
    assert cache.discard(alone.key)
    assert not cache.discard(alone.key)
    assert (cache.get_cache_stats().bytes, bench.engine.status().adapters_resident) == (0, 0)


def test_the_budget_gives_up_what_frees_something_first(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    size = cache_on(engine).compose_sync(bench.compose((refs[0], 1.0))).bytes
    cache = cache_on(engine, budget_bytes=2 * size)
    shared, other = bench.compose((refs[0], 1.0)), bench.compose((refs[1], 1.0))
    half, third = bench.compose((refs[0], 0.5)), bench.compose((refs[2], 1.0))
    for composition in (shared, half, other, third):
        cache.compose_sync(composition)
    stats = cache.get_cache_stats()
    assert stats.bytes <= 2 * size
    assert {entry.key for entry in stats.entries} == {shared.key, half.key, third.key}


def test_an_entry_that_nobody_asks_for_goes_after_its_time_and_a_pinned_one_stays(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    clock = Clock()
    cache = cache_on(engine, ttl_s=60, clock=clock)
    one, two, three = singles(bench, refs)[:3]
    cache.compose_sync(one)
    pin = cache.pin(two)
    clock.now += 50
    cache.compose_sync(three)
    clock.now += 20
    assert {entry.key for entry in cache.get_cache_stats().entries} == {two.key, three.key}
    assert cache.get_cache_stats().expired == 1
    assert engine.unloaded == [refs[0].digest]
    pin.release()
    clock.now += 61
    assert cache.get_cache_stats().entries == ()
    assert bench.engine.status().adapters_resident == 0


def test_with_room_for_one_a_pinned_composition_stays_beside_the_next(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, max_entries=1)
    one, two = singles(bench, refs)[:2]
    first = cache.pin(one)
    with cache.pin(two) as second:
        assert second.key == two.key
        assert cache.get_cache_stats().entries_held == 2
        assert engine.unloaded == []
    assert [entry.key for entry in cache.get_cache_stats().entries] == [one.key]
    assert engine.unloaded == [refs[1].digest]
    first.release()
    first.release()
    assert [(entry.key, entry.pins) for entry in cache.get_cache_stats().entries] == [(one.key, 0)]


def test_a_stampede_on_one_composition_prepares_it_once(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, max_entries=1)
    composition = bench.compose((refs[0], 1.0), (refs[1], -1.0))
    asked, together = threading.Barrier(16), threading.Event()
    engine.before_prepare = lambda _: together.wait(60) and None

    def work(_: int) -> CompositionHandle:
        asked.wait()
        return cache.compose_sync(composition)

    with ThreadPoolExecutor(16) as threads:
        futures = [threads.submit(work, n) for n in range(16)]
        while cache._flights.get(composition.key) is None or cache._flights[composition.key].waiting < 15:
            time.sleep(0.001)
        assert cache.get_cache_stats().in_flight == 1
        together.set()
        handles = [future.result() for future in futures]
    assert engine.prepared == [composition.key]
    assert {id(handle) for handle in handles} == {id(handles[0])}
    stats = cache.get_cache_stats()
    assert (stats.misses, stats.hits, stats.in_flight) == (1, 15, 0)
    assert [(entry.uses, entry.pins) for entry in stats.entries] == [(16, 0)]


def test_an_error_reaches_all_who_wait_and_is_tried_again_after_a_moment(
    bench: Bench, tmp_path: Path, engine: WatchedEngine
) -> None:
    clock = Clock()
    cache = cache_on(engine, negative_ttl_s=2.0, clock=clock)
    good = bench.adapter(f"late-{tmp_path.name}")
    hidden = tmp_path / "hidden"
    good.path.rename(hidden)
    composition = bench.compose((good, 1.0))
    together = threading.Event()
    engine.before_prepare = lambda _: together.wait(60) and None
    with ThreadPoolExecutor(8) as threads:
        futures = [threads.submit(cache.compose_sync, composition) for _ in range(8)]
        while composition.key not in cache._flights or cache._flights[composition.key].waiting < 7:
            time.sleep(0.001)
        together.set()
        errors = [future.exception() for future in futures]
    assert [type(error) for error in errors] == [IntegrityError] * 8
    assert len({id(error) for error in errors}) == 8
    assert len(engine.prepared) == 1
    hidden.rename(good.path)
    with pytest.raises(IntegrityError):
        cache.compose_sync(composition)
    assert (len(engine.prepared), cache.get_cache_stats().refused) == (1, 1)
    clock.now += 2.1
    assert cache.compose_sync(composition).key == composition.key
    assert (cache.get_cache_stats().failures, cache.get_cache_stats().entries_held) == (1, 1)


def test_an_error_that_may_pass_is_not_kept(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine)
    composition = bench.compose((refs[0], 1.0))

    def busy(_: Composition) -> None:
        raise BusyError("The engine is busy.")

    engine.before_prepare = busy
    with pytest.raises(BusyError):
        cache.compose_sync(composition)
    engine.before_prepare = lambda _: None
    assert cache.compose_sync(composition).key == composition.key
    assert cache.get_cache_stats().refused == 0


def test_forgetting_an_adapter_gives_up_every_composition_with_it(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine)
    with_it = [bench.compose((refs[0], 1.0)), bench.compose((refs[0], 0.5), (refs[1], 0.5))]
    without = bench.compose((refs[1], 1.0))
    for composition in (*with_it, without):
        cache.compose_sync(composition)
    assert cache.forget_adapter(refs[0].digest) == 2
    assert [entry.key for entry in cache.get_cache_stats().entries] == [without.key]
    assert engine.unloaded == [refs[0].digest]


def test_draining_waits_for_the_last_pin_and_no_longer_than_it_may(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine)
    composition = bench.compose((refs[0], 1.0))
    pin = cache.pin(composition)
    assert not cache.drain(composition.key, 0.02)
    threading.Timer(0.05, pin.release).start()
    assert cache.drain(composition.key, 5.0)
    assert cache.drain("0" * 64, 0.0)


def test_background_work_goes_by_priority_and_tells_its_outcome(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, workers=1)
    compositions = singles(bench, refs)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Composition) -> None:
        begun.set()
        go_on.wait(60)

    engine.before_prepare = hold
    told: list[tuple[str, object]] = []
    first = cache.compose_async(compositions[0])
    assert begun.wait(60)
    (idle,) = cache.prefetch([compositions[1]])
    late = cache.compose_async(
        compositions[2], callback=lambda ticket, outcome: told.append((ticket, outcome))
    )
    urgent = cache.compose_async(compositions[3], priority=5, callback=lambda *_: 1 / 0)
    unwanted = cache.compose_async(compositions[4], priority=9)
    assert cache.get_cache_stats().queued == 4
    assert unwanted.cancel()
    assert not unwanted.cancel()
    with pytest.raises(BusyError):
        late.result(0.01)
    go_on.set()
    assert [t.result(60).key for t in (first, late, urgent, idle)] == [
        compositions[n].key for n in (0, 2, 3, 1)
    ]
    assert engine.prepared == [compositions[n].key for n in (0, 3, 2, 1)]
    assert told == [(late.id, late.result())]
    with pytest.raises(ConflictError, match="cancelled"):
        unwanted.result()
    assert cache.get_cache_stats().misses == 0
    assert cache.compose_sync(compositions[1]).key == compositions[1].key
    assert cache.get_cache_stats().hit_rate == 1.0
    cache.close()


def test_a_full_queue_refuses_and_a_closed_one_fails_what_waits(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, workers=1, max_waiting=2)
    compositions = singles(bench, refs)
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: Composition) -> None:
        begun.set()
        go_on.wait(60)

    engine.before_prepare = hold
    running = cache.compose_async(compositions[0])
    assert begun.wait(60)
    waiting = [cache.compose_async(c) for c in compositions[1:3]]
    with pytest.raises(BusyError, match="Too many"):
        cache.compose_async(compositions[3])
    waiting[0].cancel()
    replaced = cache.compose_async(compositions[3])
    threading.Timer(0.05, go_on.set).start()
    cache.close()
    assert running.result(60).key == compositions[0].key
    for ticket in (waiting[1], replaced):
        with pytest.raises(UnavailableError):
            ticket.result(60)
    with pytest.raises(UnavailableError):
        cache.compose_async(compositions[0])


def test_a_list_is_warmed_and_one_bad_entry_does_not_stop_it(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine, tmp_path: Path
) -> None:
    cache = cache_on(engine)
    good = singles(bench, refs)[:2]
    bad = bench.compose((AdapterRef("0" * 64, tmp_path / "nowhere"), 1.0))
    outcomes = cache.warm([good[0], bad, good[1]])
    assert [outcome.handle is not None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, IntegrityError)
    for composition in good:
        cache.compose_sync(composition)
    assert (cache.get_cache_stats().hits, cache.get_cache_stats().misses) == (2, 0)


def test_the_hit_rate_stands_beside_the_best_possible_one(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, max_entries=2)
    assert cache.get_cache_stats().best_hit_rate is None
    one, two, three = singles(bench, refs)[:3]
    for _ in range(4):  # in turn, three in a cache of two: an LRU has no hit at all
        for composition in (one, two, three):
            cache.compose_sync(composition)
    stats = cache.get_cache_stats()
    assert (stats.hits, stats.misses, stats.trace_length) == (0, 12, 12)
    assert stats.best_hit_rate == pytest.approx(6 / 12)
    assert stats.share_of_best == 0


def test_a_cache_without_room_is_refused(engine: WatchedEngine) -> None:
    with pytest.raises(InvalidInputError):
        cache_on(engine, max_entries=0)


class CacheMachine(RuleBasedStateMachine):
    """Any order of lookups, pins, releases, losses and waits, on the real engine."""

    bench: Bench
    refs: list[AdapterRef]

    def __init__(self) -> None:
        super().__init__()
        self.engine, self.clock = WatchedEngine(self.bench.engine), Clock()
        for resident in self.bench.engine.status().residents:
            self.bench.engine.unload(resident.digest)
        self.cache: CompositionCache | None = None
        self.pins: list[Pin] = []
        self.last_release = 0.0

    def composition(self, picked: tuple[int, ...]) -> Composition:
        return self.bench.compose(*((self.refs[n], 0.5) for n in picked))

    @precondition(lambda self: self.cache is None)
    @rule(entries=st.integers(1, 3), adapters=st.none() | st.integers(1, 3))
    def open(self, entries: int, adapters: int | None) -> None:
        size = None if adapters is None else adapters * self.one_size()
        self.cache = cache_on(self.engine, max_entries=entries, budget_bytes=size, ttl_s=10, clock=self.clock)

    def one_size(self) -> int:
        return cache_on(WatchedEngine(self.bench.engine)).compose_sync(self.composition((0,))).bytes

    @precondition(lambda self: self.cache is not None)
    @rule(picked=st.sets(st.integers(0, KINDS - 1), max_size=2).map(sorted).map(tuple))
    def look_up(self, picked: tuple[int, ...]) -> None:
        assert self.cache is not None
        composition = self.composition(picked)
        held = {entry.key for entry in self.cache.get_cache_stats().entries}
        before = len(self.engine.prepared)
        assert self.cache.compose_sync(composition).key == composition.key
        assert len(self.engine.prepared) - before == (composition.key not in held)

    @precondition(lambda self: self.cache is not None and len(self.pins) < 4)
    @rule(picked=st.sets(st.integers(0, KINDS - 1), max_size=2).map(sorted).map(tuple))
    def pin(self, picked: tuple[int, ...]) -> None:
        assert self.cache is not None
        self.pins.append(self.cache.pin(self.composition(picked)))

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.pins.pop(data.draw(st.integers(0, len(self.pins) - 1))).release()

    @precondition(lambda self: self.cache is not None)
    @rule(picked=st.sets(st.integers(0, KINDS - 1), min_size=1, max_size=2).map(sorted).map(tuple))
    def discard(self, picked: tuple[int, ...]) -> None:
        assert self.cache is not None
        self.cache.discard(self.composition(picked).key)

    @rule(seconds=st.sampled_from([1.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def nothing_is_used_after_it_was_given_up(self) -> None:
        """What is pinned is held, its adapters are in the engine; what the cache holds is what the engine holds."""
        if self.cache is None:
            return
        stats = self.cache.get_cache_stats()
        held = {entry.key: entry for entry in stats.entries}
        for pin in self.pins:
            assert held[pin.handle.key].pins == sum(p.handle.key == pin.handle.key for p in self.pins)
        assert sum(entry.pins for entry in stats.entries) == len(self.pins)
        needed = {digest for entry in stats.entries for digest in entry.adapters}
        residents = {r.digest: r.bytes for r in self.bench.engine.status().residents}
        assert needed <= residents.keys()
        assert stats.bytes == sum(residents[digest] for digest in needed)
        unpinned = [entry for entry in stats.entries if not entry.pins]
        over = stats.budget_bytes is not None and stats.bytes > stats.budget_bytes
        assert (
            not unpinned
            or (stats.entries_held <= stats.max_entries and not over)
            or not any(entry.adapters for entry in unpinned)
        )
        assert stats.share_of_best is None or 0 <= stats.share_of_best <= 1


def test_no_order_of_events_uses_what_was_given_up(bench: Bench, refs: list[AdapterRef]) -> None:
    CacheMachine.bench, CacheMachine.refs = bench, refs
    case = CacheMachine.TestCase()
    case.settings = settings(
        max_examples=20, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
    )
    case.runTest()


def test_threads_that_pin_expire_and_crowd_out_always_hold_what_they_pinned(
    bench: Bench, refs: list[AdapterRef], engine: WatchedEngine
) -> None:
    cache = cache_on(engine, max_entries=1, ttl_s=0.001)
    pairs = [(a, b) for a in range(KINDS) for b in range(KINDS) if a <= b]
    compositions = [bench.compose(*{refs[a]: 0.5, refs[b]: 0.7}.items()) for a, b in pairs]
    lost = []

    def work(thread: int) -> None:
        for turn in range(15):
            composition = compositions[(turn * 7 + thread * 3) % len(compositions)]
            with cache.pin(composition) as handle:
                entries = {entry.key: entry for entry in cache.get_cache_stats().entries}
                if handle.key != composition.key or entries[handle.key].pins < 1:
                    lost.append(composition.key)
            if turn % 9 == thread:
                cache.discard(composition.key)

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(work, n) for n in range(8)]:
            future.result()
    assert lost == []
    stats = cache.get_cache_stats()
    assert (stats.in_flight, stats.failures, sum(entry.pins for entry in stats.entries)) == (0, 0, 0)
    assert stats.entries_held <= 1
    assert stats.hits + stats.misses == 8 * 15
