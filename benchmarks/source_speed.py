"""How fast raw files of every layout are opened, and what the look beforehand costs against the scan itself.

    python benchmarks/source_speed.py [--rows 1000000] [--repeat 3] [--memory]

Generates events of ten columns as CSV, quoted CSV, CSV with one broken row in a thousand, JSONL and a JSON list,
opens each and reads it once. Prints JSON: for each file seconds and processor seconds to open it (digest and look
included) and to scan it, rows per second, and for the plain file the look alone as a part of the scan. With
--memory only the plain CSV is opened and streamed, and the most memory held is told, with and without file pages.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

import core.harmonize.source.text as source_text
from core.harmonize.source.layout import find_layout
from core.harmonize.source.open import Source, SourceLimits, open_source

NAMES = [
    "ts",
    "campaign_id",
    "ad_group",
    "placement",
    "clicks",
    "impressions",
    "cost",
    "sku",
    "event",
    "store",
]
NUMBERS = {"campaign_id", "clicks", "impressions", "cost"}


def events() -> Callable[[int], list[str]]:
    draws = random.Random(7).sample(range(10_000), 97)

    def event(i: int) -> list[str]:
        draw = draws[i % 97]
        return [
            f"2026-03-{i % 28 + 1:02d}T{i % 24:02d}:{draw % 60:02d}:00+02:00",
            str(123456789012345678 + i),
            f"Group {draw}",
            ("search", "browse", "home")[draw % 3],
            str(draw % 7),
            str(i % 1000),
            f"{draw % 500}.{i % 100:02d}",
            f"{i % 5000:08d}",
            ("click", "impression")[draw % 2],
            f"store {draw % 50}",
        ]

    return event


def as_json(values: list[str]) -> str:
    parts = (f'"{n}": {v}' if n in NUMBERS else f'"{n}": "{v}"' for n, v in zip(NAMES, values, strict=True))
    return "{" + ", ".join(parts) + "}"


def write(folder: Path, kind: str, rows: int) -> Path:
    event, path = events(), folder / kind
    with path.open("w") as file:
        if kind in ("csv", "broken_csv"):
            file.write(",".join(NAMES) + "\n")
            for i in range(rows):
                file.write(
                    ("x," if kind == "broken_csv" and i % 1000 == 500 else "") + ",".join(event(i)) + "\n"
                )
        elif kind == "quoted_csv":
            file.write(",".join(NAMES) + "\n")
            file.writelines(",".join(f'"{v}"' for v in event(i)) + "\n" for i in range(rows))
        elif kind == "jsonl":
            file.writelines(as_json(event(i)) + "\n" for i in range(rows))
        else:
            file.write("[" + ",\n".join(as_json(event(i)) for i in range(rows)) + "]")
    return path


def best(work: Callable[[], Any], repeat: int) -> dict[str, float]:
    seconds, busy = [], []
    for _ in range(repeat):
        begin, began = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - begin)
        busy.append(time.process_time() - began)
    return {"seconds": round(min(seconds), 3), "processor_seconds": round(min(busy), 3)}


def read(source: Source) -> None:
    source.frame.select(pl.all().null_count()).collect(engine="streaming")


def resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(folder: Path, rows: int, repeat: int) -> dict[str, Any]:
    found: dict[str, Any] = {"rows": rows}
    for kind in ("csv", "quoted_csv", "broken_csv", "jsonl", "json"):
        path, sources = write(folder, kind, rows), []
        opening = best(lambda: sources.append(open_source(path, work_dir=folder / "work")), repeat)  # noqa: B023
        scan = best(lambda: read(sources[0]), repeat)  # noqa: B023
        found[kind] = {
            "megabytes": round(path.stat().st_size / 1e6, 1),
            "broken": sources[0].broken_count,
            "open": opening,
            "scan": scan,
            "rows_per_second_to_open": round(rows / opening["seconds"]),
        }
        if kind == "csv":
            layout = find_layout(path, kind, SourceLimits())
            look = best(lambda: source_text._probe(path, layout, "", SourceLimits()), repeat * 2)  # noqa: B023
            table = best(lambda: sources[0].frame.collect(engine="streaming"), repeat)  # noqa: B023
            for name, part in (("scan", scan), ("whole_table", table)):
                found[kind][f"look_as_part_of_{name}"] = {
                    unit: round(look[unit] / part[unit], 3) for unit in ("seconds", "processor_seconds")
                }
        path.unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not given.memory:
            print(json.dumps(measure(folder, given.rows, given.repeat), indent=2))
            return
        path = write(folder, "csv", given.rows)
        before = resident("VmRSS")
        source = open_source(path, work_dir=folder / "work")
        opened = resident("VmHWM")
        source.frame.sink_parquet(folder / "out.parquet")
        told = {
            "rows": given.rows,
            "megabytes": round(path.stat().st_size / 1e6),
            "resident_mb": {"before": before, "peak_open": opened, "peak_streamed": resident("VmHWM")},
            "resident_mb_without_file_pages_at_the_end": resident("RssAnon"),
        }
        print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
