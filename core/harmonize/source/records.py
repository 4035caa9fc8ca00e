"""What a raw source is once it is open: its columns, its lazy rows, what could not be read, what was assumed."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import polars as pl

from core.errors import RefusedFileError

#: Column that says where a row begins: physical line, sheet row or row number of a Parquet file, all from 1.
LINE = "__line"
LINE_TYPE = pl.UInt32
#: Characters of a broken row that are kept.
RAW_SHOWN = 2000
#: Broken rows that are kept in memory; all of them stand in `Source.broken_file`.
BROKEN_KEPT = 1000
READABLE = "CSV, TSV, JSON, JSONL, Parquet and XLSX can be read; the text formats also packed with gzip."


class SourceKind(StrEnum):
    """Format of a source, as found in its bytes. Semicolons and pipes are CSV too."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds within which a source is read; sizes in bytes after unpacking, depth and keys for one row."""

    line_bytes: int = 1 << 20
    document_bytes: int = 1 << 30
    unpacked_bytes: int = 8 << 30
    rows: int = 200_000_000
    depth: int = 32
    keys: int = 5000
    columns: int = 5000


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not be read: where it begins, why, and its text, cut at 2,000 characters."""

    line: int
    reason: str
    raw: str


@dataclass(frozen=True)
class Source:
    """An open source. `columns` in the order of the source, dotted where nested; `frame` has them and LINE.

    `digest` is the SHA-256 of the file as given, `rows` what `frame` holds; rows + broken_count is every row
    of the file. `broken_file` is a CSV (line, reason, raw) of all broken rows. `notes` are sentences.
    """

    name: str
    kind: SourceKind
    compressed: bool
    digest: str
    size_bytes: int
    columns: tuple[str, ...]
    frame: pl.LazyFrame
    broken: tuple[BrokenRow, ...]
    broken_count: int
    broken_file: Path | None
    notes: tuple[str, ...]
    rows: int


@dataclass(frozen=True)
class Table:
    """What the reader of one format found."""

    kind: SourceKind
    columns: tuple[str, ...]
    frame: pl.LazyFrame
    rows: int
    notes: tuple[str, ...] = ()


def refused(name: str, why: str, next_step: str = READABLE) -> RefusedFileError:
    """The error for a file that cannot be read at all."""
    return RefusedFileError(f"The file {name} cannot be read.", why, next_step)


def shown(raw: bytes | str, limit: int = RAW_SHOWN) -> str:
    """The text of a broken row without its line end, at most `limit` characters; foreign bytes as \\x.. ."""
    if isinstance(raw, bytes):
        raw = raw[: 4 * limit].decode("utf-8", "backslashreplace")
    raw = raw.encode("utf-8", "backslashreplace").decode()
    return raw.rstrip("\r\n").replace("\0", "\\x00")[:limit]
