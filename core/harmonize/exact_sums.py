"""Sums that are read value by value with decimals: slow, exact, and apart from the expressions that they prove."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from core.harmonize.plan import Slot
from core.harmonize.values import numbers
from core.rmis.vocabularies import TransformOp


@dataclass(frozen=True)
class Sums:
    """Exact sum of one column, the number of values in it, and of those that were no numbers."""

    total: Decimal = Decimal(0)
    values: int = 0
    unread: int = 0


def exact_sum(table: pl.LazyFrame, raw: pl.Expr, slot: Slot) -> Sums:
    """Every raw value as a decimal, one by one."""
    transform = slot.cell.rule.transform
    comma = transform.op is TransformOp.PARSE_NUMBER and numbers.decimal_comma(transform.strip)
    total, values, unread = Decimal(0), 0, 0
    for batch in _batches(table.select(raw.alias("raw"))):
        for text, times in batch["raw"].drop_nulls().value_counts().iter_rows():
            number = numbers.exact_decimal(text, comma)
            values += times
            if number is None:
                unread += times
            else:
                total = numbers.EXACT.add(total, numbers.EXACT.multiply(number, Decimal(times)))
    return Sums(total, values, unread)


def exact_output(table: pl.LazyFrame, slot: Slot) -> Decimal:
    """Every value as the decimal that it is written as, one by one."""
    total = Decimal(0)
    for batch in _batches(table.select(pl.col(slot.name).alias("value"))):
        for value in batch["value"].drop_nulls():
            total = numbers.EXACT.add(total, Decimal(repr(value)))
    return total


def exact_pairs(pairs: pl.LazyFrame, *, divided: bool) -> Decimal:
    """The sum of `raw` by (or times) `by`, row by row."""
    total = Decimal(0)
    for batch in _batches(pairs):
        for text, by_text in batch.iter_rows():
            number, by = numbers.exact_decimal(text or ""), numbers.exact_decimal(by_text or "")
            if number is not None and by:
                part = numbers.EXACT.divide(number, by) if divided else numbers.EXACT.multiply(number, by)
                total = numbers.EXACT.add(total, part)
    return total


def _batches(table: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    yield from table.collect_batches(maintain_order=False, engine="streaming")


def plain(number: Decimal, *, whole: bool = False) -> str:
    """Without exponent, and with two decimal places at least unless it counts things."""
    text = f"{number.normalize(numbers.EXACT):f}" if number else "0"
    if whole or (text.startswith("-0") and not number):
        return text
    head, _, tail = text.partition(".")
    return f"{head}.{tail:0<2}"
