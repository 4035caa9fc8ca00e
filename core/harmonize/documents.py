"""The description of a report, as far as it says what each column means: column → description.

JSON ({"column": "description"}, or a list of objects), CSV, a Markdown table, or lines such as `column: description`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from core.errors import InvalidInputError

LIMIT_BYTES = 2 << 20
MAX_COLUMNS = 5000
DESCRIPTION_LETTERS = 1000
_NAME_KEYS = ("source_field", "column", "field", "name")
_TEXT_KEYS = ("description", "meaning", "definition", "text")
_LINE = re.compile(
    r"^\s*(?:[-*]\s+)?[`\"]?(?P<name>[^`\"|\t;]{1,200}?)[`\"]?\s*(?:\t|\||;|:\s|\s[-–—]\s|,)\s*(?P<text>\S.*)$"
)
_HEADINGS = frozenset({*_NAME_KEYS, "column name", "field name", "metric", "dimension"})


def read_documents(path: Path) -> dict[str, str]:
    """Read a description. Raises InvalidInputError when it is too large, or says nothing of any column."""
    try:
        with path.open("rb") as file:
            raw = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            f"The description {path.name} cannot be read.",
            f"{error.strerror or error}.",
            "Choose another file.",
        ) from None
    if len(raw) > LIMIT_BYTES:
        raise InvalidInputError(
            f"The description {path.name} is too large.", "It has more than 2 MB.", "Cut it to the columns."
        )
    found = parse_documents(raw.decode("utf-8-sig", "replace"))
    if not found:
        raise InvalidInputError(
            f"The description {path.name} says nothing of any column.",
            "It is neither JSON nor lines such as `column: description`.",
            "Write one column to a line.",
        )
    return found


def parse_documents(text: str) -> dict[str, str]:
    """Column → description; empty where nothing is said. The first description of a column counts."""
    try:
        pairs = _pairs_of_json(json.loads(text))
    except (ValueError, RecursionError):
        pairs = _pairs_of_lines(text)
    found: dict[str, str] = {}
    for name, description in pairs:
        if len(found) >= MAX_COLUMNS:
            break
        if name and description:
            found.setdefault(name, description[:DESCRIPTION_LETTERS])
    return found


def _pairs_of_json(value: object) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name), _text(inner)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, Mapping):
                name = next((str(each[key]) for key in _NAME_KEYS if each.get(key)), "")
                yield name, _text(each)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        value = next((value[key] for key in _TEXT_KEYS if value.get(key)), "")
    return " ".join(value.split()) if isinstance(value, str) else ""


def _pairs_of_lines(text: str) -> Iterable[tuple[str, str]]:
    for line in text.splitlines():
        match = _LINE.match(line[:4000].strip().strip("|"))
        if match is None or not re.search(r"\w", match["text"]):
            continue
        name = match["name"].strip()
        if name.casefold() not in _HEADINGS:
            yield name, " ".join(match["text"].strip().strip('|"`').split())
