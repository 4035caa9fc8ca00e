"""Rows of Parquet files and of the first sheet of Excel workbooks (XLSX)."""

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from core.datasets.rows import BROKEN, Fault, FileLimits, Row, problem_of_text, problem_of_value, refused
from core.harmonize.source.open import open_source
from core.harmonize.source.records import LINE, SourceLimits

PARQUET_START = b"PAR1"
ZIP_START = b"PK\x03\x04"
WORKBOOK_PART = "xl/workbook.xml"
SLICE_ROWS = 5000
DAMAGE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def read_parquet(path: Path, limits: FileLimits, name: str) -> Iterator[Row | Fault]:
    """Rows as the file types them; `line` is the number of the row. Raises RefusedFileError."""
    damaged = refused(name, "Its Parquet data is damaged or cut off.", "Write or copy it again.")
    try:
        scan = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        count = int(scan.select(pl.len()).collect().item())
        columns = len(scan.collect_schema())
    except DAMAGE:
        raise damaged from None
    if count > limits.rows:
        raise refused(name, f"It has more than {limits.rows:,} rows.", "Split it into several files.")
    if columns > limits.keys:
        raise refused(name, f"It has more than {limits.keys:,} columns.")
    for start in range(0, count, SLICE_ROWS):
        try:
            rows = scan.slice(start, SLICE_ROWS).collect()
        except DAMAGE:
            raise damaged from None
        for number, values in enumerate(rows.iter_rows(named=True), start=start + 1):
            yield _checked(number, {key: _plain(value) for key, value in values.items()}, limits)


def require_workbook(path: Path, name: str) -> None:
    """Raise RefusedFileError for a zip archive that is no Excel workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise refused(
            name, "It is a zip archive or an Excel workbook, and damaged.", "Save it again."
        ) from None
    if WORKBOOK_PART not in parts:
        raise refused(name, "It is a zip archive, and not an Excel workbook.", "Unpack it first.")


def read_workbook(path: Path, limits: FileLimits, name: str) -> Iterator[Row | Fault]:
    """Rows of the first sheet that holds anything, as text; `line` is the row of the sheet. Raises RefusedFileError."""
    bounds = SourceLimits(unpacked_bytes=limits.unpacked_bytes, rows=limits.rows, columns=limits.keys)
    with TemporaryDirectory() as folder:
        source = open_source(path, work_dir=Path(folder), name=name, limits=bounds)
        broken = [Fault(row.line, row.reason, BROKEN) for row in source.broken]
        if source.broken_count > len(broken):
            raise refused(name, f"{source.broken_count:,} of its rows cannot be read.", "Save it as CSV.")
        rows = source.frame.collect().sort(LINE)
        found = (_text_row(values) for values in rows.iter_rows(named=True))
        yield from sorted([*broken, *found], key=lambda row: row.line)


def _text_row(values: dict[str, Any]) -> Row | Fault:
    line = int(values.pop(LINE))
    texts = {key: "" if value is None else str(value) for key, value in values.items()}
    reason = next((reason for text in texts.values() if (reason := problem_of_text(text))), "")
    return Fault(line, reason, BROKEN) if reason else Row(line, dict(texts))


def _checked(number: int, values: dict[str, Any], limits: FileLimits) -> Row | Fault:
    reason = problem_of_value(values, limits)
    return Fault(number, reason, BROKEN) if reason else Row(number, values)


def _plain(value: Any) -> Any:
    """A Parquet value as JSON would hold it; a list of key-value structs stays a list."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | timedelta):
        return str(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
