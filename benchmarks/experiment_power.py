"""How often a better arm is shipped, after how many units, and whether the interval of its lift holds the truth at all
times.

    python benchmarks/experiment_power.py [--runs 2000] [--units 10000] [--cell NAME] [--quick]

A run is 10,000 units per arm; it ends with the first winner that `decide` names, looked at after every unit from the
100th per arm on, or at 20 planned looks. Runs without a winner count with all their units. An interval holds where the
true relative lift lies within it at every look of the whole run, not only at its end (for pairs of first outcomes: at
200 looks). Prints JSON; status 1 where a goal is missed.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.experiments.trials import Power, run_power

# By cell: the least share shipped, the most mean units per arm, the least coverage.
GOALS = {
    "always valid, .90 → .92": (0.98, 3_600, 0.94),
    "always valid, .10 → .12": (0.94, 4_200, 0.94),
    "group sequential, .90 → .92": (0.99, 4_000, 0.94),
    "group sequential, .10 → .12": (0.99, 4_400, 0.94),
    "always valid, mean of lognormal(5, .6) + 5 %": (0.0, 10_000, 0.94),
    "always valid, clusters of .30 → .32": (0.0, 10_000, 0.94),
}


def judged(found: Power) -> dict[str, Any]:
    """A cell's figures beside its goals."""
    shipped, units, coverage = GOALS[found.cell]
    passes = found.shipped >= shipped and found.mean_units_per_arm <= units and found.coverage >= coverage
    goals = {"shipped": shipped, "mean_units_per_arm": units, "coverage": coverage}
    return {**asdict(found), "goals": goals, "passes": passes}


def main() -> int:
    """Count and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--units", type=int, default=10_000, help="per arm")
    parser.add_argument("--seed", type=int, default=20_260)
    parser.add_argument("--cell", default="", help="only cells whose name holds this")
    parser.add_argument("--quick", action="store_true", help="20 runs of 1,000 units")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.units = 20, 1_000
    load, began = os.getloadavg()[0], time.perf_counter()
    found = run_power(
        runs=options.runs,
        units_per_arm=options.units,
        seed=options.seed,
        named=options.cell,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    rows = [judged(each) for each in found]
    result = {
        "benchmark": "experiment_power",
        "quick": options.quick,
        "runs": options.runs,
        "units_per_arm": options.units,
        "seed": options.seed,
        "cells": rows,
        "passes": all(row["passes"] for row in rows),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0 if result["passes"] or options.quick else 1


if __name__ == "__main__":
    sys.exit(main())
