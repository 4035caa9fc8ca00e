"""What the runtime adds to the bare engine: names, gates, pins, records of one request. In one run, in turn.

    python benchmarks/runtime_overhead.py [--quick]

The shipped base and adapters, SQLite, one thread, greedy, two new tokens, one caller. Asked in turn, so that both see
the same machine: the bare engine with a composition that is resolved already, and the runtime by the name of a
federation of two adapters. The overhead is the median of the differences of such pairs, by the wall clock and by the
processor time of the calling thread, which is steadier on a busy machine. What resolving costs when
nothing is known yet, and when only the one statement is asked that tells whether names mean the same, is told apart.
Prints JSON. Goal: at most 2 ms.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.bootstrap import Console, build_console, utc_now
from core.compose import service as compose
from core.compose.records import CompositionSpec, Term
from core.compose.resolved import ResolvedComposition
from core.engine.records import GenerationRequest, Message
from core.registry import service as registry
from core.registry.records import AdapterSource, Manifest
from core.serve.records import InferenceRequest
from core.serve.resolution import Resolutions
from core.settings import PROJECT_ROOT, Settings
from core.storage.migrate import upgrade
from core.tenants import service as tenants
from core.tenants.records import Principal, Role

GOAL_MS = 2.0
NAMES = ("retailer_beta", "task_planning")


def prepare(console: Console) -> Principal:
    """A workspace with the shipped adapters and a federation of two."""
    now = utc_now()
    with console.database.transaction() as s:
        tenant = tenants.create_tenant(s, name="Benchmark", now=now)
        for name in NAMES:
            folder = PROJECT_ROOT / "models" / "adapters" / name
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_text("utf-8"))
            registry.register_adapter(
                s, tenant.id, folder=folder, manifest=manifest, source=AdapterSource.SHIPPED, now=now
            )
        spec = CompositionSpec(terms=tuple(Term(adapter=name) for name in NAMES))
        compose.save_federation(
            s, tenant.id, name="both", description="", spec=spec, created_by="benchmark", now=now
        )
    return Principal(tenant.id, tenant.name, "benchmark", Role.VIEWER)


def milliseconds(call: Callable[[], Any]) -> tuple[float, float]:
    """One call, by the wall clock and by the processor time of this thread."""
    began, worked = time.perf_counter(), time.thread_time()
    call()
    return (time.perf_counter() - began) * 1000, (time.thread_time() - worked) * 1000


def quantiles(values: list[tuple[float, float]]) -> dict[str, float]:
    """Median and 95th of a hundred by the wall clock, median of the processor time; in ms."""
    wall, worked = zip(*values, strict=True)
    return {
        "p50_ms": round(statistics.median(wall), 3),
        "p95_ms": round(statistics.quantiles(wall, n=20)[-1], 3),
        "processor_p50_ms": round(statistics.median(worked), 3),
    }


def measure(console: Console, rounds: int) -> dict[str, Any]:
    """Pairs of both, and the parts of resolving."""
    principal, engine = prepare(console), console.engine()
    messages = (Message("user", "Plan a campaign for sparkling water."),)
    request = InferenceRequest(messages=messages, model="both", max_new_tokens=2)
    name = engine.status().base_name
    found = Resolutions(console.database).find(principal.tenant_id, request, engine, name).resolved
    assert isinstance(found, ResolvedComposition)
    composition = found.composition
    plain = GenerationRequest(messages=messages, max_new_tokens=2, owner=principal.tenant_id)
    known = Resolutions(console.database)
    if console.runtime.answer(principal, request).text != engine.generate(composition, plain).text:
        raise SystemExit("the runtime and the engine answer differently, so nothing was timed")
    for _ in range(5):
        console.runtime.answer(principal, request)
        engine.generate(composition, plain)
    bare, whole, again, anew = [], [], [], []
    for _ in range(rounds):
        bare.append(milliseconds(lambda: engine.generate(composition, plain)))
        whole.append(milliseconds(lambda: console.runtime.answer(principal, request)))
        again.append(milliseconds(lambda: known.find(principal.tenant_id, request, engine, name)))
        fresh = Resolutions(console.database)
        anew.append(milliseconds(lambda fresh=fresh: fresh.find(principal.tenant_id, request, engine, name)))  # type: ignore[misc]
    pairs = list(zip(whole, bare, strict=True))
    overhead, worked = (
        statistics.median(with_runtime[i] - alone[i] for with_runtime, alone in pairs) for i in (0, 1)
    )
    return {
        "rounds": rounds,
        "engine": quantiles(bare),
        "runtime": quantiles(whole),
        "overhead_p50_ms": round(overhead, 3),
        "overhead_processor_p50_ms": round(worked, 3),
        "resolve_known": quantiles(again),
        "resolve_anew": quantiles(anew),
        "goal_ms": GOAL_MS,
        "share_of_the_limit": round(overhead / GOAL_MS, 3),
        "met": overhead <= GOAL_MS,
    }


def main() -> None:
    """Measure in a temporary home."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rounds")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        upgrade(settings.resolved_database_url)
        console = build_console(settings)
        try:
            result = measure(console, 20 if quick else 200)
        finally:
            console.close()
    result["benchmark"], result["quick"] = "runtime_overhead", quick
    result["load_1min"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
