"""Text and documents that every database can hold and gives back as they were."""

import math
from collections.abc import Mapping
from typing import Any

# Whole numbers beyond this are not the same on every database that keeps JSON.
LARGEST_EXACT = 2**53


def storable(text: str) -> str:
    """The text with U+FFFD in place of NUL and of lone surrogates, which not every database can hold."""
    if text.isascii() and "\0" not in text:
        return text
    whole = "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return whole.replace("\0", "\ufffd")


def storable_document(value: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping as plain JSON: NaN and infinity become None, huge whole numbers and unknown things text."""
    return {storable(str(key)): _plain(inner) for key, inner in value.items()}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= LARGEST_EXACT else str(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return storable_document(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner) for inner in value]
    return storable(str(value))
