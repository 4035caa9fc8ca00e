"""Rows of Parquet files and of the first sheet of Excel workbooks (XLSX)."""

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from core.datasets.rows import BROKEN, Fault, FileLimits, Row, problem_of_text, problem_of_value, refused

PARQUET_START = b"PAR1"
ZIP_START = b"PK\x03\x04"
WORKBOOK_PART = "xl/workbook.xml"
SLICE_ROWS = 5000


def read_parquet(path: Path, limits: FileLimits, name: str) -> Iterator[Row | Fault]:
    """Rows as the file types them; `line` is the number of the row. Raises RefusedFileError."""
    damaged = refused(name, "Its Parquet data is damaged or cut off.", "Write or copy it again.")
    try:
        scan = pl.scan_parquet(path)
        count = int(scan.select(pl.len()).collect().item())
        columns = len(scan.collect_schema())
    except (pl.exceptions.PolarsError, OSError):
        raise damaged from None
    if count > limits.rows:
        raise refused(name, f"It has more than {limits.rows:,} rows.", "Split it into several files.")
    if columns > limits.keys:
        raise refused(name, f"It has more than {limits.keys:,} columns.")
    for start in range(0, count, SLICE_ROWS):
        try:
            rows = scan.slice(start, SLICE_ROWS).collect()
        except (pl.exceptions.PolarsError, OSError):
            raise damaged from None
        for number, values in enumerate(rows.iter_rows(named=True), start=start + 1):
            yield _checked(number, {key: _plain(value) for key, value in values.items()}, limits)


def require_workbook(path: Path, name: str) -> None:
    """Raise RefusedFileError for a zip archive that is no Excel workbook."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        raise refused(name, "It is a zip archive or an Excel workbook, and damaged.", "Save it again.") from None
    if WORKBOOK_PART not in parts:
        raise refused(name, "It is a zip archive, and not an Excel workbook.", "Unpack it first.")


def read_workbook(path: Path, limits: FileLimits, name: str) -> Iterator[Row | Fault]:
    """Rows of the first sheet as text; `line` is the row of the sheet. Raises RefusedFileError."""
    with zipfile.ZipFile(path) as archive:
        if sum(part.file_size for part in archive.infolist()) > limits.unpacked_bytes:
            raise refused(name, f"It holds more than {limits.unpacked_bytes >> 20:,} MB unpacked.", "Split it up.")
    grid = _grid(path, name)
    header: list[str] | None = None
    for number, cells in enumerate(grid, start=1):
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            while header and not header[-1]:
                header.pop()
            if reason := problem_of_header(header, limits):
                yield Fault(number, f"{reason}; reading stopped here")
                return
        elif any(cells[len(header) :]):
            yield Fault(number, f"it has more values than the header names columns ({len(header)})")
        else:
            row = dict(zip(header, cells[: len(header)], strict=True))
            reason = next((reason for cell in cells if (reason := problem_of_text(cell))), "")
            yield Fault(number, reason) if reason else Row(number, dict(row))


def problem_of_header(header: list[str], limits: FileLimits) -> str:
    """Why these column names cannot be used, or an empty string."""
    if len(header) > limits.keys:
        return f"it has more than {limits.keys} columns"
    if "" in header:
        return f"column {header.index('') + 1} has no name"
    seen: set[str] = set()
    twice = next((name for name in header if name in seen or seen.add(name)), None)  # type: ignore[func-returns-value]
    return f"the column «{twice[:80]}» appears twice" if twice else ""


def _grid(path: Path, name: str) -> Iterator[list[str]]:
    """All cells of the first sheet as text, row by row from the first one of the sheet."""
    try:
        import fastexcel
    except ImportError:
        raise refused(name, "Excel workbooks need the package fastexcel, which is not installed.", "Save it as CSV.") from None
    try:
        sheet = fastexcel.read_excel(str(path)).load_sheet(0, header_row=None, dtypes="string", skip_rows=0)
        frame = sheet.to_polars()
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, OSError):
        raise refused(name, "Its sheet cannot be read.", "Save it again, or as CSV.") from None
    for cells in frame.iter_rows():
        yield ["" if cell is None else str(cell) for cell in cells]


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
