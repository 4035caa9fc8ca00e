"""Time limits, parts of the queue, memory that runs out, adapters that do not work, and an end that is in sight."""

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from core.engine.cache import RowCache
from core.errors import (
    BusyError,
    InsufficientMemoryError,
    InvalidInputError,
    RefusedFileError,
    UnavailableError,
)

ENDLESS = {"eos_token_id": None}


def eventually(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


class Passes:
    """What happens before every forward pass: held while `open` is not set, and one failure on demand."""

    def __init__(self, bench):
        self.open = threading.Event()
        self.open.set()
        self.failures = []
        bench.base.model.register_forward_pre_hook(self._before)

    def _before(self, *_):
        self.open.wait(60)
        if self.failures:
            raise self.failures.pop()


def test_an_answer_ends_with_what_is_there_when_its_time_is_over(make_bench):
    bench = make_bench(**ENDLESS)
    bench.base.model.register_forward_pre_hook(lambda *_: time.sleep(0.02))
    answer = bench.answer(bench.compose(), tokens=240, time_limit_s=1.0)
    assert answer.finish_reason == "timeout"
    assert 0 < answer.completion_tokens <= 51  # a pass takes 20 ms at least
    assert answer.text == bench.base.tokenizer.decode(answer.token_ids, skip_special_tokens=True)


def test_time_in_the_queue_counts(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 1})
    passes = Passes(bench)
    bench.base.model.register_forward_pre_hook(lambda *_: time.sleep(0.01))
    running = bench.engine.stream(bench.compose(), bench.request(tokens=200))
    next(iter(running))
    answer = bench.answer(bench.compose(), tokens=5, time_limit_s=0.1)
    assert (answer.finish_reason, answer.completion_tokens) == ("timeout", 0)
    assert bench.engine.status().running_rows == 1  # it was told so while the other still ran
    running.close()
    assert passes.open.is_set()


def test_time_before_the_queue_counts(make_bench):
    bench = make_bench(engine_options={"adapter_slots": 1})
    held = bench.engine._bank.lease(bench.compose((bench.adapter("held"), 1.0)))
    answer = bench.answer(bench.compose((bench.adapter("wanted"), 1.0)), time_limit_s=0.1)
    assert (answer.finish_reason, answer.completion_tokens) == ("timeout", 0)
    held.release()


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0.0},
        {"share": math.nan},
        {"priority": 101},
        {"time_limit_s": 0.0},
        {"time_limit_s": math.nan},
    ],
    ids=str,
)
def test_a_share_a_priority_or_a_limit_that_makes_no_sense_is_refused(bench, options):
    with pytest.raises(InvalidInputError, match=next(iter(options))):
        bench.answer(bench.compose(), **options)


def test_row_27_one_owner_cannot_fill_the_queue_and_a_newcomer_is_next(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 1, "max_queue_rows": 8})
    passes = Passes(bench)
    passes.open.clear()
    ask = bench.engine.stream
    streams = {"hot0": ask(bench.compose(), bench.request(tokens=4, owner="hot"))}
    eventually(lambda: bench.engine.status().waiting_rows == 0)
    for n in range(1, 5):
        streams[f"hot{n}"] = ask(bench.compose(), bench.request(tokens=4, owner="hot"))
    with pytest.raises(BusyError, match="your requests") as error:
        ask(bench.compose(), bench.request(owner="hot"))
    assert 1 <= error.value.retry_after_s <= 60
    streams["cold"] = ask(bench.compose(), bench.request(tokens=4, owner="cold"))
    order = []
    lock = threading.Lock()

    def finish(name):
        list(streams[name])
        with lock:
            order.append(name)

    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(finish, name) for name in streams]
        passes.open.set()
        [each.result() for each in done]
    assert order.index("cold") <= 2  # after the one that ran, before the four that waited


def test_row_27_many_owners_share_the_engine_and_the_hot_one_is_not_first(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 4})
    passes = Passes(bench)
    passes.open.clear()
    composition = bench.compose()

    def ask(owner):
        return bench.answer(composition, tokens=6, owner=owner).queued_ms

    with ThreadPoolExecutor(100) as threads:
        hot = [threads.submit(ask, "hot") for _ in range(60)]
        eventually(lambda: bench.engine.status().waiting_rows >= 56)
        cold = [threads.submit(ask, f"cold{n}") for n in range(31)]
        eventually(lambda: bench.engine.status().waiting_rows >= 87)
        passes.open.set()
        hot_ms, cold_ms = sorted(h.result() for h in hot), [c.result() for c in cold]
    assert max(cold_ms) < hot_ms[len(hot_ms) // 2]


def test_rows_27_and_38_requests_that_wait_keep_no_room_from_an_owner_that_has_none(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 1, "adapter_slots": 2})
    hot = [bench.compose((bench.adapter(f"hot{n}"), 1.0)) for n in range(2)]
    cold = bench.compose((bench.adapter("cold"), 1.0))
    right = {each.key: bench.answer(each, tokens=4).token_ids for each in (cold, *hot)}
    passes = Passes(bench)
    passes.open.clear()
    order = []

    def ask(owner, composition):
        answer = bench.answer(composition, tokens=4, owner=owner)
        order.append(owner)
        assert answer.token_ids == right[composition.key]

    with ThreadPoolExecutor(11) as threads:
        asked = [threads.submit(ask, "hot", hot[n % 2]) for n in range(10)]
        eventually(lambda: bench.engine.status().waiting_rows == 9)
        asked.append(threads.submit(ask, "cold", cold))
        eventually(lambda: bench.engine._bank.crowded)
        passes.open.set()
        for each in asked:
            each.result(60)
    assert order.index("cold") <= 2  # after the one that ran, not after the nine that waited
    assert [resident.pins for resident in bench.engine._bank.residents()] == [0, 0]


def test_row_38_more_owners_and_adapters_than_room_are_all_answered_rightly(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 2, "adapter_slots": 2})
    refs = [bench.adapter(f"many{n}") for n in range(5)]
    mixtures = [((refs[n], 1.0), (refs[(n + 1) % 5], 0.5))[: 1 + n % 2] for n in range(5)]
    compositions = [bench.compose(*terms) for terms in mixtures]
    right = [bench.answer(each, tokens=3).token_ids for each in compositions]

    def ask(number):
        which = number * 3 % 5
        if number % 10 == 9:
            bench.engine.stream(compositions[which], bench.request(owner=f"owner{number % 3}")).close()
            return True
        answer = bench.answer(compositions[which], tokens=3, owner=f"owner{number % 3}")
        return answer.token_ids == right[which]

    with ThreadPoolExecutor(40) as threads:
        assert all(threads.map(ask, range(40)))
    eventually(lambda: all(resident.pins == 0 for resident in bench.engine._bank.residents()))
    assert not bench.engine._bank.crowded


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_row_34_memory_that_runs_out_ends_the_rows_of_that_pass_and_the_engine_goes_on(make_bench, error):
    bench = make_bench(**ENDLESS)
    passes = Passes(bench)
    composition = bench.compose((bench.adapter("one"), 1.0))
    right = bench.answer(composition, tokens=20).token_ids
    streams = [bench.engine.stream(composition, bench.request(tokens=200)) for _ in range(3)]
    for stream in streams:
        next(iter(stream))
    passes.failures = [error, error]
    for stream in streams:
        with pytest.raises(InsufficientMemoryError, match="memory ran out"):
            list(stream)
    passes.failures = []
    status = bench.engine.status()
    assert (status.ready, status.running_rows) == (True, 0)
    assert all(resident.pins == 0 for resident in status.residents)
    assert bench.answer(composition, tokens=20).token_ids == right


def test_row_34_kept_prompts_make_room_before_anybody_fails(make_bench):
    bench = make_bench(**ENDLESS)
    passes = Passes(bench)
    prompt = "a prompt that is long enough to be kept for the next one"
    right = bench.answer(bench.compose(), prompt, tokens=20).token_ids
    assert bench.engine.status().prefix.bytes > 0
    stream = bench.engine.stream(bench.compose(), bench.request(prompt, tokens=20))
    next(iter(stream))
    passes.failures = [MemoryError()]
    assert list(stream)[-1].final.token_ids == right
    assert bench.engine.status().prefix.bytes == 0


def test_a_request_that_fails_in_a_mixed_batch_leaves_no_adapter_on_for_the_next(make_bench):
    bench = make_bench(**ENDLESS)
    passes = Passes(bench)
    adapted, base = bench.compose((bench.adapter("left-on"), 1.0)), bench.compose()
    right = {c.key: bench.answer(c, tokens=10).token_ids for c in (adapted, base)}
    assert right[adapted.key] != right[base.key]
    for _ in range(3):
        streams = [bench.engine.stream(c, bench.request(tokens=200)) for c in (adapted, base, adapted)]
        for stream in streams:
            next(iter(stream))
        passes.failures = [RuntimeError("in the middle")]
        for stream in streams:
            with pytest.raises(UnavailableError, match="in the middle"):
                list(stream)
        assert bench.answer(base, tokens=10).token_ids == right[base.key]
        assert bench.answer(adapted, tokens=10).token_ids == right[adapted.key]


def test_an_adapter_whose_trial_gives_no_numbers_never_serves_and_nobody_else_notices(make_bench):
    bench = make_bench(**ENDLESS)
    good, bad = bench.compose((bench.adapter("good"), 1.0)), bench.adapter("bad", scale=1e18)
    right = bench.answer(good, tokens=40).token_ids
    stream = bench.engine.stream(good, bench.request(tokens=40))
    next(iter(stream))
    for _ in range(2):
        with pytest.raises(RefusedFileError, match="does not work on this base"):
            bench.answer(bench.compose((bad, 1.0)))
    assert list(stream)[-1].final.token_ids == right
    assert bench.engine.status().adapters_resident == 1


def test_loading_while_the_engine_closes_neither_hangs_nor_serves(make_bench):
    bench = make_bench()
    ref = bench.adapter("late")
    bench.engine.close()
    with pytest.raises(UnavailableError, match="closing"):
        bench.engine.prepare(bench.compose((ref, 1.0)))
    with pytest.raises(UnavailableError, match="closing"):
        bench.engine._bank.lease(bench.compose((ref, 1.0)))


def test_row_37_after_the_time_to_finish_who_runs_gets_what_is_there_and_who_waits_is_refused(make_bench):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 2})
    bench.base.model.register_forward_pre_hook(lambda *_: time.sleep(0.05))
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(bench.answer, bench.compose(), tokens=240) for _ in range(6)]
        eventually(
            lambda: bench.engine.status().running_rows == 2 and bench.engine.status().waiting_rows == 4
        )
        first = threading.Thread(target=bench.engine.close)  # lets everything finish
        first.start()
        began = time.monotonic()
        bench.engine.close(0.2)  # a second signal shortens it
        assert time.monotonic() - began < 10  # all tokens would take 36 s
        first.join(60)
        assert not first.is_alive()
        outcomes = [answer.exception() or answer.result().finish_reason for answer in answers]
    assert outcomes.count("timeout") == 2
    assert sum(isinstance(outcome, UnavailableError) for outcome in outcomes) == 4


def test_buffers_for_keys_and_values_stay_within_their_budget_whatever_comes_after_what(make_bench):
    bench = make_bench(
        **ENDLESS, max_position_embeddings=2048, engine_options={"kv_bytes": 256 * 4096, "prefix_bytes": 0}
    )
    with ThreadPoolExecutor(16) as threads:
        for prompt, rows in (("x", 16), ("y" * 900, 1), ("z" * 200, 6), ("x", 16)):
            found = list(
                threads.map(lambda p: bench.answer(bench.compose(), p, tokens=6).token_ids, [prompt] * rows)
            )
            assert len(set(found)) == 1
            status = bench.engine.status()
            assert 0 < status.kv_bytes <= status.kv_budget_bytes == 256 * 4096


def test_a_cache_that_is_freed_can_be_used_again():
    cache = RowCache(1, max_rows=4)
    keys = torch.ones(1, 1, 3, 4)
    for _ in range(2):
        cache.open_prompts(1, 3)
        cache.layers[0].update(keys, keys)
        cache.keep_prompts([3])
        assert cache.cells > 0
        cache.free()
        assert (cache.cells, cache.lengths) == (0, [])
