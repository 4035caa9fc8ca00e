"""Adapters in memory: pinned while used, dropped least recently used first, and a bad one disturbs nobody."""

import shutil
import threading
import time

import pytest
import torch

from core.engine.bank import AdapterBank
from core.engine.records import AdapterRef
from core.errors import InsufficientMemoryError, IntegrityError, InvalidInputError, RefusedFileError


@pytest.fixture(scope="module")
def refs(kernel_bench):
    return [kernel_bench.adapter(f"bank{n}") for n in range(8)]


@pytest.fixture
def make_bank(kernel_bench):
    def make(slots):
        return AdapterBank(
            kernel_bench.kernel.sites,
            kernel_bench.base.digest,
            slots=slots,
            dtype=torch.float32,
            device=torch.device("cpu"),
        )

    return make


def eventually(condition, seconds=5.0):
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
    waiting.join(5)
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
    eventually(lambda: len(bank._tickets) == 1)
    later = threading.Thread(
        target=take, args=("later", refs[0])
    )  # loaded already, still has to wait its turn
    later.start()
    eventually(lambda: len(bank._tickets) == 2)
    pinned.release()
    waiting.join(5)
    later.join(5)
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
        assert all(resident.pins == 0 for resident in bank._residents.values())
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
        thread.join(10)
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
    monkeypatch.setattr("core.engine.bank.free_bytes", lambda device: 1000)
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
        thread.join(30)
        assert not thread.is_alive()
    assert wrong == []
    assert bank.resident()[0] <= 3
