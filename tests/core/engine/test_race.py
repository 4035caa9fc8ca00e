"""Many threads, many compositions: nobody ever gets somebody else's answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.engine.records import AdapterRef, Composition
from core.errors import IntegrityError

THREADS, COMPOSITIONS, REQUESTS, PROMPTS = 32, 16, 2000, 5


def make_compositions(bench) -> list[Composition]:
    adapters = [bench.adapter(f"race{n}", rank=(2, 4, 8)[n % 3]) for n in range(8)]
    singles = [bench.compose((adapter, 1.0)) for adapter in adapters]
    mixtures = [bench.compose((adapters[n], 0.8), (adapters[n + 1], -0.6)) for n in range(5)]
    triple = bench.compose((adapters[0], 0.5), (adapters[3], 0.5), (adapters[6], 0.5))
    doubled = bench.compose((adapters[2], 2.0))
    return [bench.compose(), *singles, *mixtures, triple, doubled]


def test_32_threads_with_16_compositions_and_2000_requests_get_the_answer_each_gets_alone(bench):
    compositions = make_compositions(bench)
    assert len({c.key for c in compositions}) == COMPOSITIONS
    prompts = [f"{'x' * (3 * n)} record {n}" for n in range(PROMPTS)]
    alone = {
        (c, p): bench.answer(compositions[c], prompts[p], tokens=4)
        for c in range(COMPOSITIONS)
        for p in range(PROMPTS)
    }
    for p in range(PROMPTS):
        answers = {alone[c, p].token_ids for c in range(COMPOSITIONS)}
        assert len(answers) == COMPOSITIONS, (
            "the compositions must answer differently, or the test proves nothing"
        )

    together = threading.Barrier(THREADS)

    def work(thread: int) -> list[tuple[int, int]]:
        together.wait()
        wrong = []
        for request in range(thread, REQUESTS, THREADS):
            c, p = (request * 7 + thread) % COMPOSITIONS, (request // 3) % PROMPTS
            answer = bench.answer(compositions[c], prompts[p], tokens=4)
            right = alone[c, p]
            if (answer.token_ids, answer.text) != (right.token_ids, right.text) or (
                answer.composition_key != compositions[c].key
            ):
                wrong.append((c, p))
        return wrong

    with ThreadPoolExecutor(THREADS) as threads:
        wrong = [pair for found in threads.map(work, range(THREADS)) for pair in found]
    assert wrong == []
    status = bench.engine.status()
    assert (status.running_rows, status.waiting_rows) == (0, 0)


def test_answers_stay_right_while_others_cancel_fail_unload_and_swap(make_bench, tmp_path):
    bench = make_bench(engine_options={"adapter_slots": 4, "max_batch_rows": 8})
    adapters = [bench.adapter(f"chaos{n}", rank=(2, 4)[n % 2]) for n in range(7)]
    compositions = [bench.compose((adapter, 1.0)) for adapter in adapters]
    compositions += [bench.compose((adapters[0], 0.5), (adapters[6], 0.7)), bench.compose()]
    right = [bench.answer(composition, "swap", tokens=10).token_ids for composition in compositions]
    assert len(set(right)) == len(compositions)
    bad = bench.compose((AdapterRef("0" * 64, tmp_path / "nowhere"), 1.0), (adapters[1], 1.0))

    def work(number: int) -> str:
        composition = compositions[number % len(compositions)]
        match number % 7:
            case 0:
                stream = bench.engine.stream(composition, bench.request("swap", tokens=10))
                next(iter(stream))
                stream.close()
                return "closed"
            case 1:
                with pytest.raises(IntegrityError):
                    bench.answer(bad, "swap", tokens=10)
                return "refused"
            case 2:
                bench.engine.unload(adapters[number % len(adapters)].digest)
                return "unloaded"
            case 3:
                answer = bench.engine.generate(
                    composition, bench.request("swap", tokens=10), cancelled=lambda: number % 2 == 0
                )
                return (
                    "right"
                    if answer.token_ids == right[number % len(right)][: len(answer.token_ids)]
                    else "wrong"
                )
            case _:
                answer = bench.answer(composition, "swap", tokens=10)
                return "right" if answer.token_ids == right[number % len(right)] else "wrong"

    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(work, range(210)))
    assert outcomes.count("wrong") == 0
    assert outcomes.count("right") == 120
    for adapter in adapters:
        bench.engine.unload(adapter.digest)
    status = bench.engine.status()
    assert (status.running_rows, status.waiting_rows, status.adapters_resident, status.adapter_bytes) == (
        0,
        0,
        0,
        0,
    )
