"""Reading CSV, TSV and their kin: a plain streaming scan where that is proven to be right, else with care."""

import codecs
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from core.harmonize.source.bytes import from_windows_1252, line_blocks
from core.harmonize.source.careful import CarefulReader
from core.harmonize.source.check import check_block
from core.harmonize.source.layout import Layout, find_layout, scan_text
from core.harmonize.source.parts import BrokenLog, Parts, check_rows
from core.harmonize.source.records import LINE, LINE_TYPE, SourceKind, SourceLimits, Table

_BLOCK_BYTES = 256 << 10  # stays in the cache of one core


@dataclass(frozen=True, slots=True)
class _Probe:
    """A text that a plain scan reads rightly: its rows, whether it has quotes, whether blank lines end it."""

    rows: int
    quoted: bool
    blank_end: bool


def open_text(path: Path, folder: Path, name: str, limits: SourceLimits, log: BrokenLog) -> Table:
    """The table of a text in UTF-8 or windows-1252. Raises RefusedFileError where there is none."""
    note = ""
    layout = find_layout(path, name, limits)
    probe = _probe(path, layout, name, limits)
    if probe is None and from_windows_1252(path, folder / "text.csv"):
        path, note = folder / "text.csv", "The file is not UTF-8; it was read as windows-1252."
        layout = find_layout(path, name, limits)
        probe = _probe(path, layout, name, limits)
    notes = tuple(part for part in (note, *layout.notes) if part)
    kind = SourceKind.TSV if layout.delimiter == "\t" else SourceKind.CSV
    if probe is not None:
        return Table(kind, layout.columns, _plain(path, layout, probe), probe.rows, notes)
    parts = Parts(folder, name, limits)
    CarefulReader(layout, limits, parts, log).read(path)
    footer = _footer(log, layout)
    return Table(kind, layout.columns, parts.scan(layout.columns), parts.rows, notes + footer)


def _probe(path: Path, layout: Layout, name: str, limits: SourceLimits) -> _Probe | None:
    if not (layout.valid and layout.plain_above):
        return None
    newline, rows, quoted, blank_end = layout.grid.newline, 0, False, False
    blank = (newline * 2, newline + b"\r" + newline)
    for block, whole in line_blocks(path, newline, layout.data_byte, _BLOCK_BYTES, limits):
        if not whole or (not rows and block.startswith(codecs.BOM_UTF8)):  # a scan would take that away
            return None
        if blank_end or block.endswith(blank) or block in (b"\n", b"\r\n", b"\r"):
            # Blank lines are no rows; where they stand at the very end the scan stops before them.
            last = block.rstrip(b"\r\n")
            if blank_end and last:
                return None
            found = check_block(last + newline, layout.grid) if last else 0
            blank_end = True
        else:
            found = check_block(block, layout.grid)
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
    scanned = scan_text(path, layout, quoted=probe.quoted, rows=probe.rows if probe.blank_end else None)
    return scanned.select(*layout.columns, LINE)


def _footer(log: BrokenLog, layout: Layout) -> tuple[str, ...]:
    """A note where the last rows of a file are broken because they are no rows of the table."""
    lines = [row.line for row in log.last if row.reason.startswith("it has 1 value")]
    if not lines or log.last[-1].line != lines[-1] or len(layout.columns) < 3:
        return ()
    first = lines[-1]
    while first - 1 in lines:
        first -= 1
    return (f"The last lines, from line {first} on, look like a footer; they are listed as broken rows.",)
