"""Rows, the faults of rows that cannot be used, and the bounds within which a file is read."""

import codecs
import gzip
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from core.errors import RefusedFileError

SUPPORTED = "JSONL, JSON (a list of objects), CSV and TSV in UTF-8 can be read, plain or gzipped; also Parquet and XLSX."
#: What kind of fault a row has.
BROKEN, NOT_UTF8, WRONG_COLUMNS, WRONG_TYPE = "parse_error", "not_utf8", "wrong_columns", "wrong_type"


_SURROGATE = re.compile("[\ud800-\udfff]")
PLAIN = frozenset({str, int, bool, type(None)})


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bounds of what is read; sizes in bytes after unpacking."""

    line_bytes: int = 1 << 20
    document_bytes: int = 32 << 20
    unpacked_bytes: int = 2 << 30
    rows: int = 2_000_000
    depth: int = 32
    keys: int = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `values` by column name, as the file says them. `line` is where it begins, from 1."""

    line: int
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used, and why. `rule` is one of the four kinds of fault."""

    line: int
    reason: str
    rule: str = BROKEN


@contextmanager
def open_unpacked(path: Path, compressed: bool, name: str) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked while reading. Raises RefusedFileError for a damaged gzip file."""
    with path.open("rb") as raw:
        if not compressed:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast(BinaryIO, file)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise refused(name, "Its gzip data is damaged or cut off.", "Pack or copy it again.") from None


def numbered_lines(file: BinaryIO, limits: FileLimits, name: str) -> Iterator[tuple[int, str | Fault]]:
    """(line number, text with its line end, or the fault of that line). Never holds more than one line."""
    number = unpacked = 0
    while raw := file.readline(limits.line_bytes + 1):
        number += 1
        unpacked += len(raw)
        fault = ""
        if len(raw) > limits.line_bytes:
            fault = f"the line is longer than {limits.line_bytes:,} bytes"
            while not raw.endswith(b"\n") and (raw := file.readline(limits.line_bytes)):
                unpacked += len(raw)
                check_unpacked(unpacked, limits, name)
        check_unpacked(unpacked, limits, name)
        if number == 1:
            raw = raw.removeprefix(codecs.BOM_UTF8)
        yield number, Fault(number, fault) if fault else _decode(number, raw)


def check_unpacked(size: int, limits: FileLimits, name: str) -> None:
    """Raise RefusedFileError when more was unpacked than allowed: a small gzip file can hold terabytes."""
    if size > limits.unpacked_bytes:
        raise refused(
            name, f"It holds more than {limits.unpacked_bytes >> 20:,} MB unpacked.", "Split it up."
        )


def problem_of_value(value: object, limits: FileLimits) -> str:
    """Why a parsed value cannot be used (too deep, too many keys, broken text …), or an empty string."""
    if isinstance(value, dict) and len(value) <= limits.keys:
        # Most rows are flat and hold nothing but text and whole numbers: no need to walk through them.
        inner = value.values()
        if all(type(each) in PLAIN for each in inner) and not any(map(problem_of_text, value)):
            return next(
                (reason for each in inner if type(each) is str and (reason := problem_of_text(each))), ""
            )
    pending: list[tuple[object, int]] = [(value, 1)]
    keys = 0
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            if reason := problem_of_text(item):
                return reason
        elif isinstance(item, float):
            if not math.isfinite(item):
                return "a number is too large"
        elif isinstance(item, dict | list):
            if depth > limits.depth:
                return f"it is nested deeper than {limits.depth} levels"
            if isinstance(item, dict):
                keys += len(item)
                pending.extend((key, depth) for key in item)
            if keys > limits.keys:
                return f"it has more than {limits.keys} keys"
            pending.extend(
                (child, depth + 1) for child in (item.values() if isinstance(item, dict) else item)
            )
    return ""


def problem_of_text(text: str) -> str:
    """Why a text cannot be stored or tokenized, or an empty string."""
    if "\0" in text:
        return "it holds a NUL character"
    if not text.isascii() and _SURROGATE.search(text):
        return "it holds half a surrogate pair"
    return ""


def refused(name: str, why: str, next_step: str = SUPPORTED) -> RefusedFileError:
    """The error for a file that cannot be read at all."""
    return RefusedFileError(f"The file {name} cannot be read.", why, next_step)


def _decode(number: int, raw: bytes) -> str | Fault:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Fault(number, f"byte {error.start + 1} of the line is not UTF-8", NOT_UTF8)
