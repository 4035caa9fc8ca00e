"""Reading delimited text that is not regular: block by block, and row by row only where something is wrong."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from core.harmonize.source.bytes import BLOCK_BYTES, line_blocks
from core.harmonize.source.check import check_block, is_utf8, regular_lines
from core.harmonize.source.delimited import read_record
from core.harmonize.source.layout import Layout, scan_text
from core.harmonize.source.parts import BrokenLog, Parts, text_frame
from core.harmonize.source.records import LINE, LINE_TYPE, SourceLimits

_LARGE_PIECE, _SMALL_PIECE = 256 << 10, 16 << 10
Places = NDArray[np.int64]


@dataclass(slots=True)
class CarefulReader:
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
        for block, whole in line_blocks(
            path, layout.grid.newline, layout.data_byte, BLOCK_BYTES, self.limits
        ):
            if whole:
                self._block(block, _LARGE_PIECE)
            else:
                self._rows(self.open, final=True)
                self.log.add(self.line, f"the line is longer than {self.limits.line_bytes:,} bytes", block)
                self.line += 1
            self._keep()
        self._rows(self.open, final=True)
        self._keep()

    def _block(self, block: bytes, size: int) -> None:
        """Rows of whole lines. Where something is wrong, only the piece around it is read row by row."""
        for piece in _pieces(block, self.layout.grid.newline, size):
            text = self.open + piece
            rows = check_block(text, self.layout.grid)
            if rows is not None:
                self._regular(text, np.arange(self.line, self.line + rows, dtype=np.int64))
                self.line, self.open = self.line + rows, b""
            elif self._is_simple(text):
                self._lines(text)
            elif size > _SMALL_PIECE:
                self._block(piece, _SMALL_PIECE)
            else:
                self._rows(text, final=False)

    def _is_simple(self, text: bytes) -> bool:
        """Whether each line of a text is a row by itself or broken, whatever the lines around it are."""
        if b'"' in text or b"\0" in text or not is_utf8(text):
            return False
        if self.layout.grid.newline == b"\r":
            return b"\n" not in text
        return text.count(b"\r") == text.count(b"\r\n")

    def _lines(self, text: bytes) -> None:
        lines = text.splitlines(keepends=True)
        regular = regular_lines(text, self.layout.grid)
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
            frames.append(scan_text(text, self.layout, quoted=b'"' in text).collect().with_columns(numbers))
        if self.cells:
            by_column = list(zip(*self.cells, strict=True))
            frames.append(text_frame(self.layout.columns, by_column, self.numbers))
        if frames:
            self.parts.add(pl.concat(frames).sort(LINE) if len(frames) > 1 else frames[0])
        self.texts, self.places, self.cells, self.numbers = [], [], [], []

    def _broken_or_blank(self, raw: bytes, line: int) -> None:
        if raw.strip(b"\r\n"):
            record = read_record([raw.decode()], 0, self.layout.delimiter, len(self.layout.columns))
            self.log.add(line, self._reason([raw], record.reason if record else ""), raw)

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
