"""Rows of a file of requests, read and checked: a unit, a variant, and one finite number or nothing per metric.

The columns that every experiment has (`success`, `latency_ms`, `feedback_score`) are checked wherever they are, judged or
not: a file that is wrong there was written wrongly, and nothing else in it can be trusted.
"""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from core.errors import InvalidInputError
from core.experiments.checks import LARGEST_VALUE, RATINGS
from core.experiments.plan import MetricKind, MetricPlan
from core.experiments.records import LATENCY, RATING, SUCCESS

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_MISSING = ("", "null", "none", "na", "n/a")
_STANDARD = (
    MetricPlan(SUCCESS, MetricKind.SHARE),
    MetricPlan(LATENCY, MetricKind.MEAN, higher_is_better=False),
    MetricPlan(RATING, MetricKind.MEAN),
)


def read_rows(path: Path) -> pl.DataFrame:
    """The file's rows; of text files every column as text. Raises InvalidInputError for what cannot be read."""
    if not path.exists() or path.is_dir():
        raise InvalidInputError(
            f"«{path.name}» is a folder." if path.is_dir() else f"There is no file «{path.name}».",
            "",
            "Give a CSV, TSV or Parquet file with one row per request and a header.",
        )
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path, glob=False, hive_partitioning=False)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        rows = pl.read_csv(path, separator=separator, infer_schema=False, glob=False)
        first = pl.read_csv(
            path,
            separator=separator,
            infer_schema=False,
            glob=False,
            has_header=False,
            n_rows=1,
            truncate_ragged_lines=True,
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError) as error:
        damaged = isinstance(error, pl.exceptions.PanicException)  # its words are of the reader's own source
        raise InvalidInputError(
            f"«{path.name}» cannot be read.",
            "It is damaged." if damaged else next(iter(str(error).splitlines()), ""),
            "Give a CSV, TSV or Parquet file with one row per request and a header.",
        ) from error
    _check_names(first.row(0) if first.height else ())
    return rows


def checked_rows(rows: pl.DataFrame, unit: str, variant: str, metrics: Sequence[MetricPlan]) -> pl.DataFrame:
    """Columns unit, variant and one number per metric (null: not there), checked."""
    for role, column in (("unit", unit), ("variant", variant)):
        if column not in rows.columns:
            raise InvalidInputError(
                f"The file has no column «{column}».",
                f"It names the {role} of each row. The file has {', '.join(rows.columns)}.",
                f"Rename a column, or name it with --{role}-column.",
            )
    if unit == variant:
        raise InvalidInputError(
            f"«{unit}» cannot name both units and variants.", "", "Name a column for each."
        )
    if rows.height == 0:
        raise InvalidInputError("The file has no rows.", "", "Give one row per request.")
    keys = [_as_name(rows, column).alias(role) for role, column in (("unit", unit), ("variant", variant))]
    judged = {metric.name for metric in metrics}
    present = {*rows.columns} - {unit, variant}
    beside = [each for each in _STANDARD if each.name in present - judged]
    table = rows.select(*keys, *(_as_number(rows, each.name) for each in (*metrics, *beside)))
    for role in ("unit", "variant"):
        missing = table.filter(pl.col(role).is_null() | (pl.col(role) == "")).height
        if missing:
            raise InvalidInputError(
                f"{missing:,} rows have no {role}.",
                f"Each row needs a {role}.",
                "Fill it in, or leave these rows out.",
            )
    for metric in metrics:
        if table[metric.name].null_count() == table.height:
            raise InvalidInputError(f"«{metric.name}» has no values.", "", "Name a column that has some.")
    for metric in (*metrics, *beside):
        _check_values(table, metric)
    return table.drop(each.name for each in beside)


def _check_names(names: Sequence[str | None]) -> None:
    """Raise InvalidInputError where two columns have one name: which of them counts, nobody could say."""
    twice = [name for name, times in Counter(names).items() if name and times > 1]
    if twice:
        raise InvalidInputError(
            f"The file has more than one column «{twice[0]}».",
            "It cannot be known which of them counts.",
            "Rename one of them, or leave it out.",
        )


def _as_name(rows: pl.DataFrame, column: str) -> pl.Expr:
    """What names a unit or a variant, as text."""
    kind = rows.schema[column]
    text = pl.col(column).fill_nan(None) if kind.is_float() else pl.col(column)
    try:
        if kind.is_nested() or kind == pl.Object:
            raise _not_read(column, kind, "names")
        if kind == pl.Binary:
            rows[column].cast(pl.String)
    except pl.exceptions.PolarsError:  # bytes that are no UTF-8
        raise _not_read(column, kind, "names") from None
    return text.cast(pl.String).str.strip_chars()


def _as_number(rows: pl.DataFrame, name: str) -> pl.Expr:
    column, kind = pl.col(name), rows.schema[name]
    if kind.is_numeric() or kind in (pl.Boolean, pl.Null):
        return column.cast(pl.Float64, strict=False).alias(name)
    if kind not in (
        pl.String,
        pl.Categorical,
        pl.Enum,
    ):  # a date, too, could be averaged, and would mean nothing
        raise _not_read(name, kind, "numbers")
    text = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    number = pl.when(text.is_in(_MISSING)).then(None).otherwise(text)
    words = number.replace_strict(_WORDS, default=None, return_dtype=pl.Float64)
    # What is neither a number nor a word becomes NaN, which is found and told below.
    read = pl.coalesce(words, number.cast(pl.Float64, strict=False), pl.lit(math.nan))
    return pl.when(number.is_null()).then(None).otherwise(read).alias(name)


def _not_read(column: str, kind: pl.DataType, wanted: str) -> InvalidInputError:
    return InvalidInputError(
        f"«{column}» does not hold {wanted}.",
        f"It holds {str(kind)[:60]}.",
        f"Write {wanted} there, as text or plainly.",
    )


def _check_values(table: pl.DataFrame, metric: MetricPlan) -> None:
    values = table[metric.name].drop_nulls()
    name = metric.name
    wrong = int((~values.is_finite()).sum())
    if wrong:
        raise InvalidInputError(
            f"{wrong:,} rows of «{name}» are not finite numbers.",
            "A value that is not a number would spoil every sum.",
            "Correct them, or leave the cell empty where the value is unknown.",
        )
    if values.is_empty():
        return
    low, high = float(values.min() or 0.0), float(values.max() or 0.0)  # type: ignore[arg-type]
    if metric.kind is MetricKind.SHARE and not set(values.unique().to_list()) <= {0.0, 1.0}:
        raise InvalidInputError(
            f"«{name}» is not a share.",
            f"Its values lie between {low:g} and {high:g}; those of a share are 0 and 1.",
            f"Use «{name}:mean» for the mean of numbers.",
        )
    if low < 0 and (metric.kind is MetricKind.QUANTILE or "latency" in name.lower()):
        raise InvalidInputError(
            f"{int((values < 0).sum()):,} rows of «{name}» are negative.",
            f"The least is {low:g}; time does not run backwards.",
            "Correct them, or leave the cell empty.",
        )
    least, most = RATINGS if name == RATING else (-LARGEST_VALUE, LARGEST_VALUE)
    if low < least or high > most:
        raise InvalidInputError(
            f"{int(((values < least) | (values > most)).sum()):,} rows of «{name}» are out of range.",
            f"Values lie between {least:g} and {most:g}; here between {low:g} and {high:g}.",
            "Correct them, or leave the cell empty.",
        )
