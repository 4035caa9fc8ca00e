"""Files to rows: JSONL, JSON, CSV and TSV, plain or gzipped, Parquet and XLSX; never guessed silently.

What a file is follows from its first bytes, never from its name. A row that cannot be read becomes a `Fault`
with its line; nothing is dropped without one.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core.datasets import csv_rows, json_rows, sheets
from core.datasets.rows import Fault, FileLimits, Row, numbered_lines, open_unpacked, refused

HEAD_BYTES = 1 << 18
GZIP_START = b"\x1f\x8b"
BINARY_STARTS = (
    (b"PK\x03\x04", "a zip archive inside a gzip file"),
    (b"PAR1", "a Parquet file inside a gzip file"),
    (b"ARROW1", "an Arrow file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\x1f\x8b", "a gzip file inside a gzip file"),
)


class FileFormat(StrEnum):
    """How the rows of a file are written."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True)
class FileShape:
    """What a file was found to be. `delimiter` is set for CSV only."""

    format: FileFormat
    compressed: bool
    delimiter: str = ""

    @property
    def suffix(self) -> str:
        """The ending that says what is in the file."""
        return f".{self.format}" + (".gz" if self.compressed else "")

    def __str__(self) -> str:
        """In words."""
        words = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
        separated = f" separated by {words[self.delimiter]}" if self.delimiter else ""
        return f"{self.format.upper()}{separated}{', packed with gzip' if self.compressed else ''}"


def read_rows(path: Path, limits: FileLimits = FileLimits(), *, name: str = "") -> Iterator[Row | Fault]:
    """All rows of a file in order. Raises RefusedFileError (for the whole file), which calls it `name`."""
    name = name or path.name
    shape = detect_format(path, name=name)
    for count, row in enumerate(_rows(path, shape, limits, name), start=1):
        if count > limits.rows:
            raise refused(name, f"It has more than {limits.rows:,} rows.", "Split it into several files.")
        yield row


def detect_format(path: Path, *, name: str = "") -> FileShape:
    """Format, compression and delimiter, from the first 256 KiB. Raises RefusedFileError with the reason."""
    name = name or path.name
    with path.open("rb") as raw:
        start = raw.read(4)
    if start == sheets.PARQUET_START:
        return FileShape(FileFormat.PARQUET, False)
    if start == sheets.ZIP_START:
        sheets.require_workbook(path, name)
        return FileShape(FileFormat.XLSX, False)
    compressed = start[:2] == GZIP_START
    with open_unpacked(path, compressed, name) as file:
        head = file.read(HEAD_BYTES)
    _refuse_binary(name, head)
    text = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode(head)
    stripped = text.lstrip()
    if not stripped:
        raise refused(name, "It is empty.")
    if stripped[0] == "[":
        return FileShape(FileFormat.JSON, compressed)
    if stripped[0] == "{":
        first, more, _ = stripped.partition("\n")
        whole = bool(more) or len(head) < HEAD_BYTES
        document = whole and json_rows.is_open_document(first)
        return FileShape(FileFormat.JSON if document else FileFormat.JSONL, compressed)
    return FileShape(FileFormat.CSV, compressed, csv_rows.detect_delimiter(stripped, name))


def _rows(path: Path, shape: FileShape, limits: FileLimits, name: str) -> Iterator[Row | Fault]:
    if shape.format is FileFormat.PARQUET:
        yield from sheets.read_parquet(path, limits, name)
        return
    if shape.format is FileFormat.XLSX:
        yield from sheets.read_workbook(path, limits, name)
        return
    with open_unpacked(path, shape.compressed, name) as file:
        lines = numbered_lines(file, limits, name)
        if shape.format is FileFormat.CSV:
            yield from csv_rows.read_csv(lines, shape.delimiter, limits)
        elif shape.format is FileFormat.JSON:
            yield from json_rows.read_document(file, name, limits)
        else:
            yield from json_rows.read_lines(lines, limits)


def _refuse_binary(name: str, head: bytes) -> None:
    for start, kind in BINARY_STARTS:
        if head.startswith(start):
            raise refused(name, f"It is {kind}.")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise refused(name, "It is text in UTF-16.", "Save it as UTF-8.")
    if b"\0" in head:
        raise refused(name, "It is not a text file: it holds NUL bytes.")
