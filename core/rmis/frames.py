"""The check of a whole table against RMIS: types, closed lists, clocks, currencies, signs, and what must fit together.

Every rule is one vectorised expression that says which rows break it. All are counted in one pass; only for those
that were broken does a second pass find the first rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

import polars as pl

from core.rmis.facts import FACT_BY_NAME, FactColumn, FactGroup, FactType, fact_column
from core.rmis.vocabularies import QUALIFIERS

FIRST_ROWS = 10
LINEAGE_PREFIX = "lineage."
LINE_COLUMN = "lineage.line"
ROW = "__row"

#: Days that the calendar has, leap years included (0000 is one in ISO 8601); one pattern is one pass over the text.
CALENDAR_DAY = (
    r"(?:\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))"
    r"|(?:\d{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
UTC_TEXT = rf"^{CALENDAR_DAY}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{{1,9}})?Z$"
DATE_TEXT = rf"^{CALENDAR_DAY}$"
SPOILED_ID = r"^-?\d([.,]\d+)?[eE]\+?\d+$"

#: Never below zero, not even in a correction.
NEVER_NEGATIVE = frozenset({"position", "price", "promo_price", "bid", "budget", "reach"})
#: (smaller, larger): the first is part of the second.
PARTS: tuple[tuple[str, str], ...] = (
    ("clicks", "impressions"),
    ("measurable_impressions", "impressions"),
    ("viewable_impressions", "measurable_impressions"),
    ("viewable_impressions", "impressions"),
    ("reach", "impressions"),
    ("video_completes", "video_views"),
    ("ntb_conversions", "attributed_conversions"),
    ("ntb_units", "attributed_units"),
    ("ntb_sales", "attributed_sales"),
)
OUTCOMES_WITH_QUALIFIERS = tuple(
    name
    for name, column in FACT_BY_NAME.items()
    if column.group is FactGroup.OUTCOME and not name.startswith("assisted")
)
#: A number whose meaning hangs on these: what counts as attributed.
NEEDED_QUALIFIERS = ("window_click_days", "touch", "sku_scope")
SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "time.not_utc": "{column} is no UTC time such as 2026-03-04T05:06:07Z in {rows}.",
        "time.no_date": "{column} is no date such as 2026-03-04 in {rows}.",
        "time.no_zone": "{column} is no IANA time zone in {rows}.",
        "word.unknown": "{column} holds a word that RMIS does not have in {rows}.",
        "number.not_finite": "{column} is not a number (NaN or infinite) in {rows}.",
        "number.not_whole": "{column} must be a whole number and is not in {rows}.",
        "number.negative": "{column} is below zero in {rows}.",
        "count.negative": "{column} is below zero in {rows}; right only for corrections of earlier rows.",
        "currency.unknown": "{column} is no three-letter currency code in {rows}.",
        "currency.missing": "{column} has an amount without a currency in {rows}.",
        "id.spoiled": "{column} looks like 1.23E+17 in {rows}: a spreadsheet has destroyed its digits.",
        "id.gtin": "{column} does not have 14 digits in {rows}.",
    }
)


@dataclass(frozen=True, slots=True)
class ColumnProblem:
    """One rule that rows of one column break. `lines` are the first ten, from `lineage.line` or counted from 1."""

    column: str
    rule: str
    severity: str
    rows: int
    lines: tuple[int, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class FrameCheck:
    """What was found in `rows` rows. Warnings leave the table valid."""

    rows: int
    problems: tuple[ColumnProblem, ...]

    @property
    def valid(self) -> bool:
        return all(problem.severity != "error" for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Check:
    column: str
    rule: str
    bad: pl.Expr
    severity: str = "error"
    sentence: str = ""

    def problem(self, rows: int, lines: tuple[int, ...]) -> ColumnProblem:
        said = "1 row" if rows == 1 else f"{rows:,} rows"
        sentence = (self.sentence or SENTENCES[self.rule]).format(column=self.column, rows=said)
        return ColumnProblem(self.column, self.rule, self.severity, rows, lines, sentence)


def validate_frame(frame: pl.LazyFrame | pl.DataFrame) -> FrameCheck:
    """Check harmonized rows against RMIS §1 and §2. Null is always allowed: blank is not zero.

    Times may be Datetime in UTC or text, dates Date or text. Columns named `lineage.…` are not looked at.
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    checks, wrong_types = _checks_of(schema)
    counts = lazy.select(
        pl.len().alias("rows"), *(check.bad.sum().alias(str(i)) for i, check in enumerate(checks))
    ).collect(engine="streaming")
    found = counts.row(0, named=True)
    rows = int(found["rows"])
    broken = [(check, int(found[str(i)])) for i, check in enumerate(checks) if found[str(i)]]
    lines = _first_lines(lazy, schema, [check for check, _ in broken])
    problems = [check.problem(count, lines[i]) for i, (check, count) in enumerate(broken)]
    whole = [
        ColumnProblem(column, rule, "error", rows, tuple(range(1, min(rows, FIRST_ROWS) + 1)), sentence)
        for column, rule, sentence in wrong_types
        if rows or rule == "column.unknown"
    ]
    qualifiers = _missing_qualifiers(schema, rows)
    return FrameCheck(rows, (*whole, *problems, *qualifiers))


def _first_lines(lazy: pl.LazyFrame, schema: pl.Schema, broken: list[_Check]) -> list[tuple[int, ...]]:
    if not broken:
        return []
    numbered = lazy.with_row_index(ROW, offset=1)
    told = schema.get(LINE_COLUMN)
    line = pl.col(LINE_COLUMN) if told is not None and told.is_integer() else pl.col(ROW)
    frames = [numbered.filter(check.bad).select(line.alias(ROW)).head(FIRST_ROWS) for check in broken]
    return [tuple(part.to_series().drop_nulls().to_list()) for part in pl.collect_all(frames)]


def _checks_of(schema: pl.Schema) -> tuple[list[_Check], list[tuple[str, str, str]]]:
    checks: list[_Check] = []
    wrong: list[tuple[str, str, str]] = []
    for name, dtype in schema.items():
        if name.startswith(LINEAGE_PREFIX) or dtype == pl.Null:
            continue
        if name in QUALIFIERS:
            checks += _qualifier_checks(name, dtype)
            continue
        column = fact_column(name)
        if column is None:
            wrong.append((name, "column.unknown", f"{name} is not a column of RMIS."))
        elif not _fits(column, dtype):
            said = f"{name} must be {_kind(column)}; here it is {dtype}."
            wrong.append((name, "type.wrong", said))
        else:
            checks += _value_checks(column, dtype)
    fitting = {name for name in schema if name not in {each for each, _, _ in wrong}}
    return [*checks, *_fitting_checks({name: schema[name] for name in fitting})], wrong


def _fits(column: FactColumn, dtype: pl.DataType) -> bool:
    match column.dtype:
        case FactType.TIMESTAMP:
            return _is_text(dtype) or (isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC")
        case FactType.DATE:
            return _is_text(dtype) or dtype == pl.Date
        case FactType.INTEGER | FactType.NUMBER:
            return dtype.is_numeric()
        case FactType.BOOLEAN:
            return dtype == pl.Boolean
    return _is_text(dtype)


def _kind(column: FactColumn) -> str:
    return {
        FactType.TIMESTAMP: "a time in UTC",
        FactType.DATE: "a date",
        FactType.INTEGER: "a whole number",
        FactType.NUMBER: "a number",
        FactType.BOOLEAN: "true or false",
    }.get(column.dtype, "text")


def _is_text(dtype: pl.DataType) -> bool:
    return dtype == pl.String or isinstance(dtype, pl.Categorical | pl.Enum)


def _value_checks(column: FactColumn, dtype: pl.DataType) -> Iterator[_Check]:
    name = column.name
    if column.dtype is FactType.TIMESTAMP and _is_text(dtype):
        yield _Check(name, "time.not_utc", ~_text(name).str.contains(UTC_TEXT))
    elif column.dtype is FactType.DATE and _is_text(dtype):
        yield _Check(name, "time.no_date", ~_text(name).str.contains(DATE_TEXT))
    elif column.dtype is FactType.WORD:
        yield _Check(name, "word.unknown", ~_text(name).is_in(list(column.words)))
    elif column.dtype in (FactType.INTEGER, FactType.NUMBER):
        yield from _number_checks(column, dtype)
    elif name == "currency":
        yield _Check(name, "currency.unknown", ~_text(name).str.contains(r"^[A-Z]{3}$"))
    elif name == "account_timezone":
        yield _Check(name, "time.no_zone", ~_text(name).is_in(_zones()))
    elif name == "upc":
        yield _Check(name, "id.gtin", ~_text(name).str.contains(r"^\d{14}$"))
    elif column.dtype is FactType.IDENTIFIER:
        yield _Check(name, "id.spoiled", _text(name).str.contains(SPOILED_ID), "warning")


def _number_checks(column: FactColumn, dtype: pl.DataType) -> Iterator[_Check]:
    name, value = column.name, pl.col(column.name)
    if dtype.is_float():
        yield _Check(name, "number.not_finite", ~value.is_finite())
        if column.dtype is FactType.INTEGER:
            yield _Check(name, "number.not_whole", value.is_finite() & (value != value.round(0)))
    elif isinstance(dtype, pl.Decimal) and column.dtype is FactType.INTEGER:
        yield _Check(name, "number.not_whole", value != value.round(0))
    if name in NEVER_NEGATIVE:
        yield _Check(name, "number.negative", value < 0)
    elif column.group is FactGroup.DELIVERY:
        yield _Check(name, "count.negative", value < 0, "warning")


def _qualifier_checks(name: str, dtype: pl.DataType) -> Iterator[_Check]:
    words = QUALIFIERS[name]
    if words:
        text = pl.col(name).cast(pl.String).str.to_lowercase()
        said = f"{{column}} is none of {', '.join(words)} in {{rows}}."
        yield _Check(name, "qualifier.unknown", ~text.is_in(list(words)), sentence=said)
        return
    days = pl.col(name) if dtype.is_numeric() else pl.col(name).cast(pl.String).cast(pl.Float64, strict=False)
    bad = days.is_null() | (days < 0) | (days > 400) | (days != days.cast(pl.Float64).round(0))
    said = "{column} is no whole number of days in {rows}."
    yield _Check(name, "qualifier.unknown", pl.col(name).is_not_null() & bad, sentence=said)


def _fitting_checks(schema: Mapping[str, pl.DataType]) -> Iterator[_Check]:
    for part, whole in PARTS:
        if part in schema and whole in schema:
            said = f"{{column}} is larger than {whole} in {{rows}}, although it is a part of it."
            yield _Check(part, f"fit.{part}_above_{whole}", _above(part, whole), "warning", said)
    amounts = [n for n in schema if _is_amount(n)]
    if amounts:
        no_currency = pl.col("currency").is_null() if "currency" in schema else pl.lit(value=True)
        for name in amounts:
            yield _Check(
                name, "currency.missing", pl.col(name).is_not_null() & (pl.col(name) != 0) & no_currency
            )


def _above(part: str, whole: str) -> pl.Expr:
    # A correction below zero says nothing about parts; half a cent of rounding is no excess.
    return (pl.col(whole) >= 0) & (pl.col(part).cast(pl.Float64) > pl.col(whole).cast(pl.Float64) + 0.005)


def _is_amount(name: str) -> bool:
    column = fact_column(name)
    if column is None or column.dtype is not FactType.NUMBER:
        return False
    return column.group in (FactGroup.MONEY, FactGroup.OUTCOME)


def _missing_qualifiers(schema: pl.Schema, rows: int) -> list[ColumnProblem]:
    outcomes = [name for name in OUTCOMES_WITH_QUALIFIERS if name in schema]
    missing = [name for name in NEEDED_QUALIFIERS if name not in schema]
    if not outcomes or not missing or not rows:
        return []
    sentence = (
        f"{', '.join(outcomes)} stand without {', '.join(missing)}: nobody can tell what was attributed to what, "
        "so they cannot be compared with those of another report."
    )
    return [ColumnProblem(outcomes[0], "qualifier.missing", "warning", rows, (), sentence)]


def _text(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.String)


@cache
def _zones() -> list[str]:
    return sorted(available_timezones())
