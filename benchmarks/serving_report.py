"""Every serving benchmark in one JSON, with the share of the limit beside each figure, and in the tables of the guide.

    python benchmarks/serving_report.py [--quick] [--from FOLDER] [--keep FOLDER] [--write]

Without --from: runs the scripts of RUNS one after another, each in a process of its own, in full unless --quick; --keep
leaves what each printed as NAME.json in a folder. With --from: reads such files; what is not there is not measured.
The limit is the cost model of serving by memory traffic: a decoding step reads the base, each distinct adapter and the
keys and values of the rows once, so a batch with adapters has at most (base + KV) / (base + adapters + KV) of the speed
without. It is told where it applies; elsewhere the goal stands alone. --write puts the table and a plot into
docs/serving-benchmarks.md and docs/images, but only figures that were measured in full and quietly: where the load
average before was above one and half of the processors, or the run was quick, the guide says «not measured yet».
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "serving-benchmarks.md"
PLOT = ROOT / "docs" / "images" / "serving-benchmarks.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
NOT_MEASURED = "not measured yet"
QUIET_WAIT_S = 180
QUIET_LOAD = 0.5  # of the processors, besides the one that the benchmark itself keeps busy
RUNS: Mapping[str, tuple[str, ...]] = {
    "serve_batch": (),
    "composition_cache": (),
    "cold_load": (),
    "hot_swap": ("--requests", "10000", "--swaps", "100"),
    "adapter_memory": (),
    "request_gate": (),
    "token_gate": (),
    "fairness": (),
    "load_test": (),
    "runtime_overhead": (),
}
Result = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A row of the table: where its value stands in a script's JSON, and what it should be."""

    what: str
    script: str
    read: Callable[[Result], float]
    goal: float
    at_least: bool
    unit: str = ""
    peer: Callable[[Result], str] = lambda _: ""
    limit: Callable[[Result], float | None] = lambda _: None


@dataclass(frozen=True)
class Told:
    """A row with its figures; None: not measured."""

    what: str
    script: str
    measured: float | None
    goal: str
    met: bool | None
    unit: str
    peer: str
    limit: float | None
    share_of_the_limit: float | None
    quiet: bool


def _wall(batch: str, name: str) -> Callable[[Result], float]:
    return lambda r: r[batch]["wall"][name]


def _swap_faults(r: Result) -> float:
    return r["failed"] + r["torn"] + r["stale"]


def _load_most(r: Result) -> Mapping[str, Any]:
    return list(r["by_loaded"].values())[-1]


def _peft_load(r: Result) -> str:
    return f"PEFT {_load_most(r)['peft_ms']['median']} ms"


FIGURES = (
    Figure("8 adapters in a batch of 8, share of base speed", "serve_batch", _wall("batch_of_8", "share_of_base"),
           0.80, True, limit=lambda r: r["batch_of_8"]["byte_limit"]),
    Figure("the same, times PEFT's mixed batch", "serve_batch", _wall("batch_of_8", "times_peft_mixed"), 2.5, True, "×"),
    Figure("the same, times PEFT one by one", "serve_batch", _wall("batch_of_8", "times_peft_one_by_one"), 6.0, True, "×"),
    Figure("32 adapters in a batch of 32, share of base speed", "serve_batch", _wall("batch_of_32", "share_of_base"),
           0.85, True, limit=lambda r: r["batch_of_32"]["byte_limit"]),
    Figure("8 mixtures of 3 in one batch, over the base", "serve_batch", _wall("batch_of_8", "mixtures_of_3_over_base"),
           1.35, False, "×", limit=lambda r: round(1 / r["batch_of_8"]["byte_limit"], 3)),
    Figure("first use of a composition, p50", "composition_cache", lambda r: r["first_use"]["ours_ms"]["p50"], 1.0, False,
           " ms", lambda r: f"PEFT {r['first_use']['peft_cat_ms']['p50']} ms"),
    Figure("lookup of a composition, p99", "composition_cache", lambda r: r["lookup_us"]["p99"], 10.0, False, " µs"),
    Figure("4× more compositions than slots, share of the in-cache pace", "composition_cache",
           lambda r: r["share_of_in_cache_throughput"], 0.5, True),
    Figure("cold load to servable, most adapters loaded", "cold_load", lambda r: _load_most(r)["ours_ms"]["median"], 10.0,
           False, " ms", _peft_load),
    Figure("cold load, 1,000 registered over 1", "cold_load", lambda r: r["registered_most_over_least"], 1.2, False, "×"),
    Figure("hot swaps: failed, torn or stale answers", "hot_swap", _swap_faults, 0, False),
    Figure("hot swaps: p99 over that without", "hot_swap", lambda r: r["p99_ratio"], 1.2, False, "×"),
    Figure("memory per extra adapter, over its file", "adapter_memory", lambda r: r["resident_over_file"], 1.15, False,
           "×", lambda r: f"PEFT {r['peft_resident_over_file']}×"),
    Figure("tensor bytes per composition", "adapter_memory", lambda r: r["ours"]["composition"]["tensor_bytes"], 0, False,
           " B", lambda r: f"PEFT {r['peft']['composition']['tensor_bytes']:,} B"),
    Figure("request gate over one adapter", "request_gate", lambda r: r["ours"]["gate_over_one_adapter"], 1.05, False, "×",
           lambda r: f"X-LoRA {r['peft']['xlora_over_one_adapter']}×"),
    Figure("token gate over one adapter, batch of 8", "token_gate", lambda r: r["rows_8"]["gate_over_one_adapter"], 1.5,
           False, "×", lambda r: f"PEFT Arrow {r['rows_8']['peft_arrow_over_one_adapter']}×"),
    Figure("1 hot tenant, 31 cold: largest over mean wait", "fairness", lambda r: r["fair"]["largest_over_mean_wait"], 2.0,
           False, "×", lambda r: f"first come, first served: {r['cold_waits_less_by']}× as long a wait"),
    Figure("load test: failed, torn or stale answers", "load_test", _swap_faults, 0, False,
           peer=lambda r: f"p50 {r['p50_ms']} ms, p99 {r['p99_ms']} ms, {r['tokens_per_s']} tokens/s"),
    Figure("what the runtime adds, p50", "runtime_overhead", lambda r: r["overhead_p50_ms"], 2.0, False, " ms"),
)  # fmt: skip


def load_of(result: Result) -> float:
    """The load average that a script told, before it began where it told both: afterwards its own is in it."""
    told = result.get("load_average", result.get("load_1min", float("inf")))
    return float(told[0] if isinstance(told, list) else told)


def quiet_load() -> float:
    """The load average below which a machine counts as quiet."""
    return 1 + QUIET_LOAD * (os.cpu_count() or 1)


def wait_for_quiet() -> None:
    """Until the load of the script before has faded, but not for ever."""
    until = time.monotonic() + QUIET_WAIT_S
    while os.getloadavg()[0] > quiet_load() and time.monotonic() < until:
        time.sleep(1)


def is_quiet(result: Result) -> bool:
    """Whether a figure may be quoted: measured in full, and with little else running."""
    return not result.get("quick", True) and load_of(result) <= quiet_load()


def tell(figure: Figure, results: Mapping[str, Result]) -> Told:
    """One row; what no script printed is not measured (a quick run leaves things out)."""
    sign = "≥ " if figure.at_least else "≤ " if figure.goal else ""
    goal = f"{sign}{figure.goal:g}{figure.unit}"
    try:
        result = results[figure.script]
        value, limit = figure.read(result), figure.limit(result)
    except KeyError:
        return Told(figure.what, figure.script, None, goal, None, figure.unit, "", None, None, False)
    share = None
    if limit and value > 0:
        share = round(value / limit if figure.at_least else limit / value, 3)
    met = value >= figure.goal if figure.at_least else value <= figure.goal
    return Told(
        figure.what,
        figure.script,
        value,
        goal,
        met,
        figure.unit,
        figure.peer(result),
        limit,
        share,
        is_quiet(result),
    )


def table(rows: list[Told]) -> str:
    """Markdown; only quiet figures are shown."""
    lines = ["| what | measured | goal | share of the limit | beside it |", "|---|---|---|---|---|"]
    for row in rows:
        measured, share, peer = NOT_MEASURED, "–", ""
        if row.quiet and row.measured is not None:
            measured = f"{row.measured:g}{row.unit}" + ("" if row.met else " (missed)")
            share = "–" if row.share_of_the_limit is None else f"{row.share_of_the_limit:g} of {row.limit:g}"
            peer = row.peer
        lines.append(f"| {row.what} (`{row.script}.py`) | {measured} | {row.goal} | {share} | {peer} |")
    return "\n".join(lines)


def plot(rows: list[Told]) -> str:
    """Bars of the shares of the limits as SVG; a row that was not measured quietly has no bar."""
    shown = [row for row in rows if row.quiet and row.share_of_the_limit is not None]
    height = 40 + 34 * max(1, len(shown))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="720" height="{height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        '<text x="10" y="22">Share of the limit that memory traffic sets</text>',
    ]
    if not shown:
        parts.append(f'<text x="10" y="52" fill="#666">{NOT_MEASURED}</text>')
    for place, row in enumerate(shown):
        share, top = row.share_of_the_limit or 0.0, 36 + 34 * place
        width = round(300 * min(share, 1.2))
        parts.append(f'<text x="10" y="{top + 17}">{escape(row.what)}</text>')
        parts.append(f'<rect x="360" y="{top}" width="{width}" height="24" fill="#4269d0"/>')
        parts.append(f'<text x="{366 + width}" y="{top + 17}">{share:g}</text>')
    return "\n".join([*parts, "</svg>", ""])


def write(rows: list[Told]) -> None:
    """Table and plot into the guide. What stands outside the markers is left as it is."""
    text = GUIDE.read_text("utf-8")
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise SystemExit(f"{GUIDE} lacks the markers {BEGIN} and {END}")
    GUIDE.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", encoding="utf-8")
    PLOT.write_text(plot(rows), encoding="utf-8")


def read_results(folder: Path) -> dict[str, Result]:
    """What lies in the folder, by script."""
    found = {name: folder / f"{name}.json" for name in RUNS}
    return {name: json.loads(path.read_text("utf-8")) for name, path in found.items() if path.exists()}


def run_all(*, quick: bool, keep: Path | None) -> tuple[dict[str, Result], dict[str, str]]:
    """Results by script, and the last words of those that failed."""
    results, failures = {}, {}
    for name, words in RUNS.items():
        print(f"# {name}", file=sys.stderr)
        if not quick:
            wait_for_quiet()
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / f"{name}.py"),
            *(["--quick"] if quick else words),
        ]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            failures[name] = (done.stderr or done.stdout).strip()[-500:]
            continue
        results[name] = {"quick": quick, **json.loads(done.stdout)}
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{name}.json").write_text(json.dumps(results[name], indent=2), encoding="utf-8")
    return results, failures


def main() -> None:
    """Collect, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="run the scripts with --quick")
    parser.add_argument("--from", dest="folder", type=Path, help="read NAME.json from here and run nothing")
    parser.add_argument("--keep", type=Path, help="leave what each script printed here")
    parser.add_argument("--write", action="store_true", help="put what was measured quietly into the guide")
    options = parser.parse_args()
    if options.folder is not None:
        results, failures = read_results(options.folder), {}
    else:
        results, failures = run_all(quick=options.quick, keep=options.keep)
    rows = [tell(figure, results) for figure in FIGURES]
    if options.write:
        write(rows)
    print(
        json.dumps(
            {"benchmark": "serving_report", "rows": [asdict(row) for row in rows], "failed": failures},
            indent=2,
        )
    )
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
