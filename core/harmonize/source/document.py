"""The objects of a JSON document, found by its brackets without reading it as a whole."""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.harmonize.source.records import RAW_SHOWN, SourceLimits

#: Names under which services put the rows of an answer.
ENVELOPES = frozenset(
    {
        "data",
        "rows",
        "results",
        "result",
        "items",
        "records",
        "report",
        "reports",
        "response",
        "responses",
        "entries",
        "elements",
        "payload",
        "body",
        "reportdata",
        "report_data",
        "dataset",
        "hits",
    }
)
_WINDOW, _DEPTH, _TOLD, _SINGLE, _COMMA = 1 << 20, 4, 20, 16, 44
_SPACE = rb"[ \t\r\n]*"
_KEY = re.compile(_SPACE + rb'"((?:[^"\\]|\\.)*+)"' + _SPACE + rb":" + _SPACE)
_SCALAR = re.compile(rb'"((?:[^"\\]|\\.)*+)"|-?[0-9][0-9.eE+-]*+|true|false|null')
_NEXT = re.compile(_SPACE + rb"([,}])")
_BLANKS = re.compile(_SPACE)
_LIST_OF_OBJECTS = re.compile(rb"\[" + _SPACE + rb"\{")
_EMPTY_LIST = re.compile(rb"\[" + _SPACE + rb"\]")

Codes = NDArray[np.uint8]
Endings = list[tuple[int, str, bytes]]


@dataclass(frozen=True)
class RowsAt:
    """Where the rows are: after the bracket of a list, or one object from `start` to `end`.

    `goes_on`: the text has something after its first object, so it is no document.
    """

    start: int
    end: int
    listed: bool
    notes: tuple[str, ...] = ()
    goes_on: bool = False


@dataclass
class _Members:
    """What an object holds: lists of objects and objects by name with their place, scalars as text."""

    end: int = 0
    lists: list[tuple[str, int, int]] = field(default_factory=list)
    objects: list[tuple[str, int]] = field(default_factory=list)
    scalars: list[str] = field(default_factory=list)


@contextmanager
def opened(path: Path) -> Iterator[mmap.mmap]:
    """The bytes of a file without holding them in memory."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        yield text


def find_rows(text: mmap.mmap) -> RowsAt:
    """Where the rows of a document are."""
    start = _skip(text, 3 if text[:3] == b"\xef\xbb\xbf" else 0)
    if text[start : start + 1] == b"[":
        return RowsAt(start + 1, len(text), listed=True)
    end = _end_of(text, start)
    if _skip(text, end) < len(text):
        return RowsAt(start, end, listed=False, goes_on=True)
    return _inside(text, start, "", 0) or RowsAt(start, end, listed=False)


def objects_of(
    text: mmap.mmap, found: RowsAt, limits: SourceLimits
) -> Iterator[tuple[list[bytes], list[int], Endings]]:
    """(objects, the line on which each begins, what is broken as line, reason and text), a window at a time.

    Where objects share a line, their number in the list stands for it. Line ends become tabs, which JSON
    treats alike.
    """
    if not found.listed:
        line, raw = _line_at(text, found.start), text[found.start : found.end]
        allowed = len(raw) <= _SINGLE * limits.line_bytes
        why = f"the object is longer than {_SINGLE * limits.line_bytes:,} bytes"
        yield ([_one_line(raw)], [line], []) if allowed else ([], [], [(line, why, raw[: 4 * RAW_SHOWN])])
        return
    count, shared, line, counted = 0, None, 1, 0
    for spans, last in _elements(text, found.start):
        objects: list[bytes] = []
        numbers: list[int] = []
        broken: Endings = []
        for begin, end in spans:
            line, counted, before = line + _newlines(text, counted, begin), begin, line
            count += 1
            if count == 2:
                shared = before == line
            number = count if shared else line
            if end - begin > limits.line_bytes:
                why = f"the object is longer than {limits.line_bytes:,} bytes"
                broken.append((number, why, text[begin : begin + 4 * RAW_SHOWN]))
            else:
                objects.append(_one_line(text[begin:end]))
                numbers.append(number)
        if last is not None:
            broken += _ending(text, last, found)
        yield objects, numbers, broken


def _ending(text: mmap.mmap, last: int, found: RowsAt) -> Endings:
    """What is wrong with the end of a list: it is missing, or text comes after it that belongs to nothing."""
    if last < 0:
        begin = _skip(text, -last)
        raw = text[begin : begin + 4 * RAW_SHOWN]
        return [(_line_at(text, begin), "the file ends in the middle of the list", raw)]
    after = _skip(text, last)
    if found.end < len(text) or after == len(text):  # the list of an envelope, or nothing comes
        return []
    return [
        (
            _line_at(text, after),
            "there is text after the end of the list",
            text[after : after + 4 * RAW_SHOWN],
        )
    ]


def _inside(text: mmap.mmap, start: int, path: str, depth: int) -> RowsAt | None:
    """The list of rows inside an envelope; None where the object is a row itself."""
    members = _members(text, start)
    notes = tuple(f"Beside the rows: {told}" for told in members.scalars[:_TOLD])
    known = [found for found in members.lists if found[0].lower() in ENVELOPES]
    alone = members.lists if len(members.lists) == 1 and not members.scalars else []
    for name, begin, end in sorted(known or alone, key=lambda found: found[1] - found[2])[:1]:
        told = f"The rows are the list «{path}{name}»."
        others = [f"The list «{path}{other}» was not read." for other, *_ in members.lists if other != name]
        return RowsAt(begin + 1, end, True, (told, *others, *notes))
    for name, begin in members.objects:
        if name.lower() in ENVELOPES and depth < _DEPTH:
            inner = _inside(text, begin, f"{path}{name}.", depth + 1)
            if inner:
                return RowsAt(inner.start, inner.end, True, (*inner.notes, *notes))
    return None


def _members(text: mmap.mmap, start: int) -> _Members:
    """Members of the object at `start`, as far as it is well formed."""
    members, place = _Members(), start + 1
    while key := _KEY.match(text, place):
        name, place = key[1].decode("utf-8", "replace"), key.end()
        first = text[place : place + 1]
        if first in (b"{", b"["):
            end = _end_of(text, place)
            if first == b"{":
                members.objects.append((name, place))
            elif _LIST_OF_OBJECTS.match(text, place) or _EMPTY_LIST.match(text, place):
                members.lists.append((name, place, end))
            place = end
        elif scalar := _SCALAR.match(text, place):
            value = (scalar[1] if scalar[1] is not None else scalar[0]).decode("utf-8", "replace")
            members.scalars.append(f"{name}: {value}")
            place = scalar.end()
        else:
            break
        following = _NEXT.match(text, place)
        if following is None or following[1] == b"}":
            break
        place = following.end()
    return members


def _brackets(text: mmap.mmap, start: int) -> Iterator[tuple[NDArray[np.intp], Codes, NDArray[np.int64]]]:
    """Places, codes and depths (after each, 0 at `start`) of brackets and commas outside texts, by windows."""
    depth, inside, place = 0, False, start
    while place < len(text):
        window = text[place : place + _WINDOW]
        if b"\\" in window:
            # A window must not end between a backslash and what it escapes.
            if (len(window) - len(window.rstrip(b"\\"))) % 2:
                window = text[place : place + len(window) + 1]
            window = window.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        codes = np.frombuffer(window, np.uint8)
        quotes = codes == 34
        within = np.bitwise_xor.accumulate(quotes) ^ inside
        # One bit apart: [ and {, ] and }.
        signs = (codes | 32 == 123) | (codes | 32 == 125) | (codes == _COMMA)
        places = np.flatnonzero(signs & ~within)
        kinds = codes[places]
        steps = np.where(kinds == _COMMA, 0, np.where(kinds | 32 == 123, 1, -1))
        depths = np.cumsum(steps, dtype=np.int64) + depth
        yield places + place, kinds, depths
        depth = int(depths[-1]) if len(depths) else depth
        inside = bool(within[-1])
        place += len(window)


def _end_of(text: mmap.mmap, start: int) -> int:
    """The place after the bracket that closes the one at `start`; the end of the text where none does."""
    for places, _, depths in _brackets(text, start):
        closed = np.flatnonzero(depths == 0)
        if len(closed):
            return int(places[closed[0]]) + 1
    return len(text)


def _elements(text: mmap.mmap, start: int) -> Iterator[tuple[list[tuple[int, int]], int | None]]:
    """Spans of a list's elements. With the last ones comes the place after the list, or where what was cut off
    begins, as a negative number.
    """
    begin = start
    for places, kinds, depths in _brackets(text, start):
        spans: list[tuple[int, int]] = []
        bounds = np.flatnonzero((depths == -1) | ((depths == 0) & (kinds == _COMMA)))
        for index in bounds.tolist():
            place, closing = int(places[index]), bool(depths[index] == -1)
            first = _skip(text, begin)
            if not (closing and begin == start and first == place):  # [] has no element
                spans.append((first, place))
            if closing:
                yield spans, place + 1
                return
            begin = place + 1
        yield spans, None
    yield [], -begin


def _one_line(raw: bytes) -> bytes:
    return raw.strip().translate(_TABS) if b"\n" in raw or b"\r" in raw else raw.strip()


_TABS = bytes(9 if code in (10, 13) else code for code in range(256))


def _skip(text: mmap.mmap, place: int) -> int:
    blank = _BLANKS.match(text, place)
    return blank.end() if blank else place


def _newlines(text: mmap.mmap, start: int, end: int) -> int:
    return text[start:end].count(b"\n")


def _line_at(text: mmap.mmap, place: int) -> int:
    return 1 + sum(text[at : min(at + _WINDOW, place)].count(b"\n") for at in range(0, place, _WINDOW))
