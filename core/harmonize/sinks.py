"""Rows to CSV or Parquet, streamed, whole or not at all, and the same bytes for the same rows."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import polars as pl

from core.errors import InvalidInputError
from core.storage.files import sync_directory

RowFormat = Literal["parquet", "csv"]

#: Rows of one group of a Parquet file: a fixed number, so that the file does not depend on threads.
GROUP_ROWS = 131_072
ISO = "%Y-%m-%dT%H:%M:%S%.fZ"
# What a spreadsheet may take for a formula, also behind blanks, quotes and separators (OWASP; ASVS 1.2.10).
_FORMULA = r"^'*[\s\x00\x{a0}\x{feff}\x{200b}\"',;|]*[=+\-@\t\r\n\x00\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"
_NUMBER = r"^[+-]?[0-9]+(?:[.,][0-9]+)?$"


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


@contextmanager
def staged_file(final: Path) -> Iterator[Path]:
    """A temporary file beside `final` that is synced and renamed when the block ends well, and goes otherwise."""
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=final.parent, prefix=f".{final.name}.", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)
    sync_directory(final.parent)


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


def formula_safe(text: pl.Expr) -> pl.Expr:
    """Text with ' before whatever a spreadsheet could run."""
    risky = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
    return pl.when(risky).then(pl.lit("'") + text).otherwise(text)


def beside(out: Path, word: str, suffix: str | None = None) -> Path:
    """<stem>.<word>.<ext> beside a file."""
    return out.with_name(f"{out.stem}.{word}{suffix or out.suffix}")
