"""Rows to CSV or Parquet, streamed, whole or not at all, and the same bytes for the same rows."""

from pathlib import Path
from typing import Literal

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.formulas import formula_safe

RowFormat = Literal["parquet", "csv"]

#: Rows of one group of a Parquet file: a fixed number, so that the file does not depend on threads.
GROUP_ROWS = 131_072
ISO = "%Y-%m-%dT%H:%M:%S%.fZ"


def format_of(out: Path, format: str | None) -> RowFormat:
    """Of the file's name, unless it is told. Raises InvalidInputError."""
    told = (format or out.suffix.removeprefix(".")).lower()
    if told == "parquet":
        return "parquet"
    if told == "csv":
        return "csv"
    raise InvalidInputError(
        f"Rows cannot be written as «{told[:20]}».", "They are written as CSV or Parquet.", "End the name so."
    )


def sink(rows: pl.LazyFrame, path: Path, format: RowFormat) -> pl.LazyFrame:
    """The writing of rows as a query, to be collected together with others."""
    if format == "parquet":
        return rows.sink_parquet(
            path,
            compression="zstd",
            compression_level=1,
            row_group_size=GROUP_ROWS,
            maintain_order=True,
            lazy=True,
        )
    return as_csv(rows).sink_csv(
        path, quote_style="non_numeric", line_terminator="\n", maintain_order=True, lazy=True
    )


def as_csv(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Times as ISO text in UTC, text that no spreadsheet takes for a formula; numbers stay numbers."""
    shown = []
    for name, dtype in rows.collect_schema().items():
        value = pl.col(name)
        if isinstance(dtype, pl.Datetime):
            value = value.dt.strftime(ISO)
        elif dtype == pl.String:
            value = formula_safe(value)
        shown.append(value.alias(name))
    return rows.select(shown)


def scan(path: Path, format: RowFormat, like: pl.LazyFrame) -> pl.LazyFrame:
    """Rows as they were written, with the types of `like`."""
    if format == "parquet":
        return pl.scan_parquet(path, glob=False)
    schema = like.collect_schema()
    times = [name for name, dtype in schema.items() if isinstance(dtype, pl.Datetime)]
    typed = {name: pl.String() if name in times else dtype for name, dtype in schema.items()}
    rows = pl.scan_csv(path, schema=typed, glob=False)
    return rows.with_columns(
        pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us").dt.replace_time_zone("UTC")
        for name in times
    )


def beside(out: Path, word: str, suffix: str | None = None) -> Path:
    """<stem>.<word>.<ext> beside a file."""
    return out.with_name(f"{out.stem}.{word}{suffix or out.suffix}")
