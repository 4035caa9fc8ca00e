"""How often a winner is named where no arm differs, by how often somebody looks, beside chi-square at .05 at the same looks.

    python benchmarks/false_positives.py [--runs 2000] [--units 10000] [--decided 30] [--cell NAME] [--quick]
    python benchmarks/false_positives.py --limits
    python benchmarks/false_positives.py --read result.json --plot docs/images/false-positives.svg

A run is 10,000 units per arm that arrive one by one, each in a random arm. Somebody looks 20 times, 100 times, or after
every unit from the 100th, 10th or 1st per arm on. A run counts where `decide(plan, evidence).winner` is set at any of
these looks. All looks of all runs are judged as arrays (core/experiments/simulate.py), which a test compares with
`decide` look by look; `--decided` runs of each cell go through `decide` itself, at 20 looks. The peer is the classic
test at .05, with 100 units per arm at least: chi-square for shares (over requests, as usual), Welch's for means; beside it
a confidence sequence of the relative lift by the delta method, as some platforms have it. Others are compared where they
are installed. Goal: at most 6.0 % in every cell, which is 5 % and two standard errors. Status 1
where a cell misses it. Prints JSON.
"""

import argparse
import html
import importlib.util
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.experiments.cells import limit_cells, null_cells
from core.experiments.trials import CLASSIC, ceiling, decided, run_null

GOAL = 0.06
PEERS = ("gbstats", "confseq", "spotify_confidence")


def main() -> int:
    """Count and print; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--units", type=int, default=10_000, help="per arm")
    parser.add_argument("--decided", type=int, default=30, help="runs of each cell through decide() itself")
    parser.add_argument("--seed", type=int, default=20_260)
    parser.add_argument("--cell", default="", help="only cells whose name holds this")
    parser.add_argument("--limits", action="store_true", help="the worlds where a mean may mislead, instead")
    parser.add_argument("--plot", type=Path, help="write a plot of the result to this .svg")
    parser.add_argument("--read", type=Path, help="read an earlier result instead of counting")
    parser.add_argument("--quick", action="store_true", help="20 runs of 1,000 units, 2 through decide()")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.units, options.decided = 20, 1_000, 2
    result = count(options) if options.read is None else json.loads(options.read.read_text("utf-8"))
    if options.plot is not None:
        options.plot.write_text(plot(result), "utf-8")
    print(json.dumps(result, indent=2, ensure_ascii=False))
    return 0 if result["passes"] or result["quick"] or options.limits else 1


def count(options: argparse.Namespace) -> dict[str, Any]:
    """All cells, as arrays and through decide()."""
    worlds = limit_cells() if options.limits else null_cells()
    load, began = os.getloadavg()[0], time.perf_counter()
    found = run_null(
        runs=options.runs,
        units_per_arm=options.units,
        seed=options.seed,
        named=options.cell,
        cells=worlds,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    vectorized = time.perf_counter() - began
    cells = {cell.name: cell for cell in worlds}
    rows = []
    for number, each in enumerate(found):
        worst = max(each.winners.values())
        alone = decided(
            cells[each.cell],
            runs=options.decided,
            units_per_arm=options.units,
            looks=20,
            seed=options.seed + 500 + number,
        )
        rows.append(
            {
                **asdict(each),
                "worst": worst,
                "worst_at_most": round(ceiling(worst, each.runs), 4),
                "by_decide_at_20_looks": alone,
                "passes": worst <= GOAL,
            }
        )
    return {
        "benchmark": "false_positives",
        "quick": options.quick,
        "goal": GOAL,
        "runs": options.runs,
        "runs_through_decide": options.decided,
        "units_per_arm": options.units,
        "seed": options.seed,
        "cells": rows,
        "passes": all(row["passes"] for row in rows),
        "peers_not_installed": [name for name in PEERS if importlib.util.find_spec(name) is None],
        "seconds_as_arrays": round(vectorized, 1),
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "load_average": [round(load, 1), round(os.getloadavg()[0], 1)],
    }


def plot(result: dict[str, Any]) -> str:
    """Bars as SVG: the worst schedule of each cell, the classic test at every unit from 100 below it, the goal as a line."""
    left, wide, step = 290, 380, 34
    height = 60 + step * len(result["cells"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="720" height="{height}" fill="#ffffff"/>',
        '<text x="10" y="20" font-size="13">Runs with a wrong winner, looked at after every unit</text>',
    ]
    for number, cell in enumerate(result["cells"]):
        y = 36 + step * number
        parts.append(f'<text x="10" y="{y + 17}">{html.escape(cell["cell"])}</text>')
        peer = cell["peers"].get(CLASSIC, {}).get("every unit from 100")
        for top, rate, colour in ((y, cell["worst"], "#1f6f54"), (y + 13, peer, "#b5b5b5")):
            if rate is not None:
                parts.append(
                    f'<rect x="{left}" y="{top}" width="{rate * wide:.1f}" height="11" fill="{colour}"/>'
                )
                parts.append(
                    f'<text x="{left + rate * wide + 4:.1f}" y="{top + 10}" font-size="10">{rate:.1%}</text>'
                )
    at = left + GOAL * wide
    parts.append(f'<line x1="{at}" x2="{at}" y1="30" y2="{height - 24}" stroke="#b3261e"/>')
    told = "green: this product; grey: the classic test at .05, from 100 units per arm on; red: 6 %"
    parts.append(f'<text x="10" y="{height - 8}" font-size="11">{told}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    sys.exit(main())
