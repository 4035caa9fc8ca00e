"""One column that holds two kinds of thing: numbers beside other values, or the parts that a pattern names."""

import re
from collections.abc import Iterable

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.records import Rule
from core.harmonize.values.cells import Cell, as_text, column_of, typed
from core.harmonize.values.identifiers import identifier
from core.harmonize.values.staged import Steps

LONGEST_PATTERN = 500


def split_cells(rule: Rule, value: pl.Expr, dtype: pl.DataType, name: str) -> list[Cell]:
    """Two kinds of thing in one column: numbers and other values, or the named groups of a pattern."""
    text = identifier(as_text(value, dtype), pl.String())
    transform = rule.transform
    if transform.numeric_goes_to:
        numeric = text.str.contains(r"^\d+$")
        parts = [(transform.numeric_goes_to, pl.when(numeric).then(text))]
        if rule.target:
            parts.append((rule.target, pl.when(~numeric).then(text)))
        return _part_cells(rule, parts, text, name)
    pattern = transform.pattern or ""
    groups = checked_pattern(pattern, rule)
    found = text.str.extract_groups(pattern)
    if groups:
        return _part_cells(rule, [(group, found.struct.field(group)) for group in groups], text, name)
    if rule.target is None:
        raise InvalidInputError(
            f"The pattern of «{rule.source_field}» names no RMIS column.", "", "Name its groups: (?P<sku>…)."
        )
    return _part_cells(rule, [(rule.target, text.str.extract(pattern, 1))], text, name)


def _part_cells(rule: Rule, parts: Iterable[tuple[str, pl.Expr]], text: pl.Expr, name: str) -> list[Cell]:
    """Each part is read as its own target says; a value of which nothing fits anywhere is a problem of each."""
    found = list(parts)
    split: Steps = ({f"{name}part{place}": part for place, (_, part) in enumerate(found)},)
    nothing = pl.all_horizontal(pl.col(part).is_null() for part in split[0])
    cells = []
    for part, (target, _) in zip(split[0], found, strict=True):
        value = typed(pl.col(part), pl.String(), column_of(target), f"{part}_")
        raw = pl.when(pl.col(part).is_not_null() | nothing).then(text)
        why = "the pattern does not fit it, or its part does not fit the column"
        cells.append(Cell(rule, target, value.value, raw, why, (*split, *value.steps)))
    return cells


def checked_pattern(pattern: str, rule: Rule) -> list[str]:
    """The named groups of a pattern. Raises InvalidInputError for one that is too long, too large or looks around."""
    try:
        if not pattern or len(pattern) > LONGEST_PATTERN:
            raise ValueError(f"a pattern has 1 to {LONGEST_PATTERN} characters")
        schema = (
            pl.LazyFrame({"x": [""]}).select(pl.col("x").str.extract_groups(pattern)).collect().schema["x"]
        )
    except (ValueError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0][:200]
        if re.search(r"\(\?(?:=|!|<=|<!)|\\[1-9]", pattern):
            reason = "look-around and back references are not taken: they can run for hours"
        raise InvalidInputError(
            f"The pattern of «{rule.source_field}» cannot be used.", f"{reason}.", "Write a simpler one."
        ) from None
    fields = schema.fields if isinstance(schema, pl.Struct) else []
    return [each.name for each in fields if not each.name.isdecimal()]
