"""Rows of JSON lines and of one JSON document."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from core.datasets.rows import Fault, FileLimits, Row, problem_of_value, refused

# Possessive, and an open string reaches to the end: no text makes it slow.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BLANK = re.compile(r"[ \t\r\n]*")


def read_lines(lines: Iterator[tuple[int, str | Fault]], limits: FileLimits) -> Iterator[Row | Fault]:
    """One object per line; lines of white space alone are no rows."""
    decoder = _decoder()
    for number, line in lines:
        if isinstance(line, Fault):
            yield line
        elif line.strip():
            yield _parse_line(decoder, number, line.strip(), limits)


def read_document(file: BinaryIO, name: str, limits: FileLimits) -> Iterator[Row | Fault]:
    """The objects of a list, each with the line on which it begins. Raises RefusedFileError."""
    raw = file.read(limits.document_bytes + 1)
    if len(raw) > limits.document_bytes:
        raise refused(
            name, f"A JSON document may have {limits.document_bytes >> 20} MB.", "Save it as JSONL."
        )
    try:
        text = raw.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise refused(name, f"Line {line}: it is not UTF-8.", "Save it as UTF-8.") from None
    position = _skip(text, 0)
    if text[position : position + 1] != "[":
        raise refused(name, "It is one JSON object, not a list of objects.")
    yield from _elements(text, position, name, limits)


def is_open_document(first_line: str) -> bool:
    """Whether a first line leaves its object open: a JSON document over several lines, not JSONL."""
    bare = _STRING.sub("", first_line)
    return bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]")


def _elements(text: str, position: int, name: str, limits: FileLimits) -> Iterator[Row | Fault]:
    decoder, counted, line = _decoder(), 0, 1
    position = _skip(text, position + 1)
    if text[position : position + 1] == "]":
        position = _closed(text, position, name)
        return
    while True:
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            raise refused(
                name, f"Line {_line_of(error, line)}: {_reason(error)}.", "Correct that line."
            ) from None
        yield _row(line, value, limits)
        position = _skip(text, position)
        separator, position = text[position : position + 1], _skip(text, position + 1)
        if separator == "]":
            _closed(text, position - 1, name)
            return
        if separator != ",":
            at = text.count("\n", 0, position) + 1
            raise refused(
                name, f"Line {at}: a comma or the end of the list is missing.", "Correct that line."
            )


def _closed(text: str, position: int, name: str) -> int:
    if text[position + 1 :].strip():
        raise refused(name, "There is text after the end of the list.", "Remove it.")
    return position


def _parse_line(decoder: json.JSONDecoder, number: int, line: str, limits: FileLimits) -> Row | Fault:
    try:
        return _row(number, decoder.decode(line), limits)
    except (ValueError, RecursionError) as error:
        return Fault(number, _reason(error))


def _row(line: int, value: Any, limits: FileLimits) -> Row | Fault:
    if not isinstance(value, dict):
        return Fault(line, "it is not an object with named values")
    reason = problem_of_value(value, limits)
    return Fault(line, reason) if reason else Row(line, value)


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _skip(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON ({error.msg[:1].lower()}{error.msg[1:]} at character {error.colno})"
    return str(error)[:200]


def _line_of(error: Exception, line: int) -> int:
    return error.lineno if isinstance(error, json.JSONDecodeError) else line
