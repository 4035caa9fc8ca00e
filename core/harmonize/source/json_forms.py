"""Many JSON objects of the same form at once: a form becomes a regular expression that proves and takes apart.

A line that matches is a valid JSON object with exactly the form's keys in their order, so nothing about it is
assumed. All other lines are for the careful reading of one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from core.harmonize.source.json_rows import NUMBER, BadRow, flatten
from core.harmonize.source.records import SourceLimits

#: Values that one expression takes: with more, the engine falls back to a far slower way of matching.
_TAKEN = 12
_MOST_VALUES = 240
_BLANK = r"[ \t\r]*"
# All escapes but \\u, which may mean half a sign and is read with care.
_TEXT = r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt])*"'
_ESCAPES = {
    r"\"": '"',
    r"\\": "\\",
    r"\/": "/",
    r"\b": "\b",
    r"\f": "\f",
    r"\n": "\n",
    r"\r": "\r",
    r"\t": "\t",
}
_SCALAR = f"{_TEXT}|{NUMBER}|true|false|null"
_FLAT_OBJECT = (
    rf"\{{{_BLANK}(?:{_TEXT}{_BLANK}:{_BLANK}(?:{_SCALAR}){_BLANK}"
    rf"(?:,{_BLANK}{_TEXT}{_BLANK}:{_BLANK}(?:{_SCALAR}){_BLANK})*)?\}}"
)


@dataclass(frozen=True)
class Form:
    """The columns of one form of object, and for every few of them an expression that takes their values."""

    columns: tuple[str, ...]
    lists: frozenset[str]
    expressions: tuple[str, ...]

    def take(self, lines: pl.Series) -> tuple[pl.DataFrame, pl.Series]:
        """(one row for each line, which of the lines have this form); the rows of other lines mean nothing."""
        batches = [self.columns[i : i + _TAKEN] for i in range(0, len(self.columns), _TAKEN)]
        frame = lines.to_frame("line").lazy()
        taken = frame.select(
            pl.col("line").str.extract_groups(expression).alias(str(place))
            for place, expression in enumerate(self.expressions)
        ).collect()
        found = taken["0"].struct.field("1").is_not_null()
        escaped = bool(lines.str.contains("\\", literal=True).any())
        values = [
            _value(pl.col(str(place)).struct.field(str(number)), name in self.lists, escaped).alias(name)
            for place, batch in enumerate(batches)
            for number, name in enumerate(batch, 1)
        ]
        return taken.select(values), found


def form_of(text: str, limits: SourceLimits) -> Form | None:
    """The form of one line; None where it is no row, or its form cannot be taken apart by expressions."""
    shape: list[str] = []
    try:
        row = flatten(text, limits, shape)
    except BadRow:
        return None
    keys = [part[1:] for part in shape if part.startswith("k")]
    values = sum(part in ("v", "l") for part in shape)
    if not 0 < values <= _MOST_VALUES or values != len(row) or any("\\" in key for key in keys):
        return None
    starts = range(0, values, _TAKEN)
    kinds = [part for part in shape if part in ("v", "l")]
    lists = frozenset(name for name, kind in zip(row, kinds, strict=True) if kind == "l")
    return Form(tuple(row), lists, tuple(_expression(shape, start) for start in starts))


def _expression(shape: Sequence[str], start: int) -> str:
    """The form as an expression that takes its values from number `start` on."""
    parts, number, first = [rf"^{_BLANK}"], 0, True
    for part in shape:
        if part == "{":
            parts.append(rf"\{{{_BLANK}")
            first = True
        elif part == "}":
            parts.append(rf"\}}{_BLANK}")
        elif part.startswith("k"):
            comma = "" if first else f",{_BLANK}"
            parts.append(f'{comma}"{_literal(part[1:])}"{_BLANK}:{_BLANK}')
            first = False
        else:
            group = "(" if start <= number < start + _TAKEN else "(?:"
            parts.append(f"{group}{_SCALAR if part == 'v' else _list()}){_BLANK}")
            number += 1
    return "".join(parts) + "$"


def _list() -> str:
    # Lists of scalars and of flat objects; anything deeper is read with care.
    item = f"(?:{_SCALAR}|{_FLAT_OBJECT})"
    return rf"\[{_BLANK}(?:{item}{_BLANK}(?:,{_BLANK}{item}{_BLANK})*)?\]|null"


def _literal(text: str) -> str:
    return "".join(
        letter if letter.isalnum() or letter in "_ " else f"\\x{{{ord(letter):x}}}" for letter in text
    )


def _value(token: pl.Expr, is_list: bool, escaped: bool) -> pl.Expr:
    """What a token stands for: a text without its quotes and escapes, a number or list as it is, or null."""
    null = token.eq("null")
    if is_list:
        return pl.when(null).then(None).otherwise(token)
    text = token.str.strip_prefix('"').str.strip_suffix('"')
    if escaped:
        text = text.str.replace_many(_ESCAPES)  # pairs from left to right, so each backslash counts once
    return pl.when(null | token.eq('""')).then(None).otherwise(text)
