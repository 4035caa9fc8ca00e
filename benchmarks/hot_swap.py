"""Swaps under load: failed, torn and stale answers, and what the swaps cost the others.

    python benchmarks/hot_swap.py [--quick] [--requests 200] [--swaps 10] [--threads 8] [--tokens 4]

In full: --requests 10000 --swaps 100. The model is the random 22 M-parameter Llama of serve_batch.py with three versions
of one adapter (rank 16, all linear layers, float32, one thread) and a database of its own (SQLite). Threads ask by name,
as the runtime serves it: resolve, pin, generate greedily. First without swaps, then with swaps in turn, warm, spread over
the requests. An answer is torn when it is not that of one version alone, stale when its version did not serve at any
moment of the request; status 1 when one is, or failed. `rollback_ms` is a rollback with both versions in memory, by the
wall clock and by processor time. Prints JSON.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.serve_batch import build_adapters, build_base
from core.compose import service
from core.compose.cache import CompositionCache
from core.compose.records import CompositionSpec, Term
from core.compose.swap import HotSwap
from core.engine.base import load_base
from core.engine.local import LocalEngine
from core.engine.records import Composition, GenerationRequest, Message
from core.registry import service as registry
from core.registry.bases import read_base_facts
from core.registry.package import build_manifest
from core.registry.records import AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.storage.database import Database
from core.storage.migrate import upgrade
from core.tenants import service as tenants

NAME = "amazon"
VERSIONS = (1, 2, 3)
GOALS = {"failed": 0, "torn": 0, "stale": 0, "p99_ratio": 1.2, "rollback_ms": 10.0}


@dataclass(frozen=True)
class Asked:
    """One request: when it began and was over, and what came (None: it failed)."""

    begun: float
    over: float
    tokens: tuple[int, ...] | None


@dataclass(frozen=True)
class Flip:
    """From when a version may have served, and from when it certainly did."""

    earliest: float
    certain: float
    version: int


class House:
    """A workspace with three versions of one adapter."""

    def __init__(self, folder: Path, tokens: int) -> None:
        base_folder = build_base(folder / "base")
        refs = build_adapters(folder, base_folder, len(VERSIONS))
        url = f"sqlite:///{folder / 'rmn.sqlite'}"
        upgrade(url)
        self.database, self.tokens = Database(url), tokens
        self.base = load_base(base_folder, dtype="float32", device="cpu", threads=1)
        self.engine = LocalEngine(self.base, adapter_slots=4)
        self.cache = CompositionCache(lambda: self.engine)
        self.swaps = HotSwap(self.database, lambda: self.engine, self.cache, clock=lambda: datetime.now(UTC))
        facts = read_base_facts(base_folder, name="random")
        now = datetime.now(UTC)
        with self.database.transaction() as s:
            self.tenant_id = tenants.create_tenant(s, name="Alpha", now=now).id
            for ref in refs:
                manifest = build_manifest(
                    verify_folder(ref.path, base=facts),
                    name=NAME,
                    type=AdapterType.RETAILER,
                    base=facts,
                    now=now,
                )
                registry.register_adapter(
                    s,
                    self.tenant_id,
                    folder=ref.path,
                    manifest=manifest,
                    source=AdapterSource.TRAINED,
                    now=now,
                )
        self.swap(1)

    def swap(self, version: int) -> Flip:
        begun = time.monotonic()
        certain: list[float] = []
        self.swaps.swap_adapter(
            self.tenant_id,
            NAME,
            version,
            actor="bench",
            progress=lambda swap: certain.append(time.monotonic()) if swap.state == "serving" else None,
        )
        return Flip(begun, certain[0], version)

    def composition(self, term: str) -> Composition:
        with self.database.reading() as s:
            spec = CompositionSpec(terms=(Term(adapter=term),))
            (part,) = service.resolve_parts(s, self.tenant_id, spec, base_digest=self.base.digest)
            return part.composition

    def ask(self, term: str = NAME) -> Asked:
        begun = time.monotonic()
        tokens = None
        request = GenerationRequest((Message("user", "SKU 4711: plan"),), max_new_tokens=self.tokens)
        try:
            with self.cache.pin(self.composition(term)) as handle:
                tokens = self.engine.generate(handle.composition, request).token_ids
        except Exception as error:  # noqa: BLE001 - counted
            print(f"failed: {error}")
        return Asked(begun, time.monotonic(), tokens)

    def run(self, requests: int, threads: int, swaps: int) -> tuple[list[Asked], list[Flip]]:
        """All requests from so many threads, and the swaps spread over them."""
        left = itertools.count()
        done = itertools.count(1)
        reached = [0]
        flips = []

        def work(_: int) -> list[Asked]:
            asked = []
            while next(left) < requests:
                asked.append(self.ask())
                reached[0] = next(done)
            return asked

        with ThreadPoolExecutor(threads) as pool:
            working = [pool.submit(work, n) for n in range(threads)]
            for number in range(swaps):
                while reached[0] < requests * number // swaps and not all(f.done() for f in working):
                    time.sleep(0.001)
                flips.append(self.swap(VERSIONS[(number + 1) % len(VERSIONS)]))
            return [one for future in working for one in future.result()], flips


def judge(asked: Sequence[Asked], flips: Sequence[Flip], alone: dict[tuple[int, ...], int]) -> dict[str, int]:
    """Failed, torn and stale among the answers."""
    failed = sum(one.tokens is None for one in asked)
    torn = sum(one.tokens is not None and one.tokens not in alone for one in asked)
    stale = 0
    for one in asked:
        if one.tokens is None or one.tokens not in alone:
            continue
        current = max(n for n, flip in enumerate(flips) if flip.certain <= one.begun)
        possible = {flips[current].version}
        possible |= {flip.version for flip in flips[current + 1 :] if flip.earliest <= one.over}
        stale += alone[one.tokens] not in possible
    return {"failed": failed, "torn": torn, "stale": stale}


def p99(asked: Sequence[Asked]) -> float:
    """Milliseconds."""
    ordered = sorted(one.over - one.begun for one in asked)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000


def rollbacks(house: House, count: int) -> tuple[list[float], list[float]]:
    """Wall and processor milliseconds of rollbacks between two versions in memory."""
    wall, cpu = [], []
    for _ in range(count):
        house.swap(2 if house.composition(NAME).key != house.composition(f"{NAME}@2").key else 3)
        begun, begun_cpu = time.perf_counter(), time.thread_time()
        house.swaps.rollback(house.tenant_id, NAME, actor="bench")
        wall.append((time.perf_counter() - begun) * 1000)
        cpu.append((time.thread_time() - begun_cpu) * 1000)
    return wall, cpu


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="32 requests, 2 swaps, 2 tokens")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=4)
    options = parser.parse_args()
    if options.quick:
        options.requests, options.swaps, options.tokens = 32, 2, 2
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), options.tokens)
        alone = {}
        for version in VERSIONS:
            alone[house.ask(f"{NAME}@{version}").tokens or ()] = version
        if len(alone) < len(VERSIONS):
            raise SystemExit("the versions answer alike: nothing could be told from their answers")
        house.run(options.threads, options.threads, 0)
        quiet, _ = house.run(options.requests, options.threads, 0)
        asked, flips = house.run(options.requests, options.threads, options.swaps)
        verdict = judge(asked, [Flip(0.0, 0.0, 1), *flips], alone)
        wall, cpu = rollbacks(house, 2 if options.quick else 10)
        house.cache.close()
        house.engine.close()
        house.database.close()
    print(
        json.dumps(
            {
                "benchmark": "hot_swap",
                "quick": options.quick,
                "requests": len(asked),
                "swaps": len(flips),
                **verdict,
                "p99_ms_without_swaps": round(p99(quiet), 1),
                "p99_ms_with_swaps": round(p99(asked), 1),
                "p99_ratio": round(p99(asked) / p99(quiet), 3),
                "rollback_ms": {
                    "median": round(statistics.median(wall), 2),
                    "least": round(min(wall), 2),
                    "median_processor": round(statistics.median(cpu), 2),
                },
                "threads": options.threads,
                "tokens_per_request": options.tokens,
                "goals": GOALS,
                "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
            },
            indent=2,
        )
    )
    if any(verdict.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
