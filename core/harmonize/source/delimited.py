"""Records of delimited text, one physical line after the other, so that one bad quote costs one row."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from core.harmonize.counted import counted

#: Lines that one record may span inside quotes.
MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class Record:
    """Cells of the record that begins at one line and spans `lines` of them; `reason` where it is broken."""

    cells: list[str]
    lines: int
    reason: str = ""


def read_record(
    lines: Sequence[str], start: int, delimiter: str, columns: int | None = None
) -> Record | None:
    """The record that begins at lines[start]; lines keep their ends. None where its quote is still open.

    With `columns`, any other number of cells is broken. A broken record is one line long, whatever its quotes
    may mean: the lines after it are read on their own.
    """
    line = lines[start]
    if '"' not in line:
        return _checked(line.rstrip("\r\n").split(delimiter), 1, columns)
    alone, reason = _parsed([line], delimiter)
    if alone is not None:
        return _checked(alone, 1, columns)
    if line.count('"') % 2 == 0:
        return Record([], 1, reason)
    end = start + 1
    while end < len(lines) and end - start < MOST_LINES:
        end += 1
        if lines[end - 1].count('"') % 2:
            cells, reason = _parsed(lines[start:end], delimiter)
            if cells is None or (columns is not None and len(cells) != columns):
                return Record([], 1, "a quote is not closed" if cells else reason)
            return Record(cells, end - start)
    return Record([], 1, "a quote is not closed") if end - start >= MOST_LINES else None


def _checked(cells: list[str], lines: int, columns: int | None) -> Record:
    if columns is not None and len(cells) != columns:
        found, named = counted(len(cells), "value"), counted(columns, "column")
        return Record([], lines, f"it has {found} where the header names {named}")
    return Record(cells, lines)


def _parsed(lines: Sequence[str], delimiter: str) -> tuple[list[str] | None, str]:
    try:
        return next(csv.reader(lines, delimiter=delimiter, strict=True), []), ""
    except csv.Error as error:
        text = str(error)
    if "field limit" in text:
        return None, f"a value has more than {csv.field_size_limit():,} characters"
    if "unexpected end" in text:
        return None, "a quote is not closed"
    return None, "a quote stands inside a quoted value"
