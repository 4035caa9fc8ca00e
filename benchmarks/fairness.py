"""How long tenants wait when one of them is greedy, and the same with first come, first served, in one run.

    python benchmarks/fairness.py [--quick] [--cold 31] [--hot 64] [--requests 4] [--rows 8] [--tokens 8]

The model is the random 22 M-parameter Llama of serve_batch.py, eight adapters of rank 16, float32, one thread, greedy,
`--rows` rows in a batch. The hot tenant has `--hot` requests in the engine at any time; each cold one asks one request
after another. All weigh the same. Waits are from submission to the first step of the model (`queued_ms`), by tenant.
First come, first served is the same engine with all requests under one owner, whose queue is in order of arrival.
Every answer is compared with that of the same adapter asked alone; status 1 where one differs. Prints JSON.
First come, first served is the better rule for one owner: nobody overtakes, and there is nothing to account for.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import transformers

from benchmarks.serve_batch import build_adapters, build_base
from core.engine.base import load_base
from core.engine.local import LocalEngine
from core.engine.records import AdapterRef, Composition, GenerationRequest, Message, WeightedAdapter

GOALS = {"largest_over_mean_wait": 2.0}
ADAPTERS, HOT = 8, "hot"


class Crowd:
    """An engine that many tenants ask at once."""

    def __init__(self, base_folder: Path, refs: Sequence[AdapterRef], rows: int, tokens: int) -> None:
        base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self.engine = LocalEngine(base, adapter_slots=len(refs), max_batch_rows=rows, prefix_bytes=0)
        self.tokens = tokens
        self.compositions = [Composition(base.digest, (WeightedAdapter(ref, 1.0),)) for ref in refs]
        self.alone = [self.ask(place, "")[0] for place in range(len(refs))]
        self.differing = 0

    def ask(self, place: int, owner: str) -> tuple[tuple[int, ...], float]:
        """The tokens, and milliseconds waited."""
        request = GenerationRequest(
            (Message("user", "SKU 4711: plan"),), max_new_tokens=self.tokens, owner=owner
        )
        made = self.engine.generate(self.compositions[place], request)
        return made.token_ids, made.queued_ms

    def run(self, cold: int, hot: int, requests: int, *, fair: bool) -> dict[str, list[float]]:
        """Waits by tenant; the hot one asks until the cold ones are through."""
        waits: dict[str, list[float]] = {HOT: [], **{f"cold{n}": [] for n in range(cold)}}
        through, lock = threading.Event(), threading.Lock()
        start = threading.Barrier(cold + 1)

        def ask(tenant: str, place: int) -> None:
            tokens, waited = self.ask(place, tenant if fair else "")
            with lock:
                waits[tenant].append(waited)
                self.differing += tokens != self.alone[place]

        def be_hot(_: int) -> None:
            while not through.is_set():
                ask(HOT, 0)

        def be_cold(number: int) -> None:
            start.wait()
            for _ in range(requests):
                ask(f"cold{number}", number % ADAPTERS)

        with ThreadPoolExecutor(cold + hot) as pool:
            heat = [pool.submit(be_hot, n) for n in range(hot)]
            chill = [pool.submit(be_cold, n) for n in range(cold)]
            while self.engine.status().waiting_rows < hot // 2 and not heat[0].done():
                through.wait(0.005)
            start.wait()
            try:
                for each in chill:
                    each.result()
            finally:
                through.set()
            for each in heat:
                each.result()
        return waits


def judge(waits: dict[str, list[float]]) -> dict[str, Any]:
    """Of the cold tenants, who ask alike: the largest of their mean waits against the mean; and the hot one's."""
    means = {tenant: statistics.mean(each) for tenant, each in waits.items() if each}
    cold = [mean for tenant, mean in means.items() if tenant != HOT]
    middle = statistics.mean(cold)
    return {
        "largest_over_mean_wait": round(max(cold) / max(middle, 1e-9), 3),
        "cold_mean_ms": round(middle, 1),
        "cold_largest_ms": round(max(cold), 1),
        "hot_mean_ms": round(means.get(HOT, 0.0), 1),
        "hot_answers": len(waits[HOT]),
        "cold_answers": sum(len(each) for tenant, each in waits.items() if tenant != HOT),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="24 hot requests at a time, 1 of each cold, 2 tokens"
    )
    parser.add_argument("--cold", type=int, default=31)
    parser.add_argument("--hot", type=int, default=64)
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=8)
    options = parser.parse_args()
    if options.quick:
        options.hot, options.requests, options.tokens = 24, 1, 2
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_base(folder / "base")
        crowd = Crowd(base, build_adapters(folder, base, ADAPTERS), options.rows, options.tokens)
        fair, queue = (
            judge(crowd.run(options.cold, options.hot, options.requests, fair=fair)) for fair in (True, False)
        )
        crowd.engine.close()
    result = {
        "benchmark": "fairness",
        "quick": options.quick,
        "tokens_identical": crowd.differing == 0,
        "fair": fair,
        "first_come_first_served": queue,
        "cold_waits_less_by": round(queue["cold_mean_ms"] / max(fair["cold_mean_ms"], 1e-9), 2),
        "tenants": options.cold + 1,
        "hot_at_a_time": options.hot,
        "rows": options.rows,
        "tokens_per_request": options.tokens,
        "goals": GOALS,
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))
    if crowd.differing:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
