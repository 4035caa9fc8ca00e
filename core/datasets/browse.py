"""Filter, search, sort and page the rows of any table, for screens that show data.

What a person asks for is data, never code: columns are taken by their exact names from the table's own schema, and
values only ever stand in literals. No pattern is read in a value or a name.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from pathlib import Path

import polars as pl
import polars.selectors as cs

from core.datasets.records import Dataset
from core.errors import IntegrityError, InvalidInputError
from core.harmonize.source.open import LINE, Source, open_source
from core.settings import PROJECT_ROOT

MOST_FILTERS = 20
MOST_VALUES = 500
LONGEST_VALUE = 1000
MOST_ROWS = 1000
_PLAIN_NUMBER = r"^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,12})?$"


class Condition(StrEnum):
    """What a filter asks of a value. Texts are compared without regard to case."""

    IS = "is"
    IS_NOT = "is not"
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    AT_LEAST = "at least"
    AT_MOST = "at most"
    BLANK = "is blank"
    FILLED = "is not blank"


VALUELESS = frozenset({Condition.BLANK, Condition.FILLED})


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition on one column. Of several `values` any may fit; is_not wants none of them."""

    column: str
    condition: Condition
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """All filters must hold. Every word of `search` must stand somewhere in the row. Blank values sort last."""

    filters: tuple[Filter, ...] = ()
    search: str = ""
    sort: str | None = None
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Rows `offset` and on of those that fit; `fitting` of `total` rows fit."""

    rows: pl.DataFrame
    offset: int
    fitting: int
    total: int


def browse(frame: pl.LazyFrame, query: Query, *, offset: int = 0, limit: int = 50) -> Page:
    """One page. Raises InvalidInputError for a column that is not there or a value that does not fit its type."""
    limit, offset = max(1, min(limit, MOST_ROWS)), max(0, offset)
    found = selected(frame, query)
    counts = [table.select(pl.len()) for table in (frame, _filtered(frame, query))]
    total, fitting, rows = pl.collect_all([*counts, found.slice(offset, limit)])
    return Page(rows, offset, int(fitting.item()), int(total.item()))


def selected(frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    """Every row that fits, sorted. Raises InvalidInputError as `browse`."""
    found = _filtered(frame, query)
    if query.sort is None:
        return found
    schema = frame.collect_schema()
    by = _sort_keys(_column(schema, query.sort), schema[query.sort])
    return found.sort(by, descending=query.descending, nulls_last=True, maintain_order=True)


def predicate(schema: pl.Schema, asked: Filter) -> pl.Expr:
    """The condition as an expression that is never null. Raises InvalidInputError."""
    column, dtype = _column(schema, asked.column), schema[asked.column]
    text = _as_text(column, dtype)
    if asked.condition is Condition.BLANK:
        return _blank(text)
    if asked.condition is Condition.FILLED:
        return ~_blank(text)
    values = [_checked(value) for value in asked.values]
    if not values or len(values) > MOST_VALUES:
        raise InvalidInputError(
            f"The filter on «{asked.column[:100]}» has no usable value.",
            f"It has {len(values)} values; 1 to {MOST_VALUES} can be asked for.",
            "Give at least one value.",
        )
    fits = [_one(asked, column, text, dtype, value) for value in values]
    any_fits = pl.any_horizontal(fits).fill_null(value=False)
    return ~any_fits if asked.condition is Condition.IS_NOT else any_fits


def choices(frame: pl.LazyFrame, column: str, *, limit: int = 200) -> tuple[str, ...]:
    """The values of a column, the most frequent first. Raises InvalidInputError for an unknown column."""
    schema = frame.collect_schema()
    text = _as_text(_column(schema, column), schema[column])
    counted = frame.select(text.alias("value")).drop_nulls().group_by("value").agg(pl.len().alias("rows"))
    top = counted.sort(["rows", "value"], descending=[True, False]).head(limit).collect()
    return tuple(top.get_column("value").to_list())


def rows_at_lines(frame: pl.LazyFrame, lines: Sequence[int]) -> pl.DataFrame:
    """The raw rows that begin at these lines, in the order of the file."""
    wanted = pl.Series(LINE, sorted(set(lines)), dtype=pl.Int64)
    return frame.filter(pl.col(LINE).cast(pl.Int64).is_in(wanted.implode())).collect()


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with text columns that hold nothing but plain numbers as numbers; ids with leading zeros stay text."""
    casts = []
    for name, column in zip(frame.columns, frame.get_columns(), strict=True):
        if column.dtype != pl.String or column.null_count() == len(column):
            continue
        if column.str.contains(_PLAIN_NUMBER).fill_null(value=True).all():
            whole = not column.str.contains(".", literal=True).any()
            casts.append(cs.by_name(name).as_expr().cast(pl.Int64 if whole else pl.Float64))
    return frame.with_columns(casts)


@contextmanager
def open_table(dataset: Dataset, *, work_dir: Path) -> Iterator[Source]:
    """The file of a dataset of any kind as a source. Raises IntegrityError when it is missing or has changed."""
    path = PROJECT_ROOT / dataset.path
    source = open_source(path, work_dir=work_dir, name=dataset.name) if path.is_file() else None
    if source is None or source.digest != dataset.digest:
        raise IntegrityError(
            f"The file of «{dataset.name}» is missing or has changed since it was registered.",
            "Its content is not what it was.",
            "Restore it, or import it again.",
        )
    yield source


def _filtered(frame: pl.LazyFrame, query: Query) -> pl.LazyFrame:
    if len(query.filters) > MOST_FILTERS:
        raise InvalidInputError(
            f"There are more than {MOST_FILTERS} filters.",
            f"{len(query.filters)} were given.",
            "Remove some.",
        )
    schema = frame.collect_schema()
    conditions = [predicate(schema, asked) for asked in query.filters]
    texts = [_as_text(_column(schema, name), dtype) for name, dtype in schema.items() if name != LINE]
    for word in _checked(query.search).split()[:MOST_FILTERS]:
        conditions.append(pl.any_horizontal([_contains(text, word) for text in texts]).fill_null(value=False))
    return frame.filter(conditions) if conditions else frame


def _column(schema: pl.Schema, name: str) -> pl.Expr:
    """The column by its exact name: `pl.col` would read ^…$ and * in a name as a pattern."""
    if name not in schema:
        raise InvalidInputError(
            f"There is no column «{name[:100]}».",
            "The table has no such column.",
            "Choose one of its columns.",
        )
    return cs.by_name(name).as_expr()


def _as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        return column.dt.strftime("%Y-%m-%dT%H:%M:%SZ" if dtype.time_zone else "%Y-%m-%dT%H:%M:%S")
    return column if dtype == pl.String else column.cast(pl.String, strict=False)


def _blank(text: pl.Expr) -> pl.Expr:
    return (text.is_null() | (text.str.strip_chars() == "")).fill_null(value=True)


def _contains(text: pl.Expr, value: str) -> pl.Expr:
    return text.str.to_lowercase().str.contains(pl.lit(value).str.to_lowercase(), literal=True)


def _one(asked: Filter, column: pl.Expr, text: pl.Expr, dtype: pl.DataType, value: str) -> pl.Expr:
    match asked.condition:
        case Condition.CONTAINS:
            return _contains(text, value)
        case Condition.STARTS_WITH:
            return text.str.to_lowercase().str.starts_with(pl.lit(value).str.to_lowercase())
        case Condition.AT_LEAST | Condition.AT_MOST:
            return _bounded(asked, column, dtype, value)
        case _:
            return _equal(column, text, dtype, value)


def _equal(column: pl.Expr, text: pl.Expr, dtype: pl.DataType, value: str) -> pl.Expr:
    same = text.str.strip_chars().str.to_lowercase() == pl.lit(value.strip()).str.to_lowercase()
    number = _number(value)
    if dtype.is_numeric() and number is not None:
        return same | (column == number)
    if isinstance(dtype, pl.Datetime) and (moment := _moment(value)) is not None:
        start, end = _span(moment, value)
        return same | _between(column, dtype, start, end)
    return same


def _bounded(asked: Filter, column: pl.Expr, dtype: pl.DataType, value: str) -> pl.Expr:
    """A day as the upper bound counts whole. A text column is compared as numbers where the bound is a number."""
    least = asked.condition is Condition.AT_LEAST
    if dtype.is_temporal():
        moment = _moment(value)
        if moment is None:
            raise _no_bound(asked, value, "a date such as 2026-03-31")
        start, end = _span(moment, value)
        if not isinstance(dtype, pl.Datetime):
            days = column.cast(pl.Date, strict=False)
            return days >= start.date() if least else days <= start.date()
        return _between(column, dtype, start, None) if least else _between(column, dtype, None, end)
    number = _number(value)
    if dtype.is_numeric() or (dtype == pl.String and number is not None):
        if number is None:
            raise _no_bound(asked, value, "a number")
        numbers = column if dtype.is_numeric() else column.str.strip_chars().cast(pl.Float64, strict=False)
        return numbers >= number if least else numbers <= number
    text = _as_text(column, dtype)
    # 2026-03-31T10:00 belongs to «at most 2026-03-31»: a longer text that begins with the bound counts as within.
    return text >= value if least else (text <= value) | text.str.starts_with(pl.lit(value))


def _between(column: pl.Expr, dtype: pl.Datetime, start: datetime | None, end: datetime | None) -> pl.Expr:
    zone = UTC if dtype.time_zone else None
    conditions = []
    if start is not None:
        conditions.append(column >= pl.lit(start.replace(tzinfo=zone)))
    if end is not None:
        conditions.append(column < pl.lit(end.replace(tzinfo=zone)))
    return pl.all_horizontal(conditions)


def _sort_keys(column: pl.Expr, dtype: pl.DataType) -> list[pl.Expr]:
    """Texts that are numbers come by size, before the others."""
    if dtype == pl.String:
        return [column.str.strip_chars().cast(pl.Float64, strict=False), column]
    return [_as_text(column, dtype) if dtype.is_nested() else column]


def _checked(value: str) -> str:
    if len(value) > LONGEST_VALUE:
        raise InvalidInputError(
            "A value to look for is too long.",
            f"It has {len(value)} of {LONGEST_VALUE} signs.",
            "Shorten it.",
        )
    return value.encode("utf-8", "replace").decode()


def _number(value: str) -> int | float | None:
    try:
        number = Decimal(value.strip().replace(",", "") if value.strip() else "x")
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 300:
        return None
    whole = number == number.to_integral_value()
    return int(number) if whole and abs(number) < 2**63 else float(number)


def _moment(value: str) -> datetime | None:
    """A moment in UTC without its zone; a day is its midnight."""
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    try:
        return (moment.astimezone(UTC) if moment.tzinfo else moment).replace(tzinfo=None)
    except OverflowError:
        return None


def _span(moment: datetime, value: str) -> tuple[datetime, datetime]:
    """What a person means by it: the whole day, or the second."""
    try:
        date.fromisoformat(value.strip())
        step = timedelta(days=1)
    except ValueError:
        step = timedelta(seconds=1)
    return moment, min(moment, datetime.max - step) + step


def _no_bound(asked: Filter, value: str, wanted: str) -> InvalidInputError:
    return InvalidInputError(
        f"«{value[:100]}» does not fit the column «{asked.column[:100]}».",
        f"A bound of this column is {wanted}.",
        "Correct the value.",
    )
