"""How long it takes to assign a unit, with targeting, a namespace and a look for what the unit was given before.

    python benchmarks/experiment_assignment.py [--calls 200000]

One call is one request: context of three fields, two of them targeted, a namespace with a holdout (a second hash), and a
table of 100,000 units that keep their arm, in which half of the units are. Prints JSON: microseconds by percentile.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.variants import Variants
from core.engine.records import Message
from core.experiments.assign import Assigner
from core.experiments.drafts import experiment_of
from core.experiments.records import ArmDraft, Assignment, ExperimentDraft, State
from core.serve.records import InferenceRequest
from core.storage.database import Database
from core.storage.migrate import upgrade

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def build(sticky: dict[str, Assignment] | None, **changed: Any) -> Assigner:
    """An assigner of an experiment with three arms that runs."""
    given: dict[str, Any] = {
        "id": "benchmark",
        "name": "Benchmark",
        "arms": tuple(ArmDraft(id=f"v{n}", weight=weight) for n, weight in enumerate((0.5, 0.3, 0.2), 1)),
        "targeting": {"retailer": ("amazon", "kroger", "walmart"), "task": ("mapping", "planning")},
        "starts_at": NOW - timedelta(days=1),
        "ends_at": NOW + timedelta(days=1),
    }
    made = experiment_of(
        ExperimentDraft(**{**given, **changed}), "ten_1", [], created_by="benchmark", now=NOW
    )
    return Assigner(replace(made, state=State.RUNNING, begun_at=NOW), NOW, sticky)


def measure(assigner: Assigner, units: Sequence[str], context: dict[str, str]) -> dict[str, float]:
    """Microseconds of single calls, less what looking at the clock takes."""
    assign = assigner.assign
    return timed(lambda unit: assign(unit, context, NOW), units)


def measure_without(units: Sequence[str]) -> dict[str, float]:
    """What a request pays in a workspace without experiments."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/rmn.sqlite"
        upgrade(url)
        database = Database(url)
        variants = Variants(database, lambda: NOW)
        request = InferenceRequest(messages=(Message("user", "hello"),), model="amazon")
        found = timed(lambda unit: variants.route("ten_1", request, None, unit), units)
        database.close()
    return found


def timed(call: Callable[[str], object], units: Sequence[str]) -> dict[str, float]:
    """Microseconds of single calls."""
    clock = time.perf_counter_ns
    for unit in units[:2000]:
        call(unit)
    empty = sorted(-(clock() - clock()) for _ in range(20_000))
    overhead = empty[len(empty) // 2]
    taken = []
    for unit in units:
        begun = clock()
        call(unit)
        taken.append(clock() - begun - overhead)
    taken.sort()
    return {name: round(taken[int(len(taken) * q)] / 1000, 3) for name, q in (("p50", 0.5), ("p99", 0.99))}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200_000)
    calls = parser.parse_args().calls
    draw = random.Random(1)
    units = [f"user:{draw.randrange(10**12)}" for _ in range(calls)]
    context = {"retailer": "kroger", "task": "mapping", "brand": "acme"}
    kept = {unit: Assignment("benchmark", "v1") for unit in units[: min(100_000, calls // 2)]}
    shuffled = draw.sample(units, len(units))
    print(
        json.dumps(
            {
                "calls": calls,
                "targeting and sticky table": measure(build(kept), shuffled, context),
                "the same, nobody in the table": measure(build({}), shuffled, context),
                "with namespace and holdout": measure(
                    build(kept, namespace="home", namespace_share=0.5, holdout=0.05), shuffled, context
                ),
                "a request without experiments": measure_without(shuffled),
                "unit": "µs a call",
            },
            ensure_ascii=False,
        )
    )


if __name__ == "__main__":
    main()
