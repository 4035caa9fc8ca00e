"""The engine as its callers see it: answers, limits, cancelling, failing, closing."""

import json
import math
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from core.engine.local import LocalEngine
from core.engine.open import open_engine
from core.engine.records import AdapterRef, Composition, EnginePort, GenerationRequest, Message
from core.errors import (
    BusyError,
    InsufficientMemoryError,
    IntegrityError,
    InvalidInputError,
    RefusedFileError,
    RmnError,
    UnavailableError,
)
from core.settings import Settings

ENDLESS = {"eos_token_id": None}  # answers of these bases end only when they are long enough


def eventually(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.005)


class Gate:
    """Holds every forward pass until it is opened, to look at what waits meanwhile."""

    def __init__(self, bench):
        self.open = threading.Event()
        self._handle = bench.base.model.register_forward_pre_hook(lambda *_: (self.open.wait(60), None)[1])

    def remove(self):
        self.open.set()
        self._handle.remove()


@pytest.fixture
def gate_of():
    gates = []

    def make(bench):
        gates.append(Gate(bench))
        return gates[-1]

    yield make
    for gate in gates:
        gate.remove()


def test_an_answer_says_what_it_cost(bench):
    composition = bench.compose((bench.adapter("cost"), 1.0))
    answer = bench.answer(composition, "hello", tokens=10)
    assert answer.prompt_tokens == 8
    assert answer.completion_tokens == len(answer.token_ids) <= 10
    assert answer.queued_ms >= 0
    assert answer.generate_ms > 0
    assert answer.composition_key == composition.key
    assert -20 < answer.mean_logprob < 0


def test_the_mean_log_probability_is_that_of_the_model(bench):
    answer = bench.answer(bench.compose(), "hello", tokens=6)
    ids = bench.base.tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], add_generation_prompt=True, return_dict=False
    )
    with torch.inference_mode():
        logits = bench.base.model(input_ids=torch.tensor([ids + list(answer.token_ids)])).logits[0]
    logprobs = torch.log_softmax(logits[len(ids) - 1 : -1].double(), dim=-1)
    right = logprobs.gather(1, torch.tensor(answer.token_ids).unsqueeze(1)).mean()
    assert answer.mean_logprob == pytest.approx(float(right), abs=1e-4)


def test_an_answer_ends_at_the_end_token_or_at_its_length(bench):
    answers = [bench.answer(bench.compose(), f"row {n}", tokens=40) for n in range(24)]
    stopped = [answer for answer in answers if answer.finish_reason == "stop"]
    full = [answer for answer in answers if answer.finish_reason == "length"]
    assert stopped
    assert full
    assert all(answer.token_ids.index(1) == len(answer.token_ids) - 1 for answer in stopped)
    assert all(answer.completion_tokens == 40 and 1 not in answer.token_ids for answer in full)
    assert not any("<|end|>" in answer.text for answer in stopped)


def test_an_end_token_that_is_an_ordinary_character_is_no_part_of_the_text(make_bench):
    bench = make_bench(**ENDLESS)
    whole = bench.answer(bench.compose(), "hello", tokens=60)
    path = bench.base_folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [whole.token_ids[20]]}))
    engine = open_engine(Settings(), bench.base_folder)
    try:
        composition, request = Composition(engine.base_digest), bench.request("hello", tokens=60)
        answer = engine.generate(composition, request)
        streamed = "".join(chunk.text for chunk in engine.stream(composition, request))
    finally:
        engine.close()
    end = whole.token_ids.index(whole.token_ids[20])
    assert answer.token_ids == whole.token_ids[: end + 1]
    assert (
        answer.text
        == streamed
        == bench.base.tokenizer.decode(whole.token_ids[:end], skip_special_tokens=True)
    )


def test_a_stop_string_ends_an_answer_and_is_not_part_of_it(make_bench):
    bench = make_bench(**ENDLESS)
    whole = bench.answer(bench.compose(), "hello", tokens=60)
    stop = whole.text[10:12]
    answer = bench.answer(bench.compose(), "hello", tokens=60, stop=(stop, "never in there"))
    assert answer.finish_reason == "stop"
    assert answer.text == whole.text[: whole.text.index(stop)]
    assert answer.completion_tokens < 60


@pytest.mark.parametrize("options", [{}, {"stop": ("z",)}, {"temperature": 1.0, "seed": 3}])
def test_streamed_pieces_are_the_answer(bench, options):
    composition = bench.compose((bench.adapter(f"stream{len(options)}{options.get('seed')}"), 1.0))
    whole = bench.answer(composition, "hello", tokens=40, **options)
    chunks = list(bench.engine.stream(composition, bench.request("hello", tokens=40, **options)))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.final is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].final.text == whole.text
    assert chunks[-1].final.token_ids == whole.token_ids


def test_sampling_depends_on_the_seed_and_on_nobody_else(bench):
    composition = bench.compose()
    options = {"tokens": 16, "temperature": 1.2, "top_p": 0.95}
    alone = {seed: bench.answer(composition, "hello", seed=seed, **options).token_ids for seed in range(6)}
    assert len(set(alone.values())) > 3
    with ThreadPoolExecutor(12) as threads:
        seeds = [*range(6), *range(6)]
        together = list(
            threads.map(lambda s: bench.answer(composition, "hello", seed=s, **options).token_ids, seeds)
        )
    assert together == [alone[seed] for seed in seeds]
    assert len({bench.answer(composition, "hello", **options).token_ids for _ in range(5)}) > 1


def test_rows_join_a_running_batch(make_bench):
    bench = make_bench(**ENDLESS)
    right = {n: bench.answer(bench.compose(), f"row {n}", tokens=30).token_ids for n in range(4)}
    sizes = []
    bench.base.model.register_forward_pre_hook(lambda *_: sizes.append(bench.engine.status().running_rows))
    streams = [bench.engine.stream(bench.compose(), bench.request("row 0", tokens=30))]
    next(iter(streams[0]))
    streams += [
        bench.engine.stream(bench.compose(), bench.request(f"row {n}", tokens=30)) for n in range(1, 4)
    ]
    for n, stream in enumerate(streams):
        assert list(stream)[-1].final.token_ids == right[n]
    assert max(sizes) > 1


def test_more_rows_than_a_batch_holds_wait_their_turn(make_bench):
    bench = make_bench(engine_options={"max_batch_rows": 3})
    right = [bench.answer(bench.compose(), f"row {n}").token_ids for n in range(9)]
    with ThreadPoolExecutor(9) as threads:
        found = list(threads.map(lambda n: bench.answer(bench.compose(), f"row {n}").token_ids, range(9)))
    assert found == right


def test_more_compositions_than_slots_are_answered_right(make_bench):
    bench = make_bench(engine_options={"adapter_slots": 2, "max_batch_rows": 4})
    compositions = [bench.compose((bench.adapter(f"spill{n}"), 1.0)) for n in range(8)]
    right = [bench.answer(composition).token_ids for composition in compositions]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: bench.answer(compositions[n % 8]).token_ids, range(64)))
    assert found == [right[n % 8] for n in range(64)]
    assert bench.engine.status().adapters_resident <= 2
    assert len(set(right)) == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tokens": 0}, "max_new_tokens"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"stop": ("",)}, "stop"),
        ({"stop": ("x",) * 99}, "stop"),
        ({"tokens": 250}, "at most 248 new tokens"),
    ],
    ids=str,
)
def test_a_wrong_request_is_refused_and_explained(bench, options, reason):
    with pytest.raises(InvalidInputError, match=reason):
        bench.answer(bench.compose(), "hello", **options)
    assert bench.engine.status().waiting_rows == 0


def test_a_prompt_longer_than_the_context_is_refused(bench):
    with pytest.raises(InvalidInputError, match="Shorten the prompt"):
        bench.answer(bench.compose(), "x" * 300)


def test_an_empty_request_is_refused(bench):
    with pytest.raises(InvalidInputError, match="nothing to answer"):
        bench.engine.generate(bench.compose(), GenerationRequest(()))


def test_a_composition_for_another_base_is_refused(bench):
    with pytest.raises(InvalidInputError, match="another base"):
        bench.engine.generate(Composition("0" * 64), bench.request())
    with pytest.raises(InvalidInputError, match="another base"):
        bench.engine.prepare(Composition("0" * 64))


def test_an_answer_that_could_never_fit_into_memory_is_refused(make_bench):
    bench = make_bench(engine_options={"kv_share": 1e-9})
    with pytest.raises(InsufficientMemoryError, match="set aside"):
        bench.answer(bench.compose(), "hello")


def test_rows_wait_when_the_memory_for_keys_and_values_is_taken(make_bench, monkeypatch):
    monkeypatch.setattr("core.engine.local.free_bytes", lambda device: 256 * 60 * 4)
    bench = make_bench()
    assert bench.base.kv_bytes_per_token == 256
    sizes = []
    bench.base.model.register_forward_pre_hook(lambda *_: sizes.append(bench.engine.status().running_rows))
    right = bench.answer(bench.compose(), tokens=12).token_ids
    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda _: bench.answer(bench.compose(), tokens=12).token_ids, range(12)))
    assert found == [right] * 12
    assert max(sizes) <= 3


def test_a_bad_adapter_fails_only_its_own_requests(bench, tmp_path):
    good = bench.compose((bench.adapter("good"), 1.0))
    right = bench.answer(good).token_ids
    torn = bench.adapter("torn")
    (torn.path / "adapter_model.safetensors").write_bytes(b"torn")
    dora = bench.adapter("dora", config={"use_dora": True})
    gone = AdapterRef("1" * 64, tmp_path / "gone")

    def ask(ref):
        try:
            return bench.answer(good if ref is None else bench.compose((ref, 1.0))).token_ids
        except RmnError as error:
            return type(error)

    with ThreadPoolExecutor(12) as threads:
        found = list(threads.map(ask, [None, torn, dora, gone] * 6))
    assert found == [right, IntegrityError, RefusedFileError, IntegrityError] * 6
    status = bench.engine.status()
    assert (status.running_rows, status.waiting_rows) == (0, 0)


def test_prepare_loads_and_unload_frees(make_bench):
    bench = make_bench()
    ref = bench.adapter("one")
    assert bench.engine.unload(ref.digest) is False
    bench.engine.prepare(bench.compose((ref, 1.0)))
    loaded = bench.engine.status()
    assert loaded.adapters_resident == 1
    assert loaded.adapter_bytes > 0
    assert bench.engine.unload(ref.digest) is True
    freed = bench.engine.status()
    assert (freed.adapters_resident, freed.adapter_bytes) == (0, 0)
    with pytest.raises(RefusedFileError):
        bench.engine.prepare(bench.compose((bench.adapter("dora2", config={"use_dora": True}), 1.0)))


def test_an_adapter_that_is_unloaded_while_it_answers_finishes_its_answer(make_bench):
    bench = make_bench(**ENDLESS)
    ref = bench.adapter("one")
    composition = bench.compose((ref, 1.0))
    right = bench.answer(composition, tokens=40).token_ids
    stream = bench.engine.stream(composition, bench.request(tokens=40))
    next(iter(stream))
    assert bench.engine.unload(ref.digest)
    assert list(stream)[-1].final.token_ids == right
    eventually(lambda: bench.engine.status().adapters_resident == 0)


def test_values_that_are_not_numbers_fail_one_request_and_its_neighbours_answer(make_bench):
    bench = make_bench(**ENDLESS)
    bad, good = bench.adapter("bad"), bench.compose((bench.adapter("good"), 1.0))
    right = bench.answer(good, tokens=40).token_ids
    streams = [bench.engine.stream(good, bench.request(tokens=40)) for _ in range(2)]
    doomed = bench.engine.stream(bench.compose((bad, 1.0)), bench.request(tokens=200))
    next(iter(doomed))
    term = bench.engine._bank.lease(bench.compose((bad, 1.0))).terms[0]
    term.pool.view(term.line, 1).b[0].fill_(math.nan)
    with pytest.raises(UnavailableError, match="not numbers"):
        list(doomed)
    assert [list(stream)[-1].final.token_ids for stream in streams] == [right, right]
    assert bench.answer(good, tokens=40).token_ids == right


def test_a_request_can_be_cancelled_while_it_runs(make_bench):
    bench = make_bench(**ENDLESS)
    passes: list[None] = []
    bench.base.model.register_forward_pre_hook(lambda *_: passes.append(None))
    answer = bench.engine.generate(
        bench.compose(), bench.request(tokens=240), cancelled=lambda: len(passes) >= 3
    )
    assert answer.finish_reason == "cancelled"
    assert 0 < answer.completion_tokens < 240


def test_a_request_can_be_cancelled_while_it_waits(make_bench, gate_of):
    bench = make_bench(**ENDLESS, engine_options={"max_batch_rows": 1})
    gate = gate_of(bench)
    running = bench.engine.stream(bench.compose(), bench.request(tokens=5))
    eventually(lambda: bench.engine.status().waiting_rows == 0)
    answer = bench.engine.generate(bench.compose(), bench.request(tokens=5), cancelled=lambda: True)
    assert (answer.finish_reason, answer.completion_tokens, answer.text) == ("cancelled", 0, "")
    gate.open.set()
    assert list(running)[-1].final.finish_reason == "length"


def test_a_request_can_be_cancelled_while_it_waits_for_a_slot(make_bench):
    bench = make_bench(engine_options={"adapter_slots": 1})
    held = bench.engine._bank.lease(bench.compose((bench.adapter("held"), 1.0)))
    answer = bench.engine.generate(
        bench.compose((bench.adapter("wanted"), 1.0)), bench.request(), cancelled=lambda: True
    )
    assert answer.finish_reason == "cancelled"
    held.release()
    assert bench.answer(bench.compose((bench.adapter("third"), 1.0))).completion_tokens > 0


def test_a_callback_that_breaks_cancels_its_request_and_nobody_elses(make_bench):
    bench = make_bench(**ENDLESS)

    def breaks():
        raise ValueError("broken callback")

    with pytest.raises(ValueError, match="broken callback"):
        bench.engine.generate(bench.compose(), bench.request(tokens=240), cancelled=breaks)
    eventually(lambda: bench.engine.status().running_rows == 0)
    assert bench.answer(bench.compose(), tokens=5).completion_tokens == 5


@pytest.mark.parametrize("way", ["close", "drop", "drop before the first piece"])
def test_a_stream_that_is_closed_or_dropped_stops(make_bench, way):
    bench = make_bench(**ENDLESS)
    stream = bench.engine.stream(bench.compose(), bench.request(tokens=240))
    if way != "drop before the first piece":
        next(iter(stream))
    if way == "close":
        stream.close()
        assert list(stream) == []
    del stream
    eventually(lambda: bench.engine.status().running_rows == 0 and bench.engine.status().waiting_rows == 0)


def test_too_many_waiting_requests_are_turned_away_with_a_time_to_come_back(make_bench, gate_of):
    bench = make_bench(engine_options={"max_batch_rows": 1, "max_queue_rows": 6})
    gate = gate_of(bench)
    streams = [bench.engine.stream(bench.compose(), bench.request())]
    eventually(lambda: bench.engine.status().waiting_rows == 0)
    streams += [bench.engine.stream(bench.compose(), bench.request()) for _ in range(3)]
    with pytest.raises(BusyError) as error:
        bench.engine.generate(bench.compose(), bench.request())
    assert 1 <= error.value.retry_after_s <= 60
    assert bench.engine.status().waiting_rows == 3
    gate.open.set()
    assert all(list(stream)[-1].final for stream in streams)
    assert bench.answer(bench.compose()).completion_tokens > 0


def test_closing_finishes_what_was_asked_and_refuses_what_comes(make_bench):
    bench = make_bench(engine_options={"max_batch_rows": 2})
    right = bench.answer(bench.compose(), tokens=30).token_ids
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(bench.answer, bench.compose(), tokens=30) for _ in range(8)]
        eventually(
            lambda: (
                bench.engine.status().running_rows + bench.engine.status().waiting_rows > 2
                or answers[0].done()
            )
        )
        bench.engine.close()
        done = [answer.exception() or answer.result().token_ids for answer in answers]
    assert done.count(right) >= 1
    assert all(item == right or isinstance(item, UnavailableError) for item in done)
    assert bench.engine.status().ready is False
    with pytest.raises(UnavailableError, match="closing"):
        bench.answer(bench.compose())
    bench.engine.close()


def test_a_pass_that_fails_ends_its_rows_and_the_engine_goes_on(make_bench):
    bench = make_bench()
    right = bench.answer(bench.compose(), tokens=8).token_ids
    broken = threading.Event()

    def fail(*_):
        if broken.is_set():
            broken.clear()
            raise RuntimeError("out of luck")

    bench.base.model.register_forward_pre_hook(fail)
    broken.set()
    with pytest.raises(UnavailableError, match="out of luck"):
        bench.answer(bench.compose(), tokens=8)
    assert bench.answer(bench.compose(), tokens=8).token_ids == right
    stream = bench.engine.stream(bench.compose(), bench.request(tokens=200))
    next(iter(stream))
    broken.set()
    with pytest.raises(UnavailableError, match="out of luck"):
        list(stream)
    assert bench.answer(bench.compose(), tokens=8).token_ids == right


def test_a_prompt_that_breaks_its_pass_fails_alone(make_bench, gate_of):
    bench = make_bench()
    gate = gate_of(bench)

    marker = bench.base.tokenizer.encode("\x01", add_special_tokens=False)[0]

    def fail_on_marker(_module, _args, kwargs):
        if kwargs["input_ids"].shape[1] > 1 and (kwargs["input_ids"] == marker).any():
            raise RuntimeError("this prompt")

    bench.base.model.register_forward_pre_hook(fail_on_marker, with_kwargs=True)
    first = bench.engine.stream(bench.compose(), bench.request("warm"))
    good = [bench.engine.stream(bench.compose(), bench.request("hello")) for _ in range(3)]
    bad = bench.engine.stream(bench.compose(), bench.request("hel\x01o"))
    gate.open.set()
    with pytest.raises(UnavailableError, match="this prompt"):
        list(bad)
    answers = {list(stream)[-1].final.token_ids for stream in good}
    assert len(answers) == 1
    list(first)


def test_a_dead_inference_thread_fails_everybody_at_once_and_nobody_hangs(make_bench, gate_of, caplog):
    bench = make_bench(engine_options={"max_batch_rows": 2})
    gate = gate_of(bench)

    class Death(BaseException):
        pass

    def die(*_):
        raise Death("the thread is gone")

    bench.base.model.register_forward_pre_hook(die)
    with ThreadPoolExecutor(6) as threads:
        answers = [threads.submit(bench.answer, bench.compose()) for _ in range(6)]
        eventually(lambda: bench.engine.status().waiting_rows >= 4)
        gate.open.set()
        errors = [answer.exception(timeout=60) for answer in answers]
    assert all(isinstance(error, UnavailableError) for error in errors)
    assert "stopped" in str(errors[0])
    assert bench.engine.status().ready is False
    with pytest.raises(UnavailableError, match="stopped"):
        bench.answer(bench.compose())
    bench.engine.close()
    assert "The inference thread has stopped" in caplog.text


def test_settings_open_an_engine(make_base, bench):
    engine = open_engine(Settings(adapter_slots=3, max_batch_rows=2), make_base())
    try:
        status = engine.status()
        assert (status.ready, status.adapter_slots, status.dtype) == (True, 3, "float32")
        answer = engine.generate(
            Composition(engine.base_digest), GenerationRequest((Message("user", "hi"),), 4)
        )
        assert answer.completion_tokens > 0
        assert engine.status().answered == 1
    finally:
        engine.close()


def test_importing_the_ports_and_the_opener_loads_no_torch():
    code = "import core.engine.records, core.engine.open, sys; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_local_engine_is_an_engine_port(bench):
    port: EnginePort = bench.engine
    assert port.base_digest == bench.base.digest
    assert isinstance(bench.engine, LocalEngine)
