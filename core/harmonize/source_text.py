"""Reading CSV, TSV and their kin: a plain streaming scan where that is proven to be right, else block by block."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.harmonize.source_bytes import BLOCK_BYTES, from_windows_1252, head_of, line_blocks
from core.harmonize.source_check import check_block, is_utf8, regular_lines
from core.harmonize.source_csv import read_record
from core.harmonize.source_header import find_delimiter, find_header, head_rows
from core.harmonize.source_parts import BrokenLog, Parts, check_rows, text_frame
from core.harmonize.source_records import (
    LINE,
    LINE_TYPE,
    SourceKind,
    SourceLimits,
    Table,
    refused,
)

_PROBE_BYTES, _PIECE_BYTES = 256 << 10, 16 << 10
Places = NDArray[np.int64]
_CALLED = {";": "semicolons", "\t": "tabs", "|": "pipes"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a text is laid out: what separates cells and lines, names, and where its data begins."""

    delimiter: str
    newline: bytes
    columns: tuple[str, ...]
    data_line: int
    data_byte: int
    notes: tuple[str, ...]
    plain_above: bool


@dataclass(frozen=True, slots=True)
class _Probe:
    """A text that a plain scan reads rightly: its rows, whether it has quotes, whether blank lines end it."""

    rows: int
    quoted: bool
    blank_end: bool


def open_text(path: Path, folder: Path, name: str, limits: SourceLimits, log: BrokenLog) -> Table:
    """The table of a text in UTF-8 or windows-1252. Raises RefusedFileError where there is none."""
    note = ""
    layout, valid = _layout(path, name, limits)
    probe = _probe(path, layout, name, limits) if valid and layout.plain_above else None
    if probe is None and from_windows_1252(path, folder / "text.csv"):
        path, note = folder / "text.csv", "The file is not UTF-8; it was read as windows-1252."
        layout, valid = _layout(path, name, limits)
        probe = _probe(path, layout, name, limits) if layout.plain_above else None
    notes = tuple(part for part in (note, *layout.notes) if part)
    kind = SourceKind.TSV if layout.delimiter == "\t" else SourceKind.CSV
    if probe is not None:
        return Table(kind, layout.columns, _plain(path, layout, probe), probe.rows, notes)
    parts = Parts(folder, name, limits)
    _Careful(layout, limits, parts, log).read(path)
    footer = _footer(log, layout)
    return Table(kind, layout.columns, parts.scan(layout.columns), parts.rows, notes + footer)


def _layout(path: Path, name: str, limits: SourceLimits) -> tuple[Layout, bool]:
    """The layout by the first lines of a file, and whether these are UTF-8."""
    head = head_of(path)
    if b"\n" not in head and b"\r" not in head:
        head = head_of(path, limits.line_bytes)
    newline = b"\r" if b"\n" not in head and b"\r" in head else b"\n"
    whole = len(head) == path.stat().st_size
    raw = head.splitlines(keepends=True) if whole else head.splitlines(keepends=True)[:-1]
    if not raw:
        raise refused(name, f"Its first line is longer than {limits.line_bytes:,} bytes.")
    valid = is_utf8(b"".join(raw))
    lines = b"".join(raw).decode("utf-8", "replace").removeprefix("\ufeff")
    texts = _as_lines(lines, len(raw))
    delimiter = find_delimiter(texts)
    header = find_header(head_rows(texts, delimiter))
    if len(header.columns) > limits.columns:
        raise refused(name, f"It has {len(header.columns):,} columns; at most {limits.columns:,} are read.")
    above = b"".join(raw[: header.data_line - 1])
    alone = newline == b"\n" and above.count(b"\r") != above.count(b"\r\n")
    called = (f"Columns are separated by {_CALLED[delimiter]}.",) if delimiter in _CALLED else ()
    notes = called + header.notes
    begin = len(above) or (3 if raw[0].startswith(codecs.BOM_UTF8) else 0)
    return Layout(delimiter, newline, header.columns, header.data_line, begin, notes, not alone), valid


def _as_lines(text: str, count: int) -> list[str]:
    """The text's physical lines with their ends, split only where the bytes were."""
    lines = io.StringIO(text, newline="").readlines()
    return lines[:count]


def _probe(path: Path, layout: Layout, name: str, limits: SourceLimits) -> _Probe | None:
    rows, quoted, blank_end = 0, False, False
    delimiter, columns = layout.delimiter.encode(), len(layout.columns)
    for block, whole in line_blocks(path, layout.newline, layout.data_byte, _PROBE_BYTES, limits):
        if not whole or (not rows and block.startswith(codecs.BOM_UTF8)):  # a scan would take that away
            return None
        last = block.rstrip(b"\r\n")
        if blank_end or len(block) - len(last) > 2 or block.endswith(layout.newline * 2):
            # Blank lines are no rows; where they stand at the very end the scan stops before them.
            if blank_end and last:
                return None
            blank_end = True
        found = check_block(last + layout.newline, delimiter, layout.newline, columns) if last else 0
        if found is None:
            return None
        rows += found
        quoted = quoted or b'"' in block
        check_rows(rows, name, limits)
    return _Probe(rows, quoted, blank_end)


def _plain(path: Path, layout: Layout, probe: _Probe) -> pl.LazyFrame:
    schema: dict[str, type[pl.DataType]] = dict.fromkeys(layout.columns, pl.String)
    if not probe.rows:
        return pl.LazyFrame(schema={**schema, LINE: LINE_TYPE})
    scanned = _scan(path, layout, quoted=probe.quoted, rows=probe.rows if probe.blank_end else None)
    return scanned.select(*layout.columns, LINE)


def _scan(source: Path | bytes, layout: Layout, *, quoted: bool, rows: int | None = None) -> pl.LazyFrame:
    from_file = isinstance(source, Path)
    return pl.scan_csv(
        source,
        has_header=False,
        separator=layout.delimiter,
        quote_char='"' if quoted else None,
        null_values=[""] if quoted else None,  # a quoted cell with nothing in it is blank too
        eol_char=layout.newline.decode(),
        schema=dict.fromkeys(layout.columns, pl.String),
        skip_lines=layout.data_line - 1 if from_file else 0,
        n_rows=rows,
        row_index_name=LINE if from_file else None,
        row_index_offset=layout.data_line,
        glob=False,
    )


@dataclass(slots=True)
class _Careful:
    """Reads block by block. `line` is the number of the next physical line, `open` the text of a record whose
    quote was not closed by the end of its piece; the lists hold the rows of one block until it is done.
    """

    layout: Layout
    limits: SourceLimits
    parts: Parts
    log: BrokenLog
    line: int = 0
    open: bytes = b""
    texts: list[bytes] = field(default_factory=list)
    places: list[Places] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def read(self, path: Path) -> None:
        """All rows of the file, good ones to the parts and broken ones to the log."""
        layout, self.line = self.layout, self.layout.data_line
        for block, whole in line_blocks(path, layout.newline, layout.data_byte, BLOCK_BYTES, self.limits):
            if whole:
                self._block(block, _PROBE_BYTES)
            else:
                self._rows(self.open, final=True)
                self.log.add(self.line, f"the line is longer than {self.limits.line_bytes:,} bytes", block)
                self.line += 1
            self._keep()
        self._rows(self.open, final=True)
        self._keep()

    def _block(self, block: bytes, size: int) -> None:
        """Rows of whole lines. Where something is wrong, only the piece around it is read row by row."""
        layout, columns = self.layout, len(self.layout.columns)
        for piece in _pieces(block, layout.newline, size):
            text = self.open + piece
            rows = check_block(text, layout.delimiter.encode(), layout.newline, columns)
            if rows is not None:
                self._regular(text, np.arange(self.line, self.line + rows, dtype=np.int64))
                self.line, self.open = self.line + rows, b""
            elif self._is_simple(text):
                self._lines(text)
            elif size > _PIECE_BYTES:
                self._block(piece, _PIECE_BYTES)
            else:
                self._rows(text, final=False)

    def _is_simple(self, text: bytes) -> bool:
        """Whether each line of a text is a row by itself or broken, whatever the lines around it are."""
        if b'"' in text or b"\0" in text or not is_utf8(text):
            return False
        if self.layout.newline == b"\r":
            return b"\n" not in text
        return text.count(b"\r") == text.count(b"\r\n")

    def _lines(self, text: bytes) -> None:
        layout, lines = self.layout, text.splitlines(keepends=True)
        regular = regular_lines(text, layout.delimiter.encode(), layout.newline, len(layout.columns))
        self._regular(b"".join(compress(lines, regular)), np.flatnonzero(regular) + self.line)
        for place in np.flatnonzero(~regular):
            self._broken_or_blank(lines[place], self.line + int(place))
        self.line, self.open = self.line + len(lines), b""

    def _regular(self, text: bytes, places: Places) -> None:
        self.texts.append(text)
        self.places.append(places)

    def _keep(self) -> None:
        """The rows held so far go to the parts, in the order of their lines."""
        frames = []
        if text := b"".join(self.texts):
            numbers = pl.Series(LINE, np.concatenate(self.places), LINE_TYPE)
            if text.startswith(codecs.BOM_UTF8):  # of a value: the reader takes one away
                text = codecs.BOM_UTF8 + text
            frames.append(_scan(text, self.layout, quoted=b'"' in text).collect().with_columns(numbers))
        if self.cells:
            by_column = list(zip(*self.cells, strict=True))
            frames.append(text_frame(self.layout.columns, by_column, self.numbers))
        if frames:
            self.parts.add(pl.concat(frames).sort(LINE) if len(frames) > 1 else frames[0])
        self.texts, self.places, self.cells, self.numbers = [], [], [], []

    def _broken_or_blank(self, raw: bytes, line: int) -> None:
        if raw.strip(b"\r\n"):
            record = read_record([raw.decode()], 0, self.layout.delimiter, len(self.layout.columns))
            self.log.add(line, record.reason if record else "a quote is not closed", raw)

    def _rows(self, block: bytes, *, final: bool) -> None:
        """Rows one after the other. An open record at the end waits for the next block unless it is final."""
        raw = block.splitlines(keepends=True)
        texts = [_decoded(line) for line in raw]
        place, self.open = 0, b""
        while place < len(raw):
            if not raw[place].strip(b"\r\n"):
                place += 1
                continue
            record = read_record(texts, place, self.layout.delimiter, len(self.layout.columns))
            rest = sum(map(len, raw[place:])) if record is None else 0
            if record is None and not final and rest <= self.limits.line_bytes:
                self.open = b"".join(raw[place:])
                break
            text = raw[place : place + (record.lines if record else 1)]
            reason = self._reason(text, record.reason if record else "a quote is not closed")
            if reason or record is None:
                self.log.add(self.line + place, reason, text[0])
                place += 1
                continue
            self.cells.append(record.cells)
            self.numbers.append(self.line + place)
            place += record.lines
        self.line += place

    def _reason(self, lines: list[bytes], reason: str) -> str:
        if sum(map(len, lines)) > self.limits.line_bytes:
            return f"the row is longer than {self.limits.line_bytes:,} bytes"
        for line in lines:
            if not is_utf8(line):
                return "it is not UTF-8"
            if b"\0" in line:
                return "it holds a NUL character"
        return reason


def _pieces(block: bytes, newline: bytes, size: int) -> Iterator[bytes]:
    """A block of whole lines in pieces of whole lines, each a little longer than `size`."""
    start = 0
    while start < len(block):
        end = block.find(newline, start + size) + 1 or len(block)
        yield block[start:end]
        start = end


def _decoded(line: bytes) -> str:
    # A line that is not UTF-8 is found broken by its bytes; here it only keeps its place.
    return line.decode("utf-8", "replace")


def _footer(log: BrokenLog, layout: Layout) -> tuple[str, ...]:
    """A note where the last rows of a file are broken because they are no rows of the table."""
    lines = [row.line for row in log.last if row.reason.startswith("it has 1 value")]
    if not lines or log.last[-1].line != lines[-1] or len(layout.columns) < 3:
        return ()
    first = lines[-1]
    while first - 1 in lines:
        first -= 1
    return (f"The last lines, from line {first} on, look like a footer; they are listed as broken rows.",)
