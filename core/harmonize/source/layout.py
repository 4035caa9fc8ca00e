"""How a delimited text is laid out, found in its first lines, and the scan that such a layout allows."""

import codecs
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from core.harmonize.source.bytes import head_of
from core.harmonize.source.check import Grid, is_utf8
from core.harmonize.source.header import find_delimiter, find_header, head_rows
from core.harmonize.source.records import LINE, SourceLimits, refused

_CALLED = {";": "semicolons", "\t": "tabs", "|": "pipes"}


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of the columns, where data begins (line from 1, byte from 0), and what lines of data look like.

    `valid`: the lines that were looked at are UTF-8; `plain_above`: those above the data end as the others do.
    """

    grid: Grid
    columns: tuple[str, ...]
    data_line: int
    data_byte: int
    notes: tuple[str, ...]
    valid: bool
    plain_above: bool

    @property
    def delimiter(self) -> str:
        """What separates cells."""
        return self.grid.delimiter.decode()


def find_layout(path: Path, name: str, limits: SourceLimits) -> Layout:
    """The layout of a text by its first lines. Raises RefusedFileError where it has none."""
    raw, newline = _first_lines(path, name, limits)
    head = b"".join(raw)
    # Split by the signs at which the bytes were split, and by no others.
    texts = io.StringIO(head.decode("utf-8", "replace").removeprefix("\ufeff"), newline="").readlines()
    delimiter = find_delimiter(texts)
    header = find_header(head_rows(texts, delimiter))
    columns = len(header.columns)
    if columns > limits.columns:
        raise refused(
            name, f"It has {columns:,} columns; at most {limits.columns:,} are read.", "Split it up."
        )
    above = b"".join(raw[: header.data_line - 1])
    called = (f"Columns are separated by {_CALLED[delimiter]}.",) if delimiter in _CALLED else ()
    return Layout(
        grid=Grid(delimiter.encode(), newline, columns, limits.line_bytes),
        columns=header.columns,
        data_line=header.data_line,
        data_byte=len(above) or (len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0),
        notes=called + header.notes,
        valid=is_utf8(head),
        plain_above=newline == b"\r" or above.count(b"\r") == above.count(b"\r\n"),
    )


def _first_lines(path: Path, name: str, limits: SourceLimits) -> tuple[list[bytes], bytes]:
    """Whole lines from the beginning of a file, and what ends its lines."""
    head = head_of(path)
    if b"\n" not in head and b"\r" not in head:
        head = head_of(path, limits.line_bytes)
    newline = b"\r" if b"\n" not in head and b"\r" in head else b"\n"
    lines = head.splitlines(keepends=True)
    lines = lines if len(head) == path.stat().st_size else lines[:-1]
    if not lines:
        why = f"Its first line is longer than {limits.line_bytes:,} bytes."
        raise refused(name, why, "Check that it is a table with one row on a line.")
    return lines, newline


def scan_text(source: Path | bytes, layout: Layout, *, quoted: bool, rows: int | None = None) -> pl.LazyFrame:
    """Regular lines as text columns: of a file with LINE, of some bytes without it."""
    from_file = isinstance(source, Path)
    return pl.scan_csv(
        source,
        has_header=False,
        separator=layout.delimiter,
        quote_char='"' if quoted else None,
        null_values=[""] if quoted else None,  # a quoted cell with nothing in it is blank too
        eol_char=layout.grid.newline.decode(),
        schema=dict.fromkeys(layout.columns, pl.String),
        skip_lines=layout.data_line - 1 if from_file else 0,
        n_rows=rows,
        row_index_name=LINE if from_file else None,
        row_index_offset=layout.data_line,
        glob=False,
    )
