"""How rows of a source become rows of RMIS where one is not one: duplicates, nested lists, parts, corrections."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from core.harmonize.headline import is_measure
from core.harmonize.source.records import LINE
from core.rmis.facts import FactType, fact_column

CHILD, PART, FIRST_PART, SOUND = "__child", "__part", "__first_part", "__sound"
NO_PART = -1
_SUM = pl.Decimal(38, 9)


@dataclass(frozen=True)
class Items:
    """A source column of JSON lists; `fields`: name of the new column → dotted path inside an item."""

    column: str
    fields: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """One of the rows that a source row becomes: it is there when one of its source columns has a value."""

    constants: Mapping[str, str]
    sources: tuple[str, ...]


def repeated_lines(frame: pl.LazyFrame, columns: Sequence[str]) -> pl.Series:
    """LINE of every row whose key came before. A key with a blank part is never a repeat.

    Keys are compared by 128 bits of hash first, which bounds the memory, and then by themselves.
    """
    key = [pl.col(name).cast(pl.String, strict=False).str.strip_chars() for name in columns]
    known = frame.select(
        pl.struct(key).hash(1).alias("a"),
        pl.struct(key).hash(2).alias("b"),
        pl.all_horizontal((each.is_not_null()) & (each != "") for each in key).alias("whole"),
        LINE,
    ).filter("whole")
    several = known.group_by("a", "b").agg(pl.len()).filter(pl.col("len") > 1).select("a", "b")
    suspects = known.join(several, on=["a", "b"], how="semi").select(LINE).collect(engine="streaming")
    if suspects.is_empty():
        return suspects[LINE]
    lines = suspects[LINE].implode()
    rows = frame.filter(pl.col(LINE).is_in(lines)).select(*key, LINE).collect(engine="streaming").sort(LINE)
    return rows.filter(~pl.struct(columns).is_first_distinct())[LINE]


def without_lines(frame: pl.LazyFrame, lines: pl.Series) -> pl.LazyFrame:
    return frame.filter(~pl.col(LINE).is_in(lines.implode())) if len(lines) else frame


def with_items(frame: pl.LazyFrame, items: Items) -> pl.LazyFrame:
    """One row for each item of the list, with its fields as text; a row without items stays one row."""
    names = list(items.fields)
    shape = pl.Struct({**dict.fromkeys(names, pl.String), SOUND: pl.Boolean})
    parse = _item_reader([items.fields[name] for name in names], names, shape)
    lists = pl.col(items.column).map_batches(parse, return_dtype=pl.List(shape), is_elementwise=True)
    return (
        frame.with_columns(lists.alias("__items"))
        .with_columns(pl.int_ranges(0, pl.col("__items").list.len()).alias(CHILD))
        .explode("__items", CHILD)
        .with_columns(
            *(pl.col("__items").struct.field(name).alias(name) for name in names),
            pl.col("__items").struct.field(SOUND).alias(SOUND),
        )
        .drop("__items")
    )


def with_parts(frame: pl.LazyFrame, parts: Sequence[Part]) -> pl.LazyFrame:
    """One row for each part that has a value; a row without any stays one row."""
    there = [
        pl.when(pl.any_horizontal(pl.col(name).is_not_null() for name in part.sources)).then(
            pl.lit(place, pl.Int16)
        )
        for place, part in enumerate(parts)
    ]
    found = pl.concat_list(there).list.drop_nulls()
    none = pl.lit([NO_PART], dtype=pl.List(pl.Int16))
    return (
        frame.with_columns(pl.when(found.list.len() > 0).then(found).otherwise(none).alias(PART))
        .with_columns(pl.col(PART).list.first().alias(FIRST_PART))
        .explode(PART)
    )


def corrected(frame: pl.LazyFrame, keys: Sequence[str], line: str) -> pl.LazyFrame:
    """A stream of corrections summed over `keys` (RMIS columns): measures add up, levels are the newest, the rest the first.

    Sums are made of decimals, so that no order of adding changes them. Rows with a blank key stay as they are.
    """
    names = [name for name in frame.collect_schema().names() if name not in keys]
    known = pl.all_horizontal(pl.col(key).is_not_null() for key in keys)
    alone = pl.when(~known).then(pl.col(line))
    summed = (
        frame.with_columns(alone.alias("__alone"))
        .group_by(*keys, "__alone")
        .agg(*(_summary(name, line) for name in names))
    )
    return summed.sort(line).select(frame.collect_schema().names())


def _summary(name: str, line: str) -> pl.Expr:
    column = fact_column(name)
    value = pl.col(name)
    if column is None or column.dtype not in (FactType.INTEGER, FactType.NUMBER):
        return value.min() if name == line else value.sort_by(line).drop_nulls().first()
    if not is_measure(name):
        return value.sort_by(line).drop_nulls().last()
    total = value.cast(_SUM).sum().cast(pl.Float64) if column.dtype is FactType.NUMBER else value.sum()
    return pl.when(value.count() > 0).then(total).alias(name)


def _item_reader(
    paths: Sequence[str], names: Sequence[str], shape: pl.Struct
) -> Callable[[pl.Series], pl.Series]:
    steps = [path.split(".") if path else [] for path in paths]

    def read(values: pl.Series) -> pl.Series:
        rows = [
            [
                {**{name: _at(item, path) for name, path in zip(names, steps, strict=True)}, SOUND: sound}
                for item in found
            ]
            for found, sound in map(_items_of, values)
        ]
        return pl.Series(values.name, rows, dtype=pl.List(shape))

    return read


def _items_of(value: Any) -> tuple[list[Any], bool]:
    """(items, whether the text could be read); a blank list counts as one item without fields."""
    sound = True
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_int=str, parse_float=str)
        except (ValueError, RecursionError):
            value, sound = None, False
    if isinstance(value, pl.Series):
        value = value.to_list()
    if value is None:
        return [None], sound
    found = value if isinstance(value, list) else [value]
    return found or [None], sound


def _at(item: Any, path: Sequence[str]) -> str | None:
    for step in path:
        item = item.get(step) if isinstance(item, dict) else None
    if item is None or item == "":
        return None
    if isinstance(item, bool):
        return str(item).lower()
    if isinstance(item, dict | list):
        return json.dumps(item, ensure_ascii=False)
    return str(item)
