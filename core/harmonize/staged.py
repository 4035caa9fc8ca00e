"""Expressions that need columns of their own first: what is used twice is computed once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

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


def rarely(text: pl.Expr, make: Callable[[pl.Expr], pl.Expr], dtype: pl.DataType) -> pl.Expr:
    """`make` of a column that is null nearly everywhere; chunks without any value cost nothing.

    The slow reading of what the quick one left would otherwise allocate its columns for nothing in nearly every file.
    """

    def run(values: pl.Series) -> pl.Series:
        if values.null_count() == len(values):
            return pl.repeat(None, len(values), dtype=dtype, eager=True)
        return values.alias("x").to_frame().select(make(pl.col("x")).alias("x"))["x"].cast(dtype)

    return text.map_batches(run, return_dtype=dtype, is_elementwise=True)
