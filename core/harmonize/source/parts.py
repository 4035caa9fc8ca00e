"""Where rows go that no plain scan can read: good ones to Parquet parts, broken ones to a list and a CSV file."""

import csv
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import polars as pl

from core.harmonize.source.records import (
    BROKEN_KEPT,
    LINE,
    LINE_TYPE,
    BrokenRow,
    SourceLimits,
    refused,
    shown,
)

#: Broken rows at the end of a file that are looked at for a footer.
_TAIL = 20
#: Rows that are held before they are written.
_PART_BYTES = 16 << 20


class BrokenLog:
    """Broken rows of one source: the first ones in memory, all of them in `folder`/broken.csv.

    The file holds the raw text as it stood there, so it is no export for a spreadsheet program.
    """

    def __init__(self, folder: Path, limits: SourceLimits) -> None:
        self.count = 0
        self.first: list[BrokenRow] = []
        self.last: deque[BrokenRow] = deque(maxlen=_TAIL)
        self._path = folder / "broken.csv"
        self._limit = limits.line_bytes
        self._file: TextIO | None = None

    def add(self, line: int, reason: str, raw: bytes | str) -> None:
        """Count and keep one broken row; `line` is where it begins, from 1."""
        row = BrokenRow(line, reason, shown(raw))
        self.count += 1
        self.last.append(row)
        if len(self.first) < BROKEN_KEPT:
            self.first.append(row)
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8", newline="")
            csv.writer(self._file).writerow(("line", "reason", "raw"))
        csv.writer(self._file).writerow((line, reason, shown(raw, self._limit)))

    def close(self) -> Path | None:
        """The file of all broken rows; None where there are none."""
        if self._file is None:
            return None
        self._file.close()
        self._file = None
        return self._path


class Parts:
    """Rows on their way into Parquet files of one folder; every column is text, columns may come later."""

    def __init__(self, folder: Path, name: str, limits: SourceLimits) -> None:
        self.rows = 0
        self._folder, self._name, self._limits = folder, name, limits
        self._files: list[Path] = []
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes = 0

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows: text columns and LINE. Raises RefusedFileError beyond the bound of rows."""
        if not frame.height:
            return
        self.rows += frame.height
        check_rows(self.rows, self._name, self._limits)
        self._waiting.append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        if self._waiting_bytes > _PART_BYTES:
            self._write()

    def scan(self, columns: Sequence[str]) -> pl.LazyFrame:
        """All rows in order with `columns` and LINE; a value that a row does not have is null."""
        self._write()
        schema: dict[str, type[pl.DataType]] = {**dict.fromkeys(columns, pl.String), LINE: LINE_TYPE}
        if not self._files:
            return pl.LazyFrame(schema=schema)
        return pl.scan_parquet(self._files, schema=schema, missing_columns="insert", glob=False)

    def _write(self) -> None:
        if self._waiting:
            file = self._folder / f"part-{len(self._files):06d}.parquet"
            whole = pl.concat(self._waiting, how="diagonal")
            whole.write_parquet(file, compression="uncompressed", statistics=False)
            self._files.append(file)
            self._waiting, self._waiting_bytes = [], 0


def text_frame(
    columns: Sequence[str], cells: Sequence[Sequence[str | None]], lines: Sequence[int]
) -> pl.DataFrame:
    """Columns of texts and their LINE as a frame; empty texts become null."""
    texts = {
        name: pl.Series(name, [cell or None for cell in column], pl.String)
        for name, column in zip(columns, cells, strict=True)
    }
    return pl.DataFrame({**texts, LINE: pl.Series(LINE, lines, LINE_TYPE)})


def check_rows(rows: int, name: str, limits: SourceLimits) -> None:
    """Raise RefusedFileError when a source has more rows than allowed."""
    if rows > limits.rows:
        raise refused(name, f"It has more than {limits.rows:,} rows.", "Split it up.")
