"""A cell: what one rule makes of one column, and how raw values become the type of their target."""

from dataclasses import dataclass

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.records import Rule
from core.harmonize.values import numbers
from core.harmonize.values.identifiers import identifier
from core.harmonize.values.staged import Staged, Steps, looked_up, or_else
from core.rmis.facts import FactColumn, FactType, fact_column


@dataclass(frozen=True)
class Cell:
    """What one rule makes of its column.

    `value` is typed as `target` and null where the raw value does not fit; `raw` is the source as text.
    `marks` are (finding id, Boolean) pairs; `otherwise` stands for values that do not fit, where the target has such a word.
    A `derived` cell goes with another of the same rule and is lost with it.
    """

    rule: Rule
    target: str
    value: pl.Expr
    raw: pl.Expr
    why: str
    steps: Steps = ()
    marks: tuple[tuple[str, pl.Expr], ...] = ()
    otherwise: str | None = None
    secret: bool = False
    derived: bool = False
    blank_words: tuple[str, ...] = ()

    @property
    def column(self) -> FactColumn:
        return column_of(self.target)

    @property
    def is_number(self) -> bool:
        return self.column.dtype in (FactType.INTEGER, FactType.NUMBER)


def column_of(target: str) -> FactColumn:
    column = fact_column(target)
    if column is None:
        raise InvalidInputError(f"«{target}» is not a column of RMIS.", "", "Choose one of RMIS §1.")
    return column


def as_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A raw value as text, as it is shown to people."""
    if dtype == pl.String:
        return value
    if dtype == pl.Binary:
        return value.bin.encode("hex")
    if dtype.is_nested():
        return (
            value.cast(pl.String, strict=False)
            if not isinstance(dtype, pl.Struct)
            else value.struct.json_encode()
        )
    return identifier(value, dtype)


def typed(value: pl.Expr, dtype: pl.DataType, column: FactColumn, name: str) -> Staged:
    """A raw value as its target's type, with nothing guessed; null where it does not fit."""
    match column.dtype:
        case FactType.INTEGER:
            if dtype == pl.String:
                return numbers.whole_number(value)
            if dtype.is_integer():
                return Staged(value.cast(pl.Int64, strict=False))
            return whole(as_number(value, dtype, name), name)
        case FactType.NUMBER:
            return as_number(value, dtype, name)
        case FactType.BOOLEAN:
            return Staged(value if dtype == pl.Boolean else numbers.is_true_or_false(as_text(value, dtype)))
        case FactType.WORD:
            return _word(as_text(value, dtype), column)
        case FactType.IDENTIFIER:
            return Staged(identifier(value, dtype))
    text = as_text(value, dtype)
    if column.name == "currency":
        code = Staged(text.str.strip_chars().str.to_uppercase()).kept(f"{name}code")
        return code.then(pl.when(code.value.str.contains(r"^[A-Z]{3}$")).then(code.value))
    return Staged(text)


def as_number(value: pl.Expr, dtype: pl.DataType, name: str) -> Staged:
    """Float64, finite or null."""
    if dtype == pl.String:
        return numbers.plain_number(value, name)
    if not dtype.is_numeric():
        return Staged(pl.lit(None, dtype=pl.Float64))
    return Staged(numbers.finite(value.cast(pl.Float64, strict=False)))


def whole(number: Staged, name: str) -> Staged:
    """Int64 of a number that is whole."""
    kept = number.kept(f"{name}float")
    return kept.then(numbers.as_whole(kept.value))


def _word(text: pl.Expr, column: FactColumn) -> Staged:
    """A word of the closed list, without regard to case, spaces and hyphens."""
    known = {word: word for word in column.words}
    exact = looked_up(text, known, pl.String())

    def loosely(odd: pl.Expr) -> pl.Expr:
        word = odd.str.strip_chars().str.to_lowercase().str.replace_all(r"[\s\-]+", "_")
        return looked_up(word, known, pl.String())

    return Staged(or_else(exact, text, loosely, pl.String()))
