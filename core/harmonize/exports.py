"""Harmonized rows as files for other tools: CSV that is safe to open, and Parquet."""

from pathlib import Path

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.formulas import formula_safe
from core.storage.files import staged_file

Frame = pl.LazyFrame | pl.DataFrame

PRIVATE = 0o600  # an export is for who asked for it
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def write_csv(frame: Frame, path: Path) -> Path:
    """UTF-8 CSV that is safe to open in a spreadsheet: texts are quoted and guarded, numbers stay numbers.

    Null is an empty cell, empty text is `""`. Times in UTC are written as 2026-03-04T05:06:07Z.
    """
    lazy, schema = plain_columns(frame)
    texts = [formula_safe(pl.col(name)) for name, dtype in schema.items() if dtype == pl.String]
    times = [
        pl.col(name).dt.convert_time_zone("UTC").dt.strftime(UTC_FORMAT)
        for name, dtype in schema.items()
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    ]
    names = pl.DataFrame({"name": schema.names()}, schema={"name": pl.String})
    guarded = names.select(formula_safe(pl.col("name"))).to_series().to_list()
    safe = lazy.with_columns(*texts, *times).rename(dict(zip(schema.names(), guarded, strict=True)))
    with staged_file(path, PRIVATE) as part:
        safe.sink_csv(part, quote_style="non_numeric", maintain_order=True)
    return path


def write_parquet(frame: Frame, path: Path) -> Path:
    """Parquet with zstd, in the order of the rows."""
    with staged_file(path, PRIVATE) as part:
        frame.lazy().sink_parquet(part, compression="zstd", maintain_order=True)
    return path


def plain_columns(frame: Frame) -> tuple[pl.LazyFrame, pl.Schema]:
    """Categories as text, everything else as it is. Raises InvalidInputError for columns that no table can hold."""
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    nested = [name for name, dtype in schema.items() if dtype.is_nested() or dtype in (pl.Binary, pl.Object)]
    if nested:
        raise InvalidInputError(
            f"«{nested[0][:80]}» cannot be written to a table.",
            "It holds lists, objects or bytes, not single values.",
            "Leave the column out or take it apart first.",
        )
    lazy = lazy.with_columns(
        pl.col(n).cast(pl.String) for n, t in schema.items() if isinstance(t, pl.Categorical | pl.Enum)
    )
    return lazy, lazy.collect_schema()
