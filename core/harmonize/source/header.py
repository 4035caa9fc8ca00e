"""Where the header of a table stands, what stands above it, what separates its columns, and their names."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from core.harmonize.source.delimited import read_record
from core.harmonize.source.records import LINE
from core.storage.text import storable

DELIMITERS = (",", ";", "\t", "|")
ONE_COLUMN = "\x1f"
_LOOKED_AT, _PREAMBLE, _NAME, _NOTE = 200, 50, 480, 500
_NUMBER = re.compile(r"[-+(]?[$€£]?\s?\d[\d.,\s]*%?\)?\Z")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ]\d.*)?\Z")
#: Least part of the rows from the header on, or of half of them without one, that have its width.
_EVEN = 0.3
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Row:
    """One parsed line of a head: number of its first line (from 1), number of the next row's line, cells."""

    line: int
    after: int
    cells: list[str]


@dataclass(frozen=True, slots=True)
class Header:
    """Names of the columns, the line on which data begins (from 1), and what was assumed."""

    columns: tuple[str, ...]
    data_line: int
    notes: tuple[str, ...]


def find_delimiter(lines: Sequence[str]) -> str:
    """What separates the columns of a text, by its first lines: the sign that gives the most even table.

    Where none does, the table has one column, and the answer is a sign that no text holds.
    """
    scores = {sign: _evenness(head_rows(lines, sign)) for sign in DELIMITERS}
    best = max(DELIMITERS, key=lambda sign: (scores[sign][1:], -DELIMITERS.index(sign)))
    return best if scores[best][0] >= _EVEN else ONE_COLUMN


def head_rows(lines: Sequence[str], delimiter: str) -> list[Row]:
    """The first rows of a text that are not blank; lines keep their ends."""
    rows: list[Row] = []
    start = 0
    while start < len(lines) and len(rows) < _LOOKED_AT:
        record = read_record(lines, start, delimiter)
        if record is None:
            break
        after = start + record.lines
        if lines[start].strip():
            rows.append(Row(start + 1, after + 1, record.cells))
        start = after
    return rows


def find_header(rows: Sequence[Row]) -> Header:
    """The header among the first rows of a table: what stands above it are notes, not data."""
    share, _, width = _evenness(rows)
    if share < _EVEN:
        width = 1
    place = _header_place(rows, width)
    above = [_told(row) for row in rows[:place]] if place is not None else []
    if place is None:
        columns = tuple(f"column {number + 1}" for number in range(max(width, 1)))
        note = "The file has no header; its columns are named by their place."
        return Header(columns, rows[0].line if rows else 1, (note,))
    cells = _fitted(rows[place].cells, width)
    columns, notes = column_names(cells)
    following = rows[place + 1].line if place + 1 < len(rows) else rows[place].after
    return Header(columns, following, (*(note for note in above if note), *notes))


def column_names(cells: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Names that are there, trimmed and different, and a note for each that was changed."""
    names: dict[str, None] = {}
    notes = []
    for place, raw in enumerate(cells, 1):
        plain = _SPACES.sub(" ", storable(raw.removeprefix("\ufeff"))).strip()[:_NAME]
        name, count = plain or f"column {place}", 1
        stem = name
        while name in names or name == LINE:
            count += 1
            name = f"{stem} ({count})"
        names[name] = None
        if not plain:
            notes.append(f"Column {place} has no name; it is called «{name}».")
        elif name != plain:
            notes.append(f"The name «{plain}» is taken; column {place} is called «{name}».")
        elif name != raw.removeprefix("\ufeff"):
            notes.append(f"The header of column {place} is {raw[:_NOTE]!r}; it is called «{name}».")
    return tuple(names), notes


def _width(rows: Sequence[Row]) -> int:
    """Cells that most rows have; the larger number where two are as frequent."""
    counts = Counter(len(row.cells) for row in rows if len(row.cells) > 1)
    return max(counts, key=lambda cells: (counts[cells], cells)) if counts else 1


def _evenness(rows: Sequence[Row]) -> tuple[float, float, int]:
    """How much the rows look like one table: part of the rows from the header on that have its width, that part
    times their number, and the width. Half of the part where there is no header.
    """
    width = _width(rows)
    if width < 2:
        return 0.0, 0.0, 1
    place = _header_place(rows, width)
    body = rows[place:] if place is not None else rows
    if width == 2 and len(body) == 1 < len(rows):  # a last line with one separator in it is no table
        return 0.0, 0.0, 1
    even = sum(len(row.cells) == width for row in body)
    share = even / max(1, len(body)) * (1.0 if place is not None else 0.5)
    return share, share * even, width


def _header_place(rows: Sequence[Row], width: int) -> int | None:
    """Index of the first row that names columns; None where the rows are all data."""
    # Rows that all end in a separator have one blank cell more than their header.
    ends_blank = all(not row.cells[-1].strip() for row in rows if len(row.cells) == width > 2)
    for place, row in enumerate(rows[:_PREAMBLE]):
        cells = _fitted(row.cells, width)
        if len(cells) != width or (len(row.cells) < width and not ends_blank):
            continue
        filled = [cell for cell in cells if cell.strip()]
        if len(filled) * 2 <= width or len(filled) < min(2, width):
            continue
        if len(filled) < width and (better := _names_below(rows, place, len(filled))):
            return better
        return None if _is_data(cells, rows[place + 1 :]) else place
    return 0 if width == 1 and rows and not _is_data(rows[0].cells, rows[1:]) else None


def _names_below(rows: Sequence[Row], place: int, filled: int) -> int | None:
    """A row soon after one with blank cells that names more columns, above rows that hold numbers or dates."""
    width = len(rows[place].cells)
    for later in range(place + 1, min(place + 10, len(rows) - 1)):
        kinds = [kind for cell in rows[later].cells if (kind := _kind(cell))]
        if len(rows[later].cells) == width and len(kinds) > filled and set(kinds) == {"text"}:
            below = {_kind(cell) for cell in rows[later + 1].cells}
            return later if below & {"number", "date"} else None
    return None


def _is_data(cells: Sequence[str], below: Sequence[Row]) -> bool:
    """Whether a row holds numbers or dates in most columns where the rows below it hold the same."""
    same = different = 0
    for place, cell in enumerate(cells):
        kinds = Counter(_kind(row.cells[place]) for row in below[:20] if place < len(row.cells))
        kinds.pop("", None)
        if not kinds:
            continue
        usual = kinds.most_common(1)[0][0]
        if usual != "text":
            same, different = same + (_kind(cell) == usual), different + (_kind(cell) != usual)
    return same > different


def _kind(cell: str) -> str:
    cell = cell.strip()
    if not cell:
        return ""
    return "date" if _DATE.match(cell) else "number" if _NUMBER.match(cell) else "text"


def _fitted(cells: list[str], width: int) -> list[str]:
    """A header's cells beside rows that end in one separator more, or a header that does."""
    if len(cells) == width - 1 and len(cells) > 1:
        return [*cells, ""]
    if len(cells) > width > 1 and not any(cell.strip() for cell in cells[width:]):
        return cells[:width]
    return cells


def _told(row: Row) -> str:
    parts = [_SPACES.sub(" ", cell).strip(" \ufeff") for cell in row.cells]
    parts = [part for part in parts if part]
    if len(parts) == 2:
        parts = [f"{parts[0].rstrip(':')}: {parts[1]}"]
    text = "; ".join(parts)[:_NOTE]
    if text.lower().startswith("sep="):
        return ""
    return f"Above the header, line {row.line}: {text}" if text else ""
