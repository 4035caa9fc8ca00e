"""Rows of a file of requests, read and checked: a unit, a variant, and one finite number or nothing per metric."""

import math
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from core.errors import InvalidInputError
from core.experiments.plan import MetricKind, MetricPlan

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_MISSING = ("", "null", "none", "na", "n/a")


def read_rows(path: Path) -> pl.DataFrame:
    """The file's rows; of text files every column as text. Raises InvalidInputError for what cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return pl.read_parquet(path)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        return pl.read_csv(path, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"«{path.name}» cannot be read.",
            str(error).splitlines()[0] if str(error) else "",
            "Give a CSV, TSV or Parquet file with one row per request and a header.",
        ) from error


def checked_rows(rows: pl.DataFrame, unit: str, variant: str, metrics: Sequence[MetricPlan]) -> pl.DataFrame:
    """Columns unit, variant and one number per metric (null: not there), checked."""
    for role, column in (("unit", unit), ("variant", variant)):
        if column not in rows.columns:
            raise InvalidInputError(
                f"The file has no column «{column}».",
                f"It names the {role} of each row. The file has {', '.join(rows.columns)}.",
                f"Rename a column, or name it with --{role}-column.",
            )
    if rows.height == 0:
        raise InvalidInputError("The file has no rows.", "", "Give one row per request.")
    keys = [
        pl.col(column).cast(pl.String).str.strip_chars().alias(role)
        for role, column in (("unit", unit), ("variant", variant))
    ]
    table = rows.select(*keys, *(_as_number(rows, metric) for metric in metrics))
    for role in ("unit", "variant"):
        missing = table.filter(pl.col(role).is_null() | (pl.col(role) == "")).height
        if missing:
            raise InvalidInputError(
                f"{missing:,} rows have no {role}.",
                f"Each row needs a {role}.",
                "Fill it in, or leave these rows out.",
            )
    for metric in metrics:
        _check_values(table, metric)
    return table


def _as_number(rows: pl.DataFrame, metric: MetricPlan) -> pl.Expr:
    column = pl.col(metric.name)
    if rows.schema[metric.name] != pl.String:
        return column.cast(pl.Float64, strict=False).alias(metric.name)
    text = column.str.strip_chars().str.to_lowercase()
    number = pl.when(text.is_in(_MISSING)).then(None).otherwise(text)
    words = number.replace_strict(_WORDS, default=None, return_dtype=pl.Float64)
    # What is neither a number nor a word becomes NaN, which is found and told below.
    read = pl.coalesce(words, number.cast(pl.Float64, strict=False), pl.lit(math.nan))
    return pl.when(number.is_null()).then(None).otherwise(read).alias(metric.name)


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
        raise InvalidInputError(f"«{name}» has no values.", "", "Name a column that has some.")
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
