"""Expressions that need columns of their own first: what is used twice is computed once."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

#: Columns to be added one set after the other, before an expression that names them.
Steps = tuple[dict[str, pl.Expr], ...]


@dataclass(frozen=True)
class Staged:
    """An expression and the steps before it."""

    value: pl.Expr
    steps: Steps = ()

    def then(self, value: pl.Expr) -> "Staged":
        """Another expression after the same steps."""
        return Staged(value, self.steps)

    def kept(self, name: str) -> "Staged":
        """The same with its value in a column, so that it can be named more than once."""
        return Staged(pl.col(name), (*self.steps, {name: self.value}))

    def finite(self) -> "Staged":
        """The same without infinity and NaN, which are no amounts."""
        return self.then(pl.when(self.value.is_finite()).then(self.value))


def with_steps(frame: pl.LazyFrame, several: Iterable[Steps]) -> pl.LazyFrame:
    """The frame with the columns of all steps; first steps of all are taken together, then second ones."""
    found = list(several)
    for depth in range(max((len(steps) for steps in found), default=0)):
        together: dict[str, pl.Expr] = {}
        for steps in found:
            if depth < len(steps):
                together.update(steps[depth])
        frame = frame.with_columns(**together)
    return frame


def or_else(quick: pl.Expr, text: pl.Expr, slow: Callable[[pl.Expr], pl.Expr], dtype: pl.DataType) -> pl.Expr:
    """`quick` where it has a value, else `slow` of the text. Chunks that the quick way read whole cost nothing more.

    As a plain expression the slow way would fill columns of nothing in nearly every file.
    """

    def run(pair: pl.Series) -> pl.Series:
        found, given = pair.struct.field("quick"), pair.struct.field("text")
        if found.null_count() == given.null_count():
            return found
        rest = pl.DataFrame({"quick": found, "x": given}).with_columns(
            x=pl.when(pl.col("quick").is_null()).then(pl.col("x"))
        )
        return rest.with_columns(x=slow(pl.col("x")).cast(dtype)).select(
            pl.col("quick").fill_null(pl.col("x"))
        )["quick"]

    return pl.struct(quick=quick, text=text).map_batches(run, return_dtype=dtype, is_elementwise=True)


def looked_up(value: pl.Expr, table: Mapping[Any, Any], dtype: pl.DataType) -> pl.Expr:
    """What a table says of each value, else null, chunk by chunk.

    `Expr.replace_strict` alone would do, but polars holds the whole file in memory for it.
    """
    old, new = list(table), pl.Series(list(table.values()), dtype=dtype)

    def run(values: pl.Series) -> pl.Series:
        if not old:
            return pl.repeat(None, len(values), dtype=dtype, eager=True)
        return values.replace_strict(old, new, default=None, return_dtype=dtype)

    return value.map_batches(run, return_dtype=dtype, is_elementwise=True)
