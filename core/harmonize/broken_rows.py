"""Rows of a source that could not be read, written beside the harmonized ones: nothing is lost silently."""

from pathlib import Path

import polars as pl

from core.harmonize import sinks
from core.harmonize.records import Mapping
from core.harmonize.source.records import Source
from core.rmis.vocabularies import TransformOp
from core.storage.files import staged_file


def export_broken(source: Source, mapping: Mapping, out: Path) -> Path | None:
    """`<stem>.broken.csv` beside `out`: line, reason and raw text of every broken row; None where there is none.

    Under a mapping that pseudonymizes, the raw text stays out: nobody knows in which part of a broken row the
    person is named. One that an earlier run left is removed.
    """
    path = out.with_name(f"{out.stem}.broken.csv")
    if source.broken_file is None or not source.broken_count:
        path.unlink(missing_ok=True)
        return None
    rows = pl.scan_csv(source.broken_file, infer_schema=False, glob=False)
    if any(rule.transform.op is TransformOp.PSEUDONYMIZE for rule in mapping.rules):
        rows = rows.drop("raw")
    with staged_file(path) as part:
        typed = rows.with_columns(pl.col("line").cast(pl.UInt64))
        pl.collect_all([sinks.sink(typed, part, "csv")], engine="streaming")
    return path
