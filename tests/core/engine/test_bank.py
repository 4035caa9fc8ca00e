"""Adapters in memory: pinned while used, dropped least recently used first, and a bad one disturbs nobody."""

import os
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from core.engine.bank import AdapterBank
from core.engine.pool import Pool, lay_out
from core.engine.records import AdapterRef, Composition, TokenGate, WeightedAdapter
from core.engine.sites import Site
from core.errors import (
    InsufficientMemoryError,
    IntegrityError,
    InvalidInputError,
    RefusedFileError,
    UnavailableError,
)


@pytest.fixture(scope="module")
def refs(kernel_bench):
    return [kernel_bench.adapter(f"bank{n}") for n in range(8)]


@pytest.fixture
def make_bank(kernel_bench):
    def make(slots, **options):
        return AdapterBank(
            kernel_bench.kernel.sites,
            kernel_bench.base.digest,
            slots=slots,
            dtype=torch.float32,
            device=torch.device("cpu"),
            **options,
        )

    return make


def eventually(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


def test_an_adapter_is_loaded_once_and_stays(make_bank, kernel_bench, refs):
    bank = make_bank(4)
    first = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    again = bank.lease(kernel_bench.compose((refs[0], 0.5)))
    assert first.terms[0].line == again.terms[0].line
    assert (first.terms[0].weight, again.terms[0].weight) == (1.0, 0.5)
    first.release()
    again.release()
    loaded, size = bank.resident()
    assert loaded == 1
    assert size >= (refs[0].path / "adapter_model.safetensors").stat().st_size * 0.8


def test_the_least_recently_used_adapter_makes_room(make_bank, kernel_bench, refs, monkeypatch):
    bank = make_bank(2)
    for ref in (refs[0], refs[1], refs[0], refs[2]):
        bank.lease(kernel_bench.compose((ref, 1.0))).release()
    assert bank.resident()[0] == 2
    assert not bank.unload(refs[1].digest)
    assert bank.unload(refs[0].digest)
    assert bank.unload(refs[2].digest)
    assert bank.resident() == (0, 0)


def test_a_pinned_adapter_is_freed_only_when_its_last_pin_ends(make_bank, kernel_bench, refs):
    bank = make_bank(2)
    one, two = (bank.lease(kernel_bench.compose((refs[0], 1.0))) for _ in range(2))
    assert bank.unload(refs[0].digest)
    one.release()
    one.release()  # twice is once
    assert bank.resident()[0] == 1
    two.release()
    assert bank.resident() == (0, 0)


def test_who_finds_all_slots_pinned_waits_for_one(make_bank, kernel_bench, refs):
    bank = make_bank(1)
    pinned = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    got = []
    waiting = threading.Thread(target=lambda: got.append(bank.lease(kernel_bench.compose((refs[1], 1.0)))))
    waiting.start()
    time.sleep(0.05)
    assert got == []
    pinned.release()
    waiting.join(60)
    assert got[0].terms[0].weight == 1.0
    got[0].release()


def test_nobody_who_comes_later_overtakes_one_who_waits(make_bank, kernel_bench, refs):
    bank = make_bank(1)
    pinned = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    order = []

    def take(name, ref):
        lease = bank.lease(kernel_bench.compose((ref, 1.0)))
        order.append(name)
        lease.release()

    waiting = threading.Thread(target=take, args=("first", refs[1]))
    waiting.start()
    eventually(lambda: bank._room.waiting == 1)
    later = threading.Thread(
        target=take, args=("later", refs[0])
    )  # loaded already, still has to wait its turn
    later.start()
    eventually(lambda: bank._room.waiting == 2)
    pinned.release()
    waiting.join(60)
    later.join(60)
    assert order == ["first", "later"]


def test_who_waits_can_give_up(make_bank, kernel_bench, refs):
    bank = make_bank(1)
    pinned = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    assert bank.lease(kernel_bench.compose((refs[1], 1.0)), cancelled=lambda: True) is None

    def breaks():
        raise ValueError("broken callback")

    with pytest.raises(ValueError, match="broken callback"):
        bank.lease(kernel_bench.compose((refs[1], 1.0)), cancelled=breaks)
    pinned.release()
    bank.lease(kernel_bench.compose((refs[2], 1.0))).release()


def test_a_bad_adapter_is_refused_and_the_good_ones_go_on(make_bank, kernel_bench, refs, tmp_path):
    bank = make_bank(3)
    missing = AdapterRef("0" * 64, tmp_path / "missing")
    good = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    with pytest.raises(IntegrityError):
        bank.lease(kernel_bench.compose((missing, 1.0)))
    with pytest.raises(IntegrityError):
        bank.lease(kernel_bench.compose((refs[1], 1.0), (missing, 1.0)))
    good.release()
    assert bank.resident()[0] in (1, 2)
    with bank._lock:
        assert all(resident.pins == 0 for resident in bank._residents.all())
    for ref in refs[:3]:
        bank.lease(kernel_bench.compose((ref, 1.0))).release()
    assert bank.resident()[0] == 3


def test_the_same_adapter_from_a_good_path_loads_while_a_bad_path_fails(
    make_bank, kernel_bench, refs, tmp_path
):
    shutil.copytree(refs[0].path, tmp_path / "bad")
    (tmp_path / "bad" / "manifest.json").write_text('{"base_digest": "' + "0" * 64 + '"}')
    bad = AdapterRef(refs[0].digest, tmp_path / "bad")
    bank = make_bank(2)
    results = []

    def take(ref):
        try:
            bank.lease(kernel_bench.compose((ref, 1.0))).release()
            results.append("good")
        except RefusedFileError:
            results.append("bad")

    threads = [threading.Thread(target=take, args=(ref,)) for ref in [bad, refs[0]] * 8]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results.count("good") >= 8
    assert len(results) == 16


def test_a_weight_of_zero_loads_nothing(make_bank, kernel_bench, refs, tmp_path):
    bank = make_bank(1)
    composition = kernel_bench.compose((refs[0], 1.0), (refs[0], -1.0), (refs[1], 0.0))
    lease = bank.lease(composition)
    assert lease.terms == ()
    assert bank.resident() == (0, 0)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e9])
def test_a_weight_that_is_not_a_usable_number_is_refused(make_bank, kernel_bench, refs, weight):
    with pytest.raises(InvalidInputError, match="weight"):
        make_bank(1).lease(kernel_bench.compose((refs[0], weight)))


def test_a_composition_of_more_adapters_than_slots_is_refused(make_bank, kernel_bench, refs):
    with pytest.raises(InvalidInputError, match="adapter_slots"):
        make_bank(2).lease(kernel_bench.compose(*[(ref, 1.0) for ref in refs[:3]]))


def test_an_adapter_that_would_take_the_last_memory_is_refused(make_bank, kernel_bench, refs, monkeypatch):
    bank = make_bank(2)
    monkeypatch.setattr("core.engine.loading.free_bytes", lambda device: 1000)
    with pytest.raises(InsufficientMemoryError, match="another adapter"):
        bank.lease(kernel_bench.compose((refs[0], 1.0)))
    monkeypatch.undo()
    bank.lease(kernel_bench.compose((refs[0], 1.0))).release()


def test_adapters_of_other_shapes_live_side_by_side_and_cost_what_they_hold(make_bank, kernel_bench):
    bank = make_bank(4)
    small = kernel_bench.adapter("shape-small", rank=1, only={"q_proj"})
    large = kernel_bench.adapter("shape-large", rank=16)
    bank.lease(kernel_bench.compose((small, 1.0))).release()
    _, small_bytes = bank.resident()
    bank.lease(kernel_bench.compose((large, 1.0))).release()
    _, both = bank.resident()
    file_bytes = (large.path / "adapter_model.safetensors").stat().st_size
    assert both - small_bytes <= 1.15 * file_bytes
    assert small_bytes <= 2 * 4096


def test_many_threads_on_few_slots_never_see_a_wrong_adapter(make_bank, kernel_bench, refs):
    bank = make_bank(3)
    right = {}
    for ref in refs:
        lease = bank.lease(kernel_bench.compose((ref, 1.0)))
        right[ref.digest] = lease.terms[0].pool.view(lease.terms[0].line, 1).b[0].clone()
        lease.release()
    wrong = []

    def work(number):
        for turn in range(40):
            ref = refs[(number * 5 + turn * 3) % len(refs)]
            lease = bank.lease(kernel_bench.compose((ref, 1.0)))
            if not torch.equal(lease.terms[0].pool.view(lease.terms[0].line, 1).b[0], right[ref.digest]):
                wrong.append(ref)
            if turn % 7 == 0:
                bank.unload(ref.digest)
            lease.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
    assert bank.resident()[0] <= 3


# --- memory ---


def set_of_sizes(kernel_bench, tag):
    """Adapters of rank 2 and 8: the large ones take four times the bytes."""
    return (
        [kernel_bench.adapter(f"{tag}-small{n}", rank=2) for n in range(4)],
        [kernel_bench.adapter(f"{tag}-large{n}", rank=8) for n in range(3)],
    )


def digests(bank):
    return [resident.digest for resident in bank.residents()]


def test_the_budget_holds_whatever_is_asked_for(make_bank, kernel_bench):
    small, large = set_of_sizes(kernel_bench, "budget")
    probe = make_bank(8)
    probe.prefetch(large[0])
    budget = 2 * probe.resident()[1] + 4096
    bank = make_bank(8, budget_bytes=budget)
    for ref in [*small, *large, *small, large[1], large[0]]:
        bank.lease(kernel_bench.compose((ref, 1.0))).release()
        count, held = bank.resident()
        assert count >= 1
        assert held <= budget
    assert bank.counters.evictions > 0
    assert bank.budget_bytes == budget


def test_a_pinned_adapter_never_leaves_for_another(make_bank, kernel_bench, refs):
    probe = make_bank(8)
    probe.prefetch(refs[0])
    bank = make_bank(8, budget_bytes=2 * probe.resident()[1] + 100)
    pinned = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    for ref in refs[1:5]:
        bank.lease(kernel_bench.compose((ref, 1.0))).release()
        assert refs[0].digest in digests(bank)
    one_more = bank.lease(kernel_bench.compose((refs[5], 1.0)))
    assert not bank.prefetch(refs[6])
    assert set(digests(bank)) == {refs[0].digest, refs[5].digest}
    got = []
    waiting = threading.Thread(target=lambda: got.append(bank.lease(kernel_bench.compose((refs[6], 1.0)))))
    waiting.start()
    time.sleep(0.03)
    assert got == []
    one_more.release()
    waiting.join(60)
    assert set(digests(bank)) == {refs[0].digest, refs[6].digest}
    got[0].release()
    pinned.release()


def test_what_is_slow_to_load_again_stays_longer_than_what_was_used_later(make_bank, kernel_bench, refs):
    moment = [0.0]
    bank = make_bank(3, clock=lambda: moment[0])
    slow = [refs[0].digest]

    def canary(terms):
        moment[0] += 5.0 if len(digests(bank)) == 2 and slow else 0.01
        if len(digests(bank)) == 2:
            slow.clear()

    bank.set_canary(canary)
    for ref in (refs[1], refs[2], refs[0], refs[1], refs[2], refs[3]):
        bank.lease(kernel_bench.compose((ref, 1.0))).release()
    # refs[0] took 500 times as long and was used before refs[1] and refs[2]: the older of those two left.
    assert set(digests(bank)) == {refs[0].digest, refs[2].digest, refs[3].digest}


def test_even_a_costly_adapter_leaves_when_it_is_not_used_for_long(make_bank, kernel_bench, refs):
    moment = [0.0]
    bank = make_bank(3, clock=lambda: moment[0])
    costs = iter([0.01, 0.01, 0.08, *[0.01] * 200])

    def canary(terms):
        moment[0] += next(costs)

    bank.set_canary(canary)
    for ref in refs[:3]:
        bank.prefetch(ref)
    rounds = 0
    while refs[2].digest in digests(bank):
        bank.prefetch(refs[3 + rounds % 4])
        rounds += 1
        assert rounds < 100
    assert rounds > 3


def test_a_composition_over_the_budget_is_refused_with_the_numbers(make_bank, kernel_bench, refs):
    bank = make_bank(8, budget_bytes=2 * (refs[0].path / "adapter_model.safetensors").stat().st_size)
    with pytest.raises(InsufficientMemoryError, match="set aside for adapters"):
        bank.lease(kernel_bench.compose(*[(ref, 1.0) for ref in refs[:3]]))
    assert bank.resident() == (0, 0)


def test_what_the_bank_did_is_counted_and_shown(make_bank, kernel_bench, refs):
    moment = [100.0]
    bank = make_bank(2, clock=lambda: moment[0])
    lease = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    again = bank.lease(kernel_bench.compose((refs[0], 2.0), (refs[1], 1.0)))
    first, second = bank.residents()
    assert {first.digest, second.digest} == {refs[0].digest, refs[1].digest}
    by_digest = {resident.digest: resident for resident in bank.residents()}
    assert (by_digest[refs[0].digest].pins, by_digest[refs[0].digest].uses) == (2, 2)
    assert (by_digest[refs[1].digest].pins, by_digest[refs[1].digest].uses) == (1, 1)
    assert first.bytes == second.bytes == bank.resident()[1] // 2
    lease.release()
    again.release()
    moment[0] += 7.5
    assert [resident.idle_s for resident in bank.residents()] == [7.5, 7.5]
    bank.prefetch(refs[2])
    counters = bank.counters
    assert (counters.loads, counters.hits, counters.evictions) == (3, 1, 1)


def test_unloading_gives_the_bytes_back_to_the_system(make_bank, kernel_bench, tmp_path):
    """Measured in the process's own pages: they are there while it is loaded and gone once the last pin ends."""

    def private_bytes(bank, terms):
        pool = terms[0].pool
        resident = 0
        address = pool.view(terms[0].line, 1).b[0].untyped_storage().data_ptr()
        with Path("/proc/self/smaps").open() as maps:
            inside = False
            for line in maps:
                head = line.split()[0]
                if "-" in head and ":" not in head:
                    start, end = (int(part, 16) for part in head.split("-"))
                    inside = start <= address < end
                elif inside and head == "Rss:":
                    resident = int(line.split()[1]) * 1024
        return resident

    bank = make_bank(3)
    refs = [kernel_bench.adapter(f"{tmp_path.name}-rss{n}", rank=48) for n in range(2)]
    kept = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    one = private_bytes(bank, kept.terms)
    lease = bank.lease(kernel_bench.compose((refs[1], 1.0)))
    both = private_bytes(bank, kept.terms)
    assert both - one >= 0.9 * bank.resident()[1] / 2
    assert bank.unload(refs[1].digest)
    assert private_bytes(bank, kept.terms) == both
    lease.release()
    assert private_bytes(bank, kept.terms) == one
    kept.release()


def test_a_slab_that_is_not_mapped_becomes_smaller_when_its_adapters_leave():
    sites = (Site(0, "q", 64, 64, 0),)
    pool = Pool(sites, lay_out(sites, [4]), 64, torch.float32, torch.device("cpu"), mapped=False)
    for number in range(32):
        line = pool.take()
        pool.write(line, {0: torch.full((4, 64), float(number))}, {0: torch.zeros(64, 4)})
    full = pool.held_bytes
    for line in range(31, 1, -1):
        pool.give_back(line)
    assert pool.held_bytes <= full // 8
    assert torch.equal(pool.view(1, 1).a[0][0], torch.full((64, 4), 1.0))
    again = pool.take()
    pool.write(again, {0: torch.full((4, 64), 9.0)}, {0: torch.zeros(64, 4)})
    assert torch.equal(pool.view(again, 1).a[0][0], torch.full((64, 4), 9.0))


# --- prefetch and the trial run ---


def test_prefetch_loads_without_pinning_and_says_when_there_is_no_room(make_bank, kernel_bench, refs):
    bank = make_bank(2)
    assert bank.prefetch(refs[0])
    assert [resident.pins for resident in bank.residents()] == [0]
    assert bank.prefetch(refs[0])
    lease = bank.lease(kernel_bench.compose((refs[0], 1.0), (refs[1], 1.0)))
    assert bank.counters.hits == 2
    assert not bank.prefetch(refs[2])
    lease.release()
    assert bank.prefetch(refs[2])
    with pytest.raises(IntegrityError):
        bank.prefetch(AdapterRef("0" * 64, refs[0].path))


def test_an_adapter_that_fails_its_trial_run_is_refused_and_leaves_nothing(make_bank, kernel_bench, refs):
    bank = make_bank(3)
    tried = []

    def canary(terms):
        tried.append((terms[0].weight, terms[0].pool.view(terms[0].line, 1).b[0].abs().sum().item() > 0))
        if len(tried) == 2:
            raise RefusedFileError("the logits are not numbers")

    bank.set_canary(canary)
    good = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    with pytest.raises(RefusedFileError, match="the logits are not numbers"):
        bank.lease(kernel_bench.compose((refs[1], 1.0)))
    assert tried == [(1.0, True), (1.0, True)]
    assert bank.resident()[0] == 1
    assert good.terms[0].pool.in_use == 1
    good.release()
    bank.lease(kernel_bench.compose((refs[1], 1.0))).release()


@pytest.mark.parametrize(
    ("failure", "told"),
    [(RuntimeError("a kernel failed"), UnavailableError), (MemoryError(), InsufficientMemoryError)],
    ids=["failure", "memory"],
)
def test_a_trial_run_that_breaks_off_does_not_blame_the_adapter(make_bank, kernel_bench, refs, failure, told):
    failures = [failure]

    def canary(terms):
        if failures:
            raise failures.pop()

    bank = make_bank(1, canary=canary)
    with pytest.raises(told, match=r"could not be tried|memory to try"):
        bank.lease(kernel_bench.compose((refs[0], 1.0)))
    assert bank.resident() == (0, 0)
    bank.lease(kernel_bench.compose((refs[0], 1.0))).release()


def test_nobody_gets_an_adapter_before_its_trial_run_is_over(make_bank, kernel_bench, refs):
    bank = make_bank(3)
    may_end, began = threading.Event(), threading.Event()

    def canary(terms):
        began.set()
        assert may_end.wait(60)

    bank.set_canary(canary)
    got = []
    threads = [
        threading.Thread(target=lambda: got.append(bank.lease(kernel_bench.compose((refs[0], 1.0)))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    assert began.wait(60)
    time.sleep(0.03)
    assert got == []
    assert bank.residents() == ()
    may_end.set()
    for thread in threads:
        thread.join(60)
    assert [lease.terms[0].weight for lease in got] == [1.0] * 3
    assert bank.counters.loads == 1
    for lease in got:
        lease.release()


def test_an_unavailable_trial_run_is_not_the_adapters_fault(make_bank, kernel_bench, refs):
    def canary(terms):
        raise UnavailableError("The engine is closing.")

    bank = make_bank(1, canary=canary)
    with pytest.raises(UnavailableError, match="closing"):
        bank.lease(kernel_bench.compose((refs[0], 1.0)))
    assert bank.resident() == (0, 0)


def test_slow_and_bad_adapters_delay_no_good_one(make_bank, kernel_bench, refs, tmp_path):
    """Six are stuck in their trial run and six are broken; good ones are leased and loaded beside them."""
    bank = make_bank(24)
    may_end = threading.Event()
    stuck = [kernel_bench.adapter(f"{tmp_path.name}-stuck{n}", rank=3) for n in range(6)]

    def canary(terms):
        if terms[0].pool.layout.ranks[0] == 3:
            assert may_end.wait(60)

    bank.set_canary(canary)
    live = bank.lease(kernel_bench.compose((refs[0], 1.0)))
    outcomes = []

    def ask(ref):
        try:
            lease = bank.lease(kernel_bench.compose((ref, 1.0)))
        except IntegrityError:
            outcomes.append("refused")
        else:
            outcomes.append("served late")
            lease.release()

    bad = [AdapterRef(f"{n:064d}", refs[0].path) for n in range(6)]
    threads = [threading.Thread(target=ask, args=(ref,)) for ref in [*stuck, *bad]]
    for thread in threads:
        thread.start()
    try:
        began = time.perf_counter()
        for ref in refs:
            bank.lease(kernel_bench.compose((ref, 1.0), (refs[0], 0.5))).release()
        assert time.perf_counter() - began < 10
        eventually(lambda: outcomes.count("refused") == 6)
        assert "served late" not in outcomes
    finally:
        may_end.set()
    for thread in threads:
        thread.join(60)
    assert outcomes.count("served late") == 6
    live.release()


def test_who_no_longer_waits_for_a_load_goes_at_once_and_the_load_goes_on(make_bank, kernel_bench, refs):
    may_end = threading.Event()
    bank = make_bank(2, canary=lambda terms: may_end.wait(60))
    assert bank.lease(kernel_bench.compose((refs[0], 1.0)), cancelled=lambda: True) is None
    may_end.set()
    eventually(lambda: bank.resident()[0] == 1)
    assert bank.residents()[0].pins == 0
    assert bank.lease(kernel_bench.compose((refs[0], 1.0))).terms[0].weight == 1.0


def test_loading_runs_at_the_usual_priority_so_that_a_busy_machine_delays_it_no_longer_than_others(
    make_bank, kernel_bench, refs
):
    seen = []
    bank = make_bank(
        1, canary=lambda terms: seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    bank.prefetch(refs[0])
    assert seen == [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())]


def test_of_those_who_wait_the_owner_that_holds_least_is_first(make_bank, kernel_bench, refs):
    bank = make_bank(2)
    held = [bank.lease(kernel_bench.compose((ref, 1.0)), owner="hot") for ref in refs[:2]]
    order = []

    def take(owner, ref):
        lease = bank.lease(kernel_bench.compose((ref, 1.0)), owner=owner)
        order.append(owner)
        lease.release()

    threads = []
    for number, (owner, ref) in enumerate([("hot", refs[2]), ("hot", refs[3]), ("cold", refs[4])], start=1):
        threads.append(threading.Thread(target=take, args=(owner, ref)))
        threads[-1].start()
        eventually(lambda number=number: bank._room.waiting == number)
    assert held[0].gives_way
    assert bank.lease_loaded(kernel_bench.compose((refs[0], 1.0)), "hot") is None  # others go first
    held[0].release()
    for thread in threads:
        thread.join(60)
    assert order == ["cold", "hot", "hot"]
    assert not held[1].gives_way
    held[1].release()
    assert bank._room._held == {}


def test_a_load_that_fails_in_its_last_step_is_told_to_those_who_wait(
    make_bank, kernel_bench, refs, monkeypatch
):
    bank = make_bank(1)
    monkeypatch.setattr(bank._residents, "price", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bank.lease(kernel_bench.compose((refs[0], 1.0)), cancelled=lambda: False)
    monkeypatch.undo()
    bank.lease(kernel_bench.compose((refs[0], 1.0))).release()


def test_the_directions_of_a_gate_count_as_memory_and_leave_with_the_adapter(make_bank, kernel_bench, refs):
    bank = make_bank(2)
    terms = tuple(WeightedAdapter(ref, 1.0) for ref in refs[:2])
    plain = bank.lease(Composition(kernel_bench.base.digest, terms))
    before = bank.resident()[1]
    gated = bank.lease(Composition(kernel_bench.base.digest, terms, "gated", TokenGate()))
    assert before < bank.resident()[1] <= 1.5 * before
    for lease in (plain, gated):
        lease.release()
    for ref in refs[:2]:
        bank.unload(ref.digest)
    assert bank.resident() == (0, 0)
