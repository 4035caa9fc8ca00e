"""How fast a raw file becomes RMIS, against hand-written polars pipelines and a Python row loop on the same file.

    python benchmarks/harmonize_speed.py [--rows 1000000] [--repeats 5] [--loop-rows 100000] [--only product]

One generated CSV of simulated events (seeded): 12 rules with times of mixed offsets, micros, enum codes, 18-digit ids,
thousands separators and qualifiers; Parquet out. One hand-written pipeline only converts and trusts every value, the
other also counts what did not fit, adds up before and after and takes digests. All run in turn on the same file. Prints
JSON: median and best rows per second, their ratios, CPU seconds, and the peak memory of a process of its own that
harmonizes the file once. The product's time is that of the whole command: opening and checking the file, writing,
totals, findings, digests.
"""

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

from core.harmonize.apply import run_harmonize
from core.harmonize.records import Mapping
from core.harmonize.sinks import GROUP_ROWS
from core.harmonize.source.open import open_source
from core.storage.files import sha256_of

EVENTS = {"imp": "impression", "clk": "click", "buy": "purchase", "atc": "add_to_cart"}
PLACES = {"K1": "sponsored_product", "K2": "video", "K3": "ctv", "K4": "audio"}
DEVICES = {"Phone": "mobile", "Desk": "desktop"}
CLICK_14 = {"window_click_days": 14, "touch": "click"}
RULES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("event_time", "ts", {"op": "to_utc", "format": "iso", "grain": "event"}, {}),
    ("type", "event_type", {"op": "enum_map", "map": EVENTS}, {}),
    ("place", "placement_type", {"op": "enum_map", "map": PLACES}, {}),
    ("device", "device", {"op": "enum_map", "map": DEVICES}, {}),
    ("campaign", "campaign_id", {"op": "string_id"}, {}),
    ("adgroup", "ad_group_id", {"op": "string_id"}, {}),
    ("sku", "sku", {"op": "string_id"}, {}),
    ("spend_micros", "cost", {"op": "divide", "by": 1_000_000}, {}),
    ("imps", "impressions", {"op": "none"}, {}),
    ("clicks", "clicks", {"op": "none"}, {}),
    ("units14", "attributed_units", {"op": "none"}, CLICK_14),
    ("sales14", "attributed_sales", {"op": "parse_number", "strip": ","}, CLICK_14),
]
MAPPING = Mapping.model_validate(
    {
        "retailer": "Simulated",
        "network": "Simulated Ads",
        "currency": "USD",
        "rules": [
            {"source_field": field, "target": target, "transform": transform, "qualifiers": qualifiers}
            for field, target, transform, qualifiers in RULES
        ],
    }
)


def generate(path: Path, rows: int, seed: int = 41) -> None:
    """Simulated events, written in chunks; the same for the same seed."""
    draw = random.Random(seed)
    campaigns = [draw.randrange(10**17, 10**18) for _ in range(400)]
    groups = [draw.randrange(10**6, 10**7) for _ in range(3000)]
    skus = [f"A{draw.randrange(10**6, 10**7)}" for _ in range(20_000)]
    offsets = (("Z", 0), ("+02:00", 7200), ("-05:00", -18000))
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([rule[0] for rule in RULES])
        for _ in range(rows):
            text, shift = draw.choice(offsets)
            wall = datetime.fromtimestamp(1_772_400_000 + draw.randrange(28 * 86_400) + shift, UTC)
            clicks = draw.randrange(50)
            writer.writerow(
                (
                    wall.strftime("%Y-%m-%dT%H:%M:%S") + text,
                    draw.choice(tuple(EVENTS)),
                    draw.choice(tuple(PLACES)),
                    draw.choice(tuple(DEVICES)),
                    draw.choice(campaigns),
                    draw.choice(groups),
                    draw.choice(skus),
                    draw.randrange(5_000_000),
                    clicks + draw.randrange(500),
                    clicks,
                    draw.randrange(9),
                    f"{draw.randrange(900_000) / 100:,.2f}",
                )
            )


def product(path: Path, out: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        source = open_source(path, work_dir=Path(folder))
        report = run_harmonize(source, MAPPING, None, out=out, format="parquet", work_dir=Path(folder))
    if not report.conserved or report.rejected_values:
        raise SystemExit(f"the benchmark's own file did not come out whole: {report}")
    return report.rows_out


def converted(*, strict: bool) -> dict[str, pl.Expr]:
    """RMIS column → hand-written conversion of the rule's field; not strict: null where a value does not fit."""
    at = pl.col

    def coded(field: str, table: dict[str, str]) -> pl.Expr:
        return at(field).replace_strict(table) if strict else at(field).replace_strict(table, default=None)

    return {
        "ts": at("event_time").str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=strict),
        "event_type": coded("type", EVENTS),
        "placement_type": coded("place", PLACES),
        "device": coded("device", DEVICES),
        "campaign_id": at("campaign"),
        "ad_group_id": at("adgroup"),
        "sku": at("sku"),
        "impressions": at("imps").cast(pl.Int64, strict=strict),
        "clicks": at("clicks").cast(pl.Int64, strict=strict),
        "cost": at("spend_micros").cast(pl.Int64, strict=strict) / 1_000_000,
        "attributed_units": at("units14").cast(pl.Int64, strict=strict),
        "attributed_sales": at("sales14")
        .str.replace_all(",", "", literal=True)
        .cast(pl.Float64, strict=strict),
    }


def hand_rows(path: Path, raw: pl.LazyFrame, *, strict: bool) -> pl.LazyFrame:
    """The product's columns."""
    rows = raw.select(
        grain=pl.lit("event"),
        account_timezone=pl.lit("UTC"),
        retailer=pl.lit("Simulated"),
        network=pl.lit("Simulated Ads"),
        currency=pl.lit("USD"),
        window_click_days=pl.lit(14),
        touch=pl.lit("click"),
        file=pl.lit(path.name),
        line=pl.col("line"),
        **converted(strict=strict),
    )
    return rows.with_columns(date_local=pl.col("ts").dt.date())


def hand_written(path: Path, out: Path) -> int:
    """What somebody writes for this one file who knows polars and trusts every value. The same columns, no account."""
    raw = pl.scan_csv(path, infer_schema=False, row_index_name="line", row_index_offset=2)
    hand_rows(path, raw, strict=True).sink_parquet(
        out, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS
    )
    return int(pl.scan_parquet(out).select(pl.len()).collect().item())


def hand_accounted(path: Path, out: Path) -> int:
    """The same by somebody who trusts no value: of each column how many values there are and how many did not fit, of
    each measure the total before and after, the digests of both files. No traps, no lineage of findings."""
    raw = pl.scan_csv(path, infer_schema=False, row_index_name="line", row_index_offset=2)
    writing = hand_rows(path, raw, strict=False).sink_parquet(
        out, compression="zstd", compression_level=1, row_group_size=GROUP_ROWS, lazy=True
    )
    made = converted(strict=False)
    there = {target: field for field, target, _, _ in RULES} | {"ts": "event_time"}
    counts = [pl.len().alias("rows")]
    for target, value in made.items():
        field = pl.col(there[target])
        counts += [
            field.count().alias(f"{target}.given"),
            (field.is_not_null() & value.is_null()).sum().alias(f"{target}.unfit"),
        ]
    for target in ("impressions", "clicks", "cost", "attributed_units", "attributed_sales"):
        plain = (
            pl.col(there[target]).str.replace_all(",", "", literal=True).cast(pl.Decimal(38, 6), strict=False)
        )
        counts.append(plain.sum().alias(f"{target}.before"))
    _, told = pl.collect_all([writing, raw.select(counts)], engine="streaming")
    sums = ("impressions", "clicks", "cost", "attributed_units", "attributed_sales")
    after = pl.scan_parquet(out).select(pl.len(), *(pl.col(name).sum() for name in sums)).collect()
    if any(told[f"{target}.unfit"].item() for target in made):
        raise SystemExit("the benchmark's own file did not come out whole")
    sha256_of(path), sha256_of(out)
    return int(after["len"].item())


def row_loop(path: Path, rows: int) -> int:
    """A Python loop over the first rows, which keeps them as dictionaries and writes nothing."""
    made: list[dict[str, Any]] = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            if len(made) == rows:
                break
            ts = datetime.fromisoformat(row["event_time"]).astimezone(UTC)
            made.append(
                {
                    "ts": ts,
                    "date_local": date(ts.year, ts.month, ts.day),
                    "grain": "event",
                    "event_type": EVENTS[row["type"]],
                    "placement_type": PLACES[row["place"]],
                    "device": DEVICES[row["device"]],
                    "campaign_id": row["campaign"],
                    "ad_group_id": row["adgroup"],
                    "sku": row["sku"],
                    "impressions": int(row["imps"]),
                    "clicks": int(row["clicks"]),
                    "cost": int(row["spend_micros"]) / 1_000_000,
                    "currency": "USD",
                    "attributed_units": int(row["units14"]),
                    "attributed_sales": float(row["sales14"].replace(",", "")),
                    **CLICK_14,
                    "line": line,
                }
            )
    return len(made)


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    """(seconds, CPU seconds, rows)."""
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return time.perf_counter() - wall, time.process_time() - cpu, rows


def figures(runs: list[tuple[float, float, int]]) -> dict[str, float]:
    rates = [rows / wall for wall, _, rows in runs]
    return {
        "rows_per_s_median": round(statistics.median(rates)),
        "rows_per_s_best": round(max(rates)),
        "cpu_s_per_million_rows": round(min(cpu / rows for _, cpu, rows in runs) * 1e6, 3),
        "runs": len(runs),
    }


def peak_mb(path: Path, folder: Path) -> float:
    """Peak resident memory, in MB, of a process that harmonizes the file once."""
    arguments = [sys.executable, __file__, "--child", str(path), str(folder / "child.parquet")]
    told = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
    return float(json.loads(told)["peak_mb"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--loop-rows", type=int, default=100_000)
    parser.add_argument("--only", choices=("all", "product"), default="all")
    parser.add_argument("--child", nargs=2, metavar=("FILE", "OUT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        rows = product(Path(given.child[0]), Path(given.child[1]))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"rows": rows, "peak_mb": round(peak, 1)}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "events.csv", Path(folder) / "rows.parquet"
        generate(path, given.rows)
        runs: dict[str, list[tuple[float, float, int]]] = {
            "product": [],
            "hand_written": [],
            "hand_accounted": [],
            "row_loop": [],
        }
        for _ in range(given.repeats):
            runs["product"].append(timed(lambda: product(path, out)))
            if given.only == "all":
                runs["hand_written"].append(timed(lambda: hand_written(path, out)))
                runs["hand_accounted"].append(timed(lambda: hand_accounted(path, out)))
                runs["row_loop"].append(timed(lambda: row_loop(path, min(given.rows, given.loop_rows))))
        told: dict[str, Any] = {name: figures(found) for name, found in runs.items() if found}
        result = {
            "rows": given.rows,
            "file_mb": round(path.stat().st_size / 2**20, 1),
            "threads": pl.thread_pool_size(),
            "polars": pl.__version__,
            **told,
            "peak_mb": peak_mb(path, Path(folder)),
        }
        for other in ("hand_written", "hand_accounted", "row_loop"):
            if other in told:
                result[f"times_{other}"] = {
                    "by_median": round(
                        told["product"]["rows_per_s_median"] / told[other]["rows_per_s_median"], 2
                    ),
                    "by_best": round(told["product"]["rows_per_s_best"] / told[other]["rows_per_s_best"], 2),
                    "by_cpu": round(
                        told[other]["cpu_s_per_million_rows"] / told["product"]["cpu_s_per_million_rows"], 2
                    ),
                }
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
