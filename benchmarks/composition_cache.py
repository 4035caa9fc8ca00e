"""What a composition costs before its first token: lookups, first use, a working set larger than the room for it.

    python benchmarks/composition_cache.py [--quick] [--slots 16] [--requests 200] [--tokens 8]

The model is the random 22 M-parameter Llama of serve_batch.py, adapters of rank 16 on all linear layers, float32, one
thread. Timed in turn in one run: the lookup of a composition that is held; the first use of a composition whose
adapters are in memory, beside PEFT's `add_weighted_adapter` on the same files; requests with Zipf (s = 1) over
`--slots` compositions that all fit, and over four times as many, one adapter each. Before that the tokens of a cached
composition are compared with those of the engine asked outright; status 1 where they differ. `hit_rate_of_trace` stands
beside the best possible on the same trace (Belady 1966, unit size), with the first use of each in both. Prints JSON.
PEFT composes a new adapter in memory, which costs it time once and nothing afterwards; that is what it is good at when
there is one composition.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import peft
import torch
import transformers

from benchmarks.serve_batch import build_adapters, build_base
from core.compose.cache import CompositionCache
from core.engine.base import load_base
from core.engine.local import LocalEngine
from core.engine.records import AdapterRef, Composition, GenerationRequest, Message, WeightedAdapter

GOALS = {"lookup_p99_us": 10.0, "first_use_ms": 1.0, "share_of_in_cache_throughput": 0.5}


def quantiles(seconds: Sequence[float], unit: float) -> dict[str, float]:
    """p50 and p99 in the unit."""
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * unit, 3),
        "p99": round(ordered[int(len(ordered) * 0.99)] * unit, 3),
    }


def timed(act: Callable[[Any], object], items: Sequence[Any]) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for item in items:
        begun = time.perf_counter()
        act(item)
        seconds.append(time.perf_counter() - begun)
    return seconds


class Bench:
    """An engine with some slots, and adapters."""

    def __init__(self, base_folder: Path, refs: Sequence[AdapterRef], slots: int) -> None:
        base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self.digest, self.refs, self.slots = base.digest, refs, slots
        self.engine = LocalEngine(base, adapter_slots=slots)

    def compose(self, *terms: tuple[int, float]) -> Composition:
        """Adapters by number, with weights."""
        return Composition(self.digest, tuple(WeightedAdapter(self.refs[n], w) for n, w in terms))

    def cache(self, entries: int) -> CompositionCache:
        """An empty one."""
        return CompositionCache(lambda: self.engine, max_entries=entries, trace_length=1 << 16)


def lookups(bench: Bench, count: int) -> dict[str, Any]:
    """Compositions that are held; each lookup is by a new object of equal content, as the runtime makes them."""
    cache = bench.cache(1024)
    held = min(8, bench.slots - 1)
    for n in range(held):
        cache.compose_sync(bench.compose((n, 0.5), (n + 1, 0.5)))
    asked = [bench.compose((n % held, 0.5), (n % held + 1, 0.5)) for n in range(count)]
    return quantiles(timed(cache.compose_sync, asked), 1e6)


def first_uses(bench: Bench, base_folder: Path, peer_uses: int) -> dict[str, Any]:
    """Mixtures of two that nobody asked for before, of adapters in memory; PEFT composes the same ones."""
    cache = bench.cache(1024)
    adapters = min(8, bench.slots)
    for n in range(adapters):
        cache.compose_sync(bench.compose((n, 1.0)))
    pairs = [(a, b) for a in range(adapters) for b in range(adapters) if a < b]
    ours = timed(lambda pair: cache.compose_sync(bench.compose((pair[0], 0.5), (pair[1], 0.5))), pairs)
    plain = transformers.AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(plain, bench.refs[0].path, adapter_name="a0")
    for n in range(1, adapters):
        model.load_adapter(bench.refs[n].path, adapter_name=f"a{n}")

    def compose(pair: tuple[int, int]) -> None:
        names = [f"a{n}" for n in pair]
        model.add_weighted_adapter(names, [0.5, 0.5], f"mix{pair}", combination_type="cat")

    theirs = timed(compose, pairs[:peer_uses])
    return {"ours_ms": quantiles(ours, 1e3), "peft_cat_ms": quantiles(theirs, 1e3)}


def same_tokens(bench: Bench, tokens: int) -> bool:
    """Whether a composition that went through the cache answers as the engine asked for it outright."""
    mixture = bench.compose((0, 0.5), (1, 0.5))
    request = GenerationRequest((Message("user", "SKU 4711: plan"),), max_new_tokens=tokens)
    alone = bench.engine.generate(mixture, request).token_ids
    with bench.cache(8).pin(bench.compose((1, 0.5), (0, 0.5))) as handle:
        return bench.engine.generate(handle.composition, request).token_ids == alone


def working_set(bench: Bench, compositions: int, slots: int, requests: int, tokens: int) -> dict[str, Any]:
    """Requests per second over so many compositions, after each was asked for once."""
    weights = 1 / np.arange(1, compositions + 1)
    picks = np.random.default_rng(0).choice(compositions, size=requests, p=weights / weights.sum())
    cache = bench.cache(slots)
    for n in range(compositions):
        cache.compose_sync(bench.compose((n, 1.0)))
    warmed = cache.get_cache_stats()
    request = GenerationRequest((Message("user", "SKU 4711: plan"),), max_new_tokens=tokens)
    begun, cpu = time.perf_counter(), time.process_time()
    for n in picks:
        with cache.pin(bench.compose((int(n), 1.0))) as handle:
            bench.engine.generate(handle.composition, request)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    stats = cache.get_cache_stats()
    return {
        "compositions": compositions,
        "requests_per_s": round(requests / wall, 2),
        "requests_per_cpu_s": round(requests / cpu, 2),
        "hit_rate_once_warm": round((stats.hits - warmed.hits) / requests, 4),
        "hit_rate_of_trace": round(stats.hits / (requests + compositions), 4),
        "best_hit_rate_of_trace": stats.best_hit_rate,
        "share_of_best": stats.share_of_best,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer slots, requests and tokens")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=8)
    options = parser.parse_args()
    if options.quick:
        options.slots, options.requests, options.tokens = 4, 16, 2
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        base_folder = build_base(Path(folder) / "base")
        refs = build_adapters(Path(folder), base_folder, 4 * options.slots)
        bench = Bench(base_folder, refs, options.slots)
        load = os.getloadavg()[0]
        if not same_tokens(bench, options.tokens):
            raise SystemExit("the tokens of a cached composition are not those of the engine asked alone")
        lookup = lookups(bench, 4_000 if options.quick else 20_000)
        first = first_uses(bench, base_folder, 2 if options.quick else 6)
        sets = [
            working_set(bench, count, options.slots, options.requests, options.tokens)
            for count in (options.slots, 4 * options.slots)
        ]
        bench.engine.close()
    share = sets[1]["requests_per_cpu_s"] / sets[0]["requests_per_cpu_s"]
    print(
        json.dumps(
            {
                "benchmark": "composition_cache",
                "quick": options.quick,
                "tokens_identical": True,
                "lookup_us": lookup,
                "first_use": first,
                "in_cache": sets[0],
                "four_times_the_slots": sets[1],
                "share_of_in_cache_throughput": round(
                    sets[1]["requests_per_s"] / sets[0]["requests_per_s"], 3
                ),
                "share_by_processor_time": round(share, 3),
                "slots": options.slots,
                "tokens_per_request": options.tokens,
                "goals": GOALS,
                "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
                "torch": torch.__version__,
                "peft": peft.__version__,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
