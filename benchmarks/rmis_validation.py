"""How fast a harmonized table is checked against RMIS.

    python benchmarks/rmis_validation.py [--rows 1000000] [--repeats 3]

Prints JSON: seconds (median of the repeats) for clean rows, for the same rows with faults in them, and for rows
whose times are text. The rows are generated, 20 columns.
"""

import argparse
import json
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.rmis.frames import validate_frame


def generate(rows: int) -> pl.DataFrame:
    number = pl.int_range(rows, eager=False)
    start = datetime(2026, 3, 1, tzinfo=UTC)
    return pl.select(
        (pl.lit(start) + pl.duration(seconds=number)).alias("ts"),
        pl.lit("day").alias("grain"),
        pl.lit("aggregate").alias("event_type"),
        pl.lit("Retailer Alpha").alias("retailer"),
        pl.lit("onsite").alias("channel"),
        pl.lit("sponsored_product").alias("placement_type"),
        pl.lit("mobile").alias("device"),
        (number % 900 + 123_456_789_012_345_000).cast(pl.String).alias("campaign_id"),
        (number % 9000 + 1_000_000).cast(pl.String).alias("ad_group_id"),
        (number % 50_000).cast(pl.String).str.zfill(14).alias("upc"),
        (number % 50_000 + 5_000_000).cast(pl.String).alias("sku"),
        (number % 1000 + 100).alias("impressions"),
        (number % 90).alias("clicks"),
        (number % 7000 / 100).alias("cost"),
        pl.lit("USD").alias("currency"),
        (number % 9).alias("attributed_units"),
        (number % 9000 / 10).alias("attributed_sales"),
        pl.lit(14).alias("window_click_days"),
        pl.lit("click").alias("touch"),
        pl.lit("total").alias("sku_scope"),
    )


def seconds(frame: pl.DataFrame, repeats: int) -> float:
    took = []
    for _ in range(repeats):
        started = time.perf_counter()
        validate_frame(frame)
        took.append(time.perf_counter() - started)
    return round(statistics.median(took), 3)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    clean = generate(given.rows)
    faulty = clean.with_columns(
        pl.when(pl.col("clicks") == 7).then(5000).otherwise("clicks").alias("clicks"),
        pl.when(pl.col("clicks") == 8).then(pl.lit("tv2")).otherwise("device").alias("device"),
        pl.when(pl.col("clicks") == 9).then(None).otherwise("currency").alias("currency"),
    )
    as_text = clean.with_columns(pl.col("ts").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    figures = {
        "rows": given.rows,
        "columns": clean.width,
        "threads": pl.thread_pool_size(),
        "clean_s": seconds(clean, given.repeats),
        "faulty_s": seconds(faulty, given.repeats),
        "times_as_text_s": seconds(as_text, given.repeats),
        "problems_of_clean": len(validate_frame(clean).problems),
        "problems_of_faulty": [problem.rule for problem in validate_frame(faulty).problems],
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
