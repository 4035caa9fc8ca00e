"""Reading XLSX: the archive is measured before it is opened, formulas are never evaluated, links never followed."""

import json
import os
import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO

import polars as pl

from core.harmonize.source.header import Row, find_header
from core.harmonize.source.parts import Parts, check_rows
from core.harmonize.source.records import LINE, LINE_TYPE, SourceKind, SourceLimits, Table, refused
from core.settings import PROJECT_ROOT
from core.storage.files import CHUNK_BYTES

_MEMBERS, _UNPACKED, _HEAD, _SECONDS = 5000, 2 << 30, 200, 300
_MOST_ROWS, _MOST_COLUMNS, _MOST_DIGITS = 1 << 20, 1 << 14, 7
_NO_CELL = "It names a cell that no sheet has."
#: Cells of the rectangle that a sheet spans: any number up to the first, never more than the second, and in
#: between at most so many for each cell in use. The reader allocates all of them.
_FEW_CELLS, _MOST_CELLS, _SPARSE = 1_000_000, 24_000_000, 200
_CELL = re.compile(rb'[ \t\r\n]r\s*=\s*["\']([A-Za-z]*)([0-9]+)')
_DECLARATION = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_DAY, _MOMENT = r"^\d{4}-\d\d-\d\d 00:00:00$", r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?$"
_TIME = r"^1899-12-3[01] \d\d:\d\d:\d\d(\.\d+)?$"


def open_sheets(path: Path, folder: Path, name: str, limits: SourceLimits, sheet: str | None) -> Table:
    """The table of one sheet, by default the first that holds anything. Raises RefusedFileError."""
    _check_archive(path, name, limits)
    names, chosen, cells = _read_apart(path, folder / "sheet.parquet", name, sheet)
    others = [other for other in names if other != chosen]
    notes = [f"The sheet «{chosen}» was read; the file also has {_listed(others)}."] if others else []
    parts = Parts(folder, name, limits)
    columns, more = _add_rows(cells, parts, name, limits)
    return Table(SourceKind.XLSX, columns, parts.scan(columns), parts.rows, (*notes, *more))


def _read_apart(path: Path, out: Path, name: str, sheet: str | None) -> tuple[list[str], str, pl.DataFrame]:
    """(names of the sheets, the one that was read, its cells), read by a process of its own."""
    module = "core.harmonize.source.sheet_child"
    command = [
        sys.executable,
        "-m",
        module,
        str(path.resolve()),
        str(out.resolve()),
        *([sheet] if sheet else []),
    ]
    # A stranger's file is opened there, so it is told none of this installation's settings.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RMN_")}
    environment |= {"POLARS_MAX_THREADS": "1", "PYTHONPATH": str(PROJECT_ROOT)}
    try:
        done = subprocess.run(
            command, cwd=PROJECT_ROOT, env=environment, capture_output=True, timeout=_SECONDS, check=False
        )
        told = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        raise refused(name, f"It takes more than {_SECONDS} seconds to open.", "Save it as CSV.") from None
    except ValueError:
        told = {"fault": "its reader gave up"}
    if "fault" in told:
        raise refused(name, f"It is not a sound XLSX file ({told['fault']}).", "Open and save it again.")
    names = [str(there) for there in told["sheets"]]
    if sheet is not None and sheet not in names:
        raise refused(name, f"It has no sheet «{sheet[:80]}».", f"Choose one of {_listed(names)}.")
    if told["chosen"] is None:
        raise refused(name, "It has no sheet that holds anything.", "Choose another sheet or file.")
    return names, str(told["chosen"]), pl.read_parquet(out)


def _add_rows(
    cells: pl.DataFrame, parts: Parts, name: str, limits: SourceLimits
) -> tuple[tuple[str, ...], list[str]]:
    """Data rows of a sheet go to the parts; names of the columns and notes."""
    check_rows(cells.height, name, limits)
    texts = pl.col(pl.String)
    cells = cells.with_columns(pl.when(texts == "").then(None).otherwise(texts).name.keep())
    numbered = cells.with_columns(pl.Series(LINE, range(1, cells.height + 1), LINE_TYPE))
    filled = numbered.filter(pl.any_horizontal(pl.exclude(LINE).is_not_null()))
    head = [
        Row(line, line + 1, [cell or "" for cell in row]) for *row, line in filled.head(_HEAD).iter_rows()
    ]
    header = find_header(head)
    data = filled.filter(pl.col(LINE) >= header.data_line)
    unnamed = [f"Column {place} has no name" for place in range(1, len(header.columns) + 1)]
    kept = {
        old: new
        for old, new, marker in zip(cells.columns, header.columns, unnamed, strict=True)
        if data[old].null_count() < data.height or not any(note.startswith(marker) for note in header.notes)
    }
    if len(kept) > limits.columns:
        raise refused(name, f"It has {len(kept):,} columns; at most {limits.columns:,} are read.")
    data = data.select(*kept, LINE).rename(kept)
    dated, notes = _dated(data)
    parts.add(dated)
    told = [
        n
        for n in header.notes
        if not n.startswith(tuple(unnamed)) or n.split("«")[-1].rstrip("».") in kept.values()
    ]
    return tuple(kept.values()), told + notes


def _dated(data: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Columns of dates, moments or times of day as ISO text, and a note for each."""
    notes = []
    for name in data.columns:
        if name == LINE or data[name].null_count() == data.height:
            continue
        values = data[name]
        if values.str.contains(_DAY).all():
            data = data.with_columns(values.str.head(10))
            notes.append(f"«{name}» holds dates.")
        elif values.str.contains(_TIME).all():
            data = data.with_columns(values.str.slice(11))
            notes.append(f"«{name}» holds times of day without a date.")
        elif values.str.contains(_MOMENT).all():
            data = data.with_columns(values.str.replace(" ", "T", literal=True))
            notes.append(f"«{name}» holds dates with times; a sheet does not say their time zone.")
    return data, notes


def _check_archive(path: Path, name: str, limits: SourceLimits) -> None:
    """Measure every member as it really unpacks. Raises RefusedFileError for bombs and for what is no XLSX."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS:
                raise refused(name, f"Its archive has more than {_MEMBERS:,} members.", "Save it again.")
            if "xl/workbook.xml" not in {member.filename for member in members}:
                raise refused(name, "It is a zip archive, but not an XLSX file.", "Unpack it first.")
            left = min(_UNPACKED, limits.unpacked_bytes)
            for member in members:
                if member.flag_bits & 1:
                    raise refused(name, "It is locked with a password.", "Save it without one.")
                with archive.open(member) as file:
                    left -= _measure(file, name, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError):
        raise refused(name, "Its zip data is damaged or cut off.", "Copy or save it again.") from None


def _measure(file: IO[bytes], name: str, left: int) -> int:
    """Unpacked bytes of one member. Cells must not lie so far apart that a table of them fills the memory."""
    size, cells, rows, tail, markup = 0, 0, 0, b"", False
    letters: set[bytes] = set()
    while chunk := file.read(CHUNK_BYTES):
        markup = markup if size else chunk.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b"\xff", b"\xfe")
        size += len(chunk)
        if size > left:
            raise refused(name, f"It holds more than {(left + size) >> 20:,} MB unpacked.", "Split it up.")
        if not markup:
            continue
        text = tail + chunk
        if b"\0" in text or _DECLARATION.search(text):
            raise refused(name, "Its XML is in a form that no sheet needs.", "Open and save it again.")
        found = _CELL.findall(text)
        cells += len(found)
        letters.update(column for column, _ in found)
        numbers = {row for _, row in found}
        if any(len(row) > _MOST_DIGITS for row in numbers) or any(len(column) > 3 for column in letters):
            raise refused(name, _NO_CELL, "Open and save it again.")
        rows = max((rows, *map(int, numbers)))
        tail = text[-64:]
    width = max((_place(column) for column in letters), default=0)
    if rows > _MOST_ROWS or width > _MOST_COLUMNS:
        raise refused(name, _NO_CELL, "Open and save it again.")
    if rows * width > max(_FEW_CELLS, min(_MOST_CELLS, cells * _SPARSE)):
        why = f"A sheet spans {rows:,} rows and {width:,} columns but has only {cells:,} cells in use."
        raise refused(name, why, "Delete what lies far away from the table, or save the table as CSV.")
    return size


def _place(letters: bytes) -> int:
    place = 0
    for letter in letters.upper():
        place = place * 26 + letter - 64
    return place


def _listed(names: list[str]) -> str:
    return ", ".join(f"«{other[:80]}»" for other in names[:10]) + (" and more" if len(names) > 10 else "")
