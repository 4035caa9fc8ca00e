"""How long it takes to look for every trap in the sample of a large file.

    python benchmarks/find_traps.py [--rows 200000] [--columns 40] [--repeats 3]

Prints JSON: seconds (median of the repeats) with a mapping and without one, and what was found in the generated rows.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))

from core.harmonize.findings import find_traps
from core.harmonize.records import Mapping, Rule, SourceCard


@dataclass(frozen=True)
class Generated:
    columns: tuple[str, ...]
    frame: pl.LazyFrame


def generate(rows: int, columns: int) -> Generated:
    """A report as text: days, ids, names, counts, money with cents, and more measures up to `columns`."""
    n = pl.int_range(rows)
    noise = (n * 2_654_435_761) % 4_294_967_296 / 4_294_967_296
    frame = pl.select(
        (pl.date(2026, 1, 1) + pl.duration(days=n % 60)).cast(pl.String).alias("day"),
        (n % 997 + 123_456_789_012_345_678).cast(pl.String).alias("campaign_id"),
        pl.format("Campaign {} of the season", n % 997).alias("campaign_name"),
        pl.format("B{}", n % 90_000 + 10_000_000).alias("sku"),
        pl.format("2026-05-{}T{}:{}:07Z", n % 20 + 10, n % 14 + 10, n % 49 + 10).alias("event_time"),
        pl.format("{}{}", n, n % 1_000_003).alias("event_id"),
        (noise * 900 + 100).cast(pl.Int64).cast(pl.String).alias("impressions"),
        (noise * 20).cast(pl.Int64).cast(pl.String).alias("clicks"),
        (noise * 15).round(2).cast(pl.String).alias("cost"),
    )
    more = columns - frame.width
    extra = [
        ((noise * (7919 + 101 * i)) % 1 * (50 + i)).round(i % 3).cast(pl.String).alias(f"measure {i}")
        for i in range(more)
    ]
    frame = frame.with_columns(pl.select(extra)).with_row_index("__line", offset=2)
    return Generated(tuple(name for name in frame.columns if name != "__line"), frame.lazy())


def mapping(columns: tuple[str, ...]) -> Mapping:
    known = {
        "day": ("date_local", {"op": "none"}),
        "campaign_id": ("campaign_id", {"op": "string_id"}),
        "campaign_name": ("campaign_name", {"op": "none"}),
        "sku": ("sku", {"op": "string_id"}),
        "event_time": ("ts", {"op": "to_utc", "format": "iso", "source_tz": "UTC", "grain": "event"}),
        "event_id": ("event_id", {"op": "string_id"}),
        "impressions": ("impressions", {"op": "none"}),
        "clicks": ("clicks", {"op": "none"}),
        "cost": ("cost", {"op": "none"}),
    }
    rules = [Rule(source_field=n, target=known[n][0], transform=known[n][1]) for n in columns if n in known]
    rules += [Rule(source_field=n, transform={"op": "drop"}) for n in columns if n not in known]
    return Mapping(rules=tuple(rules))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, default=200_000)
    arguments.add_argument("--columns", type=int, default=40)
    arguments.add_argument("--repeats", type=int, default=3)
    given = arguments.parse_args()
    source = generate(given.rows, given.columns)
    card = SourceCard(currency="USD", account_timezone="America/New_York")
    figures: dict[str, object] = {
        "rows": given.rows,
        "columns": given.columns,
        "threads": pl.thread_pool_size(),
    }
    for name, rules in (("mapped", mapping(source.columns)), ("unmapped", None)):
        took = []
        for _ in range(given.repeats):
            started = time.perf_counter()
            found = find_traps(source, rules, card)
            took.append(time.perf_counter() - started)
        figures[f"{name}_s"] = round(statistics.median(took), 2)
        figures[f"{name}_found"] = sorted({finding.rule for finding in found})
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
