"""Reading JSONL and JSON documents: objects of the same form all at once, any other object on its own."""

import codecs
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from core.harmonize.source.bytes import BLOCK_BYTES, head_of, line_blocks
from core.harmonize.source.check import is_utf8
from core.harmonize.source.document import find_rows, objects_of, opened
from core.harmonize.source.json_forms import Form, form_of
from core.harmonize.source.json_rows import BadRow, Flat, flatten
from core.harmonize.source.parts import BrokenLog, Parts
from core.harmonize.source.records import LINE, LINE_TYPE, SourceKind, SourceLimits, Table, refused

#: Forms that are kept for a file, and lines below which a form is not worth its expression.
_MOST_FORMS, _FEW = 16, 50
#: Line, reason and text of a broken row.
Broken = tuple[int, str, bytes | str]


class JsonRows:
    """Turns JSON objects into rows of texts; holds the forms and columns that it has met."""

    def __init__(self, parts: Parts, log: BrokenLog, limits: SourceLimits) -> None:
        self._parts, self._log, self._limits = parts, log, limits
        self._forms: list[Form] = []
        self._broken: list[Broken] = []
        self._columns: dict[str, None] = {}

    def add(self, objects: pl.Series, numbers: pl.Series, broken: Sequence[Broken] = ()) -> None:
        """Rows of some objects, each given as text with the line on which it begins.

        `broken` are rows among them that were found broken before; null stands for the text of such a row.
        """
        numbers, objects = numbers.filter(objects.is_not_null()), objects.drop_nulls()
        self._broken = list(broken)
        # Until the end LINE holds a row's place among these: several objects may begin on one line.
        order = pl.Series(LINE, range(len(objects)), LINE_TYPE)
        lines = pl.DataFrame([objects.alias("line"), order])
        frames: list[pl.DataFrame] = []
        for form in list(self._forms):
            lines = self._take(form, lines, frames)
        while lines.height >= _FEW and len(self._forms) < _MOST_FORMS:
            new = self._form(lines["line"][0])
            if new is None:
                break
            self._forms.append(new)
            lines = self._take(new, lines, frames)
        frames += self._one_by_one(lines, numbers)
        if len(frames) > 1:
            frames = [pl.concat(frames, how="diagonal").sort(LINE)]
        for frame in frames:
            self._parts.add(frame.with_columns(numbers.gather(frame[LINE]).alias(LINE)))
        for row in sorted(self._broken, key=lambda row: row[0]):
            self._log.add(*row)

    def _take(self, form: Form, lines: pl.DataFrame, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """The lines that do not have the form; rows of those that do go to `frames`."""
        if not lines.height:
            return lines
        rows, found = form.take(lines["line"])
        if found.any():
            frames.append(rows.with_columns(lines[LINE]).filter(found))
        return lines.filter(~found)

    def _form(self, text: str) -> Form | None:
        form = form_of(text, self._limits)
        if form is None or form in self._forms or self._too_many(dict.fromkeys(form.columns)):
            return None
        return form

    def _one_by_one(self, lines: pl.DataFrame, places: pl.Series) -> list[pl.DataFrame]:
        rows: list[Flat] = []
        numbers: list[int] = []
        for text, place in zip(lines["line"], lines[LINE], strict=True):
            try:
                row = flatten(text, self._limits)
                if self._too_many(row):
                    raise BadRow(f"with it the source has more than {self._limits.columns:,} columns")
            except BadRow as bad:
                self._broken.append((places[place], str(bad), text))
                continue
            rows.append(row)
            numbers.append(place)
        if not rows:
            return []
        names = dict.fromkeys(name for row in rows for name in row)
        columns = [pl.Series(name, [row.get(name) for row in rows], pl.String) for name in names]
        return [pl.DataFrame([*columns, pl.Series(LINE, numbers, LINE_TYPE)])]

    def _too_many(self, row: Flat) -> bool:
        """Whether a row would bring more columns than allowed; if not, its columns are known from now on."""
        new = row.keys() - self._columns.keys()
        if len(self._columns) + len(new) > self._limits.columns:
            return True
        self._columns.update(dict.fromkeys(name for name in row if name in new))
        return False

    def columns(self) -> tuple[str, ...]:
        """Names in the order in which they were met."""
        return tuple(self._columns)


def open_lines(path: Path, folder: Path, name: str, limits: SourceLimits, log: BrokenLog) -> Table:
    """The table of a JSONL file: one object for each line that is not blank."""
    parts = Parts(folder, name, limits)
    rows, line = JsonRows(parts, log, limits), 1
    head = head_of(path)
    newline = b"\r" if b"\r" in head and b"\n" not in head else b"\n"
    start = 3 if head.startswith(codecs.BOM_UTF8) else 0
    too_long = f"the line is longer than {limits.line_bytes:,} bytes"
    for block, whole in line_blocks(path, newline, start, BLOCK_BYTES, limits):
        if not whole:
            log.add(line, too_long, block)
            line += 1
            continue
        texts, broken = _decoded(block.split(newline)[:-1], line)
        numbers = pl.Series(LINE, range(line, line + len(texts)), LINE_TYPE)
        long = texts.str.len_bytes() > limits.line_bytes
        pairs = zip(numbers.filter(long), texts.filter(long), strict=True)
        broken += [(number, too_long, text) for number, text in pairs]
        kept = ~long & (texts.str.strip_chars(" \t\r\n").str.len_bytes() > 0)
        rows.add(texts.filter(kept), numbers.filter(kept), broken)
        line += len(texts)
    columns = rows.columns()
    return Table(SourceKind.JSONL, columns, parts.scan(columns), parts.rows)


def open_document(path: Path, folder: Path, name: str, limits: SourceLimits, log: BrokenLog) -> Table | None:
    """The table of one JSON document: a list of objects, alone or inside an envelope, or one object.

    None where the text goes on after the first object, as JSONL does. Raises RefusedFileError.
    """
    size = path.stat().st_size
    if size > limits.document_bytes:
        why = f"A JSON document may have {limits.document_bytes >> 20:,} MB."
        raise refused(name, why, "Save it as JSONL, which has no such bound.")
    parts = Parts(folder, name, limits)
    rows = JsonRows(parts, log, limits)
    with opened(path) as text:
        found = find_rows(text)
        if found.goes_on:
            return None
        for objects, numbers, endings in objects_of(text, found, limits):
            texts, broken = _decoded(objects, numbers)
            rows.add(texts, pl.Series(LINE, numbers, LINE_TYPE), [*broken, *endings])
    if not parts.rows and log.count and not found.listed:
        raise refused(name, f"Its only row is broken: {log.first[0].reason}.", "Correct it.")
    columns = rows.columns()
    return Table(SourceKind.JSON, columns, parts.scan(columns), parts.rows, found.notes)


def _decoded(raw: Sequence[bytes], numbers: Sequence[int] | int) -> tuple[pl.Series, list[Broken]]:
    """The texts of some rows, null where one is not UTF-8. `numbers` are their lines, or the first of them."""
    whole = b"\n".join(raw)
    if is_utf8(whole):
        return pl.Series("line", whole.decode("utf-8").split("\n") if raw else [], pl.String), []
    texts: list[str | None] = []
    broken: list[Broken] = []
    for place, row in enumerate(raw):
        try:
            texts.append(row.decode("utf-8"))
        except UnicodeDecodeError as error:
            number = numbers + place if isinstance(numbers, int) else numbers[place]
            broken.append((number, f"byte {error.start + 1} of the row is not UTF-8", row))
            texts.append(None)
    return pl.Series("line", texts, pl.String), broken
