"""One JSON object as one flat row of texts, every digit as it stands; nested objects dotted, lists as JSON text."""

import json
import re
from typing import Any

from core.harmonize.source.records import LINE, SourceLimits

_BLANK = r"[ \t\r\n]*"
_STRING = r'"((?:[^"\\\x00-\x1f]++|\\.)*+)"'
NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_KEY = re.compile(f"{_BLANK}{_STRING}{_BLANK}:{_BLANK}")
_SCALAR = re.compile(f"{_STRING}|({NUMBER}|true|false)(?![0-9A-Za-z.])|null")
_NEXT = re.compile(f"{_BLANK}([,}}])")
_OPEN = re.compile(f"{_BLANK}{{{_BLANK}(}})?")
_END = re.compile(f"{_BLANK}\\Z")
_LONGEST_NAME = 480


class BadRow(Exception):
    """Why a text is no row, for the person who reads the list of broken rows."""


Flat = dict[str, str | None]


def flatten(text: str, limits: SourceLimits, shape: list[str] | None = None) -> Flat:
    """Values of one JSON object by dotted name; None for null and for empty text. Raises BadRow.

    `shape` takes the object's form in order: "{", "}", "k" with a key as it stands, "v" for a scalar and "l"
    for a list.
    """
    if shape is None and (quick := _flat_row(text, limits)) is not None:
        return quick
    row: Flat = {}
    prefixes: list[str] = []
    place = _opened(text, 0)
    form: list[str] = ["{"]
    prefix = ""
    if text[place - 1] == "}":
        return _finished(text, place, row)
    while True:
        key = _KEY.match(text, place)
        if key is None:
            raise BadRow(_why(text))
        name = _unescaped(key[1]) or "(no name)"
        path = f"{prefix}{name}"
        form.append(f"k{key[1]}")
        place = key.end()
        first = text[place : place + 1]
        if first == "{" and text[(inner := _opened(text, place)) - 1] != "}":
            prefixes.append(prefix)
            if len(prefixes) >= limits.depth:
                raise BadRow(f"it is nested deeper than {limits.depth} levels")
            prefix, place = f"{path}.", inner
            form.append("{")
            continue
        place = _value(text, place, path, row, form, limits)
        while True:
            following = _NEXT.match(text, place)
            if following is None:
                raise BadRow(_why(text))
            place = following.end()
            if following[1] == ",":
                break
            form.append("}")
            if not prefixes:
                if shape is not None:
                    shape.extend(form)
                return _finished(text, place, row)
            prefix = prefixes.pop()


def _flat_row(text: str, limits: SourceLimits) -> Flat | None:
    """The row of a simple object, read by the fast parser; None where the careful reading must say."""
    if text.count("{") != 1 or "[" in text or "\\u" in text:
        return None
    try:
        row = _FLAT.decode(text)
    except ValueError:
        return None
    if not isinstance(row, dict) or len(row) > limits.keys or LINE in row or "" in row:
        return None
    if len(text) > _LONGEST_NAME and max(map(len, row), default=0) > _LONGEST_NAME:
        return None
    for name, value in row.items():
        if value is True or value is False:
            row[name] = "true" if value else "false"
        elif not value:
            row[name] = None
    return row


def _value(text: str, place: int, path: str, row: Flat, form: list[str], limits: SourceLimits) -> int:
    """Read the scalar, list or empty object at `place` into `row`; the place after it."""
    name = f"{path} (2)" if path == LINE else path
    if name in row:
        raise BadRow("a key appears twice")
    if len(row) >= limits.keys:
        raise BadRow(f"it has more than {limits.keys:,} keys")
    if len(name) > _LONGEST_NAME:
        raise BadRow(f"a key is longer than {_LONGEST_NAME} characters")
    first = text[place : place + 1]
    if first == "{":
        row[name] = None
        form.append("{}")
        return _opened(text, place)
    if first == "[":
        end = _list_end(text, place, limits)
        row[name] = text[place:end]
        form.append("l")
        return end
    scalar = _SCALAR.match(text, place)
    if scalar is None:
        raise BadRow(_why(text))
    told = scalar[2] if scalar[1] is None else _unescaped(scalar[1])
    row[name] = told or None
    form.append("v")
    return scalar.end()


def _opened(text: str, place: int) -> int:
    opened = _OPEN.match(text, place)
    if opened is None:
        raise BadRow(_why(text))
    return opened.end()


def _finished(text: str, place: int, row: Flat) -> Flat:
    if _END.match(text, place) is None:
        raise BadRow("there is text after the end of the object")
    return row


def _unescaped(token: str) -> str:
    if "\\" in token:
        try:
            token = json.loads(f'"{token}"')
        except ValueError as error:
            raise BadRow("it is not valid JSON (a wrong escape in a text)") from error
    return _storable(token)


def _storable(text: str) -> str:
    if "\0" in text:
        raise BadRow("it holds a NUL character")
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise BadRow("it holds half a surrogate pair")
    return text


def _list_end(text: str, place: int, limits: SourceLimits) -> int:
    """The end of the list at `place`, which is read whole so that no bad JSON is passed on."""
    try:
        value, end = _LISTS.raw_decode(text, place)
    except (ValueError, RecursionError) as error:
        raise BadRow(_reason(error)) from error
    level, pending = 0, [value]
    while pending:
        level += 1
        if level > limits.depth:
            raise BadRow(f"it is nested deeper than {limits.depth} levels")
        inner: list[Any] = []
        for item in pending:
            if isinstance(item, str):
                _storable(item)
            elif isinstance(item, dict):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
        pending = inner
    return end


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key appears twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


# What a list holds stays text, so only its form is of interest here.
_LISTS = json.JSONDecoder(parse_constant=_no_constant, parse_int=len, parse_float=len)
_FLAT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=str, parse_float=str
)


def _why(text: str) -> str:
    """The reason why a text is no JSON object, from a parser that knows all of them."""
    try:
        value = _LISTS.decode(text.strip(" \t\r\n"))
    except (ValueError, RecursionError) as error:
        return _reason(error)
    return "it is not valid JSON" if isinstance(value, dict) else "it is not an object with named values"


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, json.JSONDecodeError):
        return f"it is not valid JSON ({error.msg[:1].lower()}{error.msg[1:]} at character {error.colno})"
    return str(error)[:200]
