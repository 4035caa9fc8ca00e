"""Rows of a CSV file: a header, then one record per row, which may span lines inside quotes."""

import csv
from collections.abc import Iterator

from core.datasets.rows import Fault, FileLimits, Row, problem_of_text, refused

DELIMITERS = (",", ";", "\t", "|")


class _BrokenLine(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def detect_delimiter(text: str, name: str) -> str:
    """The only one of , ; tab | in the header; "," when there is one column. Raises RefusedFileError."""
    bare = _outside_quotes(text.split("\n", 1)[0])
    found = [delimiter for delimiter in DELIMITERS if delimiter in bare]
    if len(found) > 1:
        shown = " and ".join("tab" if delimiter == "\t" else delimiter for delimiter in found)
        raise refused(
            name,
            f"Its header holds {shown}, so it is not clear what separates the columns.",
            "Put column names that hold such signs in quotes.",
        )
    return found[0] if found else ","


def read_csv(
    lines: Iterator[tuple[int, str | Fault]], delimiter: str, limits: FileLimits
) -> Iterator[Row | Fault]:
    """Rows as text by column name. A broken quote or line ends the reading, and the last fault says so."""
    reader = csv.reader(_texts(lines), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        begin = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Fault(begin, f"{_reason(error)}; reading stopped here")
            return
        except _BrokenLine as broken:
            yield Fault(broken.fault.line, f"{broken.fault.reason}; reading stopped here")
            return
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            if reason := _problem_of_header(header, limits):
                yield Fault(begin, f"{reason}; reading stopped here")
                return
        else:
            yield _record(begin, header, cells)


def _record(line: int, header: list[str], cells: list[str]) -> Row | Fault:
    if len(cells) != len(header):
        return Fault(line, f"it has {len(cells)} values where the header names {len(header)} columns")
    for cell in cells:
        if reason := problem_of_text(cell):
            return Fault(line, reason)
    return Row(line, dict(zip(header, cells, strict=True)))


def _texts(lines: Iterator[tuple[int, str | Fault]]) -> Iterator[str]:
    for _number, line in lines:
        if isinstance(line, Fault):
            raise _BrokenLine(line)
        yield line


def _problem_of_header(header: list[str], limits: FileLimits) -> str:
    if len(header) > limits.keys:
        return f"it has more than {limits.keys} columns"
    if "" in header:
        return f"column {header.index('') + 1} has no name"
    twice = [name for name in header if header.count(name) > 1]
    return f"the column «{twice[0][:80]}» appears twice" if twice else ""


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "field limit" in text:
        return f"a value has more than {csv.field_size_limit():,} characters (is a closing quote missing?)"
    if "unexpected end" in text:
        return "a quote is not closed"
    return f"it is not valid CSV ({text})"


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])
