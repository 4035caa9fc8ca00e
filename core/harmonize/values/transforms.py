"""One mapping rule as polars expressions: the operations of RMIS §3 that turn one column into another.

A value that does not fit becomes null; which ones did is told by comparing `Cell.value` with `Cell.raw`.
"""

import re
from dataclasses import replace

import polars as pl

from core.errors import InvalidInputError
from core.harmonize.records import Rule, SourceCard, Transform
from core.harmonize.values import numbers
from core.harmonize.values.cells import Cell, as_number, as_text, column_of, typed, whole
from core.harmonize.values.clocks import TimeExprs, local_date, says_the_time, to_utc
from core.harmonize.values.identifiers import check_digit_fits, identifier, padded_gtin, pseudonym
from core.harmonize.values.splits import split_cells
from core.harmonize.values.staged import Staged, looked_up, or_else, with_steps
from core.rmis.facts import FactColumn, FactType
from core.rmis.vocabularies import TransformOp

_NOT_ELEMENTWISE = frozenset({TransformOp.EXPLODE, TransformOp.DEDUP, TransformOp.SUM_DELTA})
_WHY: dict[FactType, str] = {
    FactType.TIMESTAMP: "it is no time of this format",
    FactType.DATE: "it is no date",
    FactType.WORD: "it is none of the words of this column",
    FactType.INTEGER: "it is no whole number",
    FactType.NUMBER: "it is no number",
    FactType.BOOLEAN: "it is neither true nor false",
}


def cells_of(
    rule: Rule,
    source: str,
    dtypes: dict[str, pl.DataType],
    card: SourceCard,
    *,
    pseudonym_key: bytes | None = None,
    name: str = "__0",
) -> list[Cell]:
    """The cells of a rule whose raw values lie in the column `source`. Raises InvalidInputError.

    A time rule with target ts also gives date_local and grain; regex_split gives one cell for each part.
    """
    value, dtype = pl.col(source), dtypes[source]
    if rule.transform.op is TransformOp.REGEX_SPLIT:
        return split_cells(rule, value, dtype, f"{name}_")
    if rule.target is None:
        return []
    column = column_of(rule.target)
    text = as_text(value, dtype)
    plain = Cell(rule, rule.target, text, text, _why(rule, column))
    if rule.transform.op is TransformOp.PSEUDONYMIZE:
        hashed = _pseudonymized(rule.transform, identifier(value, dtype), rule, pseudonym_key)
        return [replace(plain, value=hashed, secret=True)]
    if column.dtype in (FactType.TIMESTAMP, FactType.DATE):
        return _time_cells(rule, value, dtype, card, plain, name)
    return [_one_cell(rule, value, dtype, dtypes, plain, f"{name}_")]


def values_of(rule: Rule, frame: pl.DataFrame, card: SourceCard | None = None) -> pl.DataFrame:
    """What a rule makes of the column `rule.source_field` of a frame: one column for each target, for a preview."""
    cells = cells_of(rule, rule.source_field, dict(frame.schema), card or SourceCard())
    staged = with_steps(frame.lazy(), (cell.steps for cell in cells))
    return staged.select(**{cell.target: cell.value for cell in cells}).collect()


def _one_cell(
    rule: Rule, value: pl.Expr, dtype: pl.DataType, dtypes: dict[str, pl.DataType], plain: Cell, name: str
) -> Cell:
    transform, column = rule.transform, plain.column
    match transform.op:
        case TransformOp.ENUM_MAP:
            return _mapped(rule, plain, name)
        case TransformOp.STRING_ID:
            return _with(plain, typed(identifier(value, dtype), pl.String(), column, name))
        case TransformOp.PAD_GTIN:
            to = transform.to or 14
            gtin = padded_gtin(identifier(value, dtype), to, name).kept(f"{name}gtin")
            wrong = gtin.value.is_not_null() & ~check_digit_fits(gtin.value, to)
            return replace(_with(plain, gtin), marks=(("gtin.check_digit", wrong),))
        case TransformOp.PARSE_NUMBER:
            if dtype != pl.String:
                return _with(plain, _as_target(as_number(value, dtype, name), column, name))
            number = numbers.parsed_number(value, transform.strip, name)
            return _with(plain, _as_target(number, column, name))
        case TransformOp.DIVIDE | TransformOp.MULTIPLY:
            number = _scaled(rule, value, dtype, dtypes, name)
            return _with(plain, _as_target(number, column, name))
    return replace(_with(plain, typed(value, dtype, column, name)), otherwise=_unknown_word(column))


def _with(cell: Cell, staged: Staged) -> Cell:
    return replace(cell, value=staged.value, steps=staged.steps)


def _as_target(number: Staged, column: FactColumn, name: str) -> Staged:
    match column.dtype:
        case FactType.NUMBER:
            return number
        case FactType.INTEGER:
            return whole(number, name)
    raise InvalidInputError(
        f"{column.name} takes no numbers.",
        f"It is a column of type {column.dtype}.",
        "Choose another operation.",
    )


def _scaled(
    rule: Rule, value: pl.Expr, dtype: pl.DataType, dtypes: dict[str, pl.DataType], name: str
) -> Staged:
    transform = rule.transform
    down = transform.op is TransformOp.DIVIDE
    if transform.by is not None:
        by_number = numbers.fraction_of(transform.by)
        factor = 1 / by_number if down else by_number
        if dtype == pl.String:
            return numbers.scaled_text(value, factor, name)
        plain = as_number(value, dtype, name).kept(f"{name}unscaled")
        return plain.then(numbers.finite(numbers.scaled(plain.value, factor)))
    other = transform.by_field or ""
    if other not in dtypes:
        raise InvalidInputError(
            f"«{rule.source_field}» is to be scaled by «{other}», which the file does not have.",
            "The factor must be a column of the same file.",
            "Correct by_field.",
        )
    number = as_number(value, dtype, name)
    by = as_number(pl.col(other), dtypes[other], f"{name}by_")
    result = number.value / by.value if down else number.value * by.value
    return Staged(result, (*by.steps, *number.steps)).kept(f"{name}scaled").finite()


def _mapped(rule: Rule, plain: Cell, name: str) -> Cell:
    """By the map: as written, then without regard to case and spaces. A source value that maps to nothing is blank."""
    given = rule.transform.map or {}
    column = plain.column
    words = {key: word for key, word in given.items() if word is not None}
    if column.dtype is FactType.WORD and (wrong := sorted(set(words.values()) - set(column.words))):
        raise InvalidInputError(
            f"The map of «{rule.source_field}» gives «{wrong[0][:60]}», which is no {column.name}.",
            f"There are {', '.join(column.words)}.",
            "Correct the map.",
        )
    exact = looked_up(plain.raw, words, pl.String())
    loose: dict[str, str] = {}
    for key, word in words.items():
        loose.setdefault(_loosely(key), word)

    def loosely(odd: pl.Expr) -> pl.Expr:
        word = odd.str.strip_chars().str.to_lowercase().str.replace_all(r"\s+", " ")
        return looked_up(word, loose, pl.String())

    mapped = Staged(or_else(exact, plain.raw, loosely, pl.String())).kept(f"{name}mapped")
    if column.dtype is not FactType.WORD:
        fitted = typed(mapped.value, pl.String(), column, f"{name}to_")
        mapped = Staged(fitted.value, (*mapped.steps, *fitted.steps))
    return replace(
        _with(plain, mapped),
        why="its value is not in the map",
        otherwise=_unknown_word(column),
        blank_words=tuple(sorted(_loosely(key) for key, word in given.items() if word is None)),
    )


def _loosely(key: str) -> str:
    return re.sub(r"\s+", " ", key.strip().lower())


def _unknown_word(column: FactColumn) -> str | None:
    return "unknown" if "unknown" in column.words else None


def _time_cells(
    rule: Rule, value: pl.Expr, dtype: pl.DataType, card: SourceCard, plain: Cell, name: str
) -> list[Cell]:
    transform = rule.transform
    if transform.op not in (TransformOp.TO_UTC, TransformOp.NONE, *_NOT_ELEMENTWISE):
        raise InvalidInputError(
            f"{transform.op} of «{rule.source_field}» gives no {rule.target}.",
            f"{rule.target} is a time.",
            "Use to_utc.",
        )
    if plain.column.dtype is FactType.DATE:
        day = _date(transform, value, dtype, card, name)
        return [replace(plain, value=day.date_local, steps=day.steps)]
    told = to_utc(
        value,
        transform.format,
        transform.source_tz,
        transform.grain,
        card.account_timezone,
        dtype=dtype,
        name=f"{name}_",
    )
    marks = tuple(
        (finding, mark)
        for finding, mark in (("time.ambiguous", told.ambiguous), ("time.nonexistent", told.nonexistent))
        if mark is not None
    )
    cell = replace(plain, value=told.ts, steps=told.steps, marks=marks)
    if rule.target != "ts":
        return [cell]
    beside = replace(cell, steps=(), marks=(), derived=True)
    derived = [replace(beside, target="date_local", value=told.date_local)]
    if grain := grain_of(rule):
        there = pl.when(told.ts.is_not_null()).then(pl.lit(grain))
        derived.append(replace(beside, target="grain", value=there))
    return [cell, *derived]


def _date(transform: Transform, value: pl.Expr, dtype: pl.DataType, card: SourceCard, name: str) -> TimeExprs:
    """A day as written; of a time with a source zone, the day in the account's zone."""
    if transform.op is TransformOp.TO_UTC and transform.source_tz and says_the_time(transform.format):
        return to_utc(
            value,
            transform.format,
            transform.source_tz,
            None,
            card.account_timezone,
            dtype=dtype,
            name=f"{name}_",
        )
    return local_date(value, transform.format, dtype=dtype, name=f"{name}_")


def grain_of(rule: Rule) -> str | None:
    """The grain that a time rule says, or that its pattern implies: without an hour it is a day."""
    transform = rule.transform
    if transform.op is not TransformOp.TO_UTC:
        return None
    return transform.grain or (None if says_the_time(transform.format) else "day")


def _pseudonymized(transform: Transform, text: pl.Expr, rule: Rule, key: bytes | None) -> pl.Expr:
    if not key:
        raise InvalidInputError(
            f"«{rule.source_field}» is to be pseudonymized, and there is no key.",
            "Without a secret key a hash can be turned back by guessing.",
            "Give the key of this installation.",
        )
    if column_of(rule.target or "").dtype not in (FactType.IDENTIFIER, FactType.TEXT):
        raise InvalidInputError(
            f"{rule.target} takes no pseudonyms.", "A pseudonym is text.", "Choose a column of identifiers."
        )
    name = transform.key if isinstance(transform.key, str) else "+".join(transform.key or ())
    return pseudonym(text, key, name)


def _why(rule: Rule, column: FactColumn) -> str:
    if rule.transform.op is TransformOp.PAD_GTIN:
        return "it is no GTIN of 8, 12, 13 or 14 digits"
    if column.name == "currency":
        return "it is no currency code of three letters"
    if rule.transform.by_field:
        return f"it or its «{rule.transform.by_field}» is no usable number"
    return _WHY.get(column.dtype, "it does not fit")
