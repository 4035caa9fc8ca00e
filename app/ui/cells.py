"""Rows of a table as cells for the screen: texts letter by letter, numbers as numbers, times as text in UTC."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import polars as pl
import streamlit as st

from app.ui.text import plain
from core.rmis.vocabularies import QUALIFIERS

LONGEST_CELL = 300
_SAME_EVERYWHERE = frozenset(
    {"grain", "account_timezone", "event_type", "retailer", "network", "currency", *QUALIFIERS}
)
_ID_WORDS = ("id", "gtin", "upc", "sku")


def as_cells(frame: pl.DataFrame, *, as_text: bool = False) -> pd.DataFrame:
    """The frame for `st.dataframe`. `as_text`: every cell as its text, as files have it. Blank stays blank."""
    names = distinct([plain(name, 100) for name in frame.columns])
    made: dict[str, Any] = {}
    for name, column in zip(names, frame.get_columns(), strict=True):
        made[name] = _texts(column) if as_text or not _is_number(column.dtype) else _numbers(column)
    return pd.DataFrame(made, columns=names)


def distinct(names: Sequence[str]) -> list[str]:
    """Names that look alike once hidden signs are shown get a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found


def telling_first(columns: Sequence[str]) -> list[str]:
    """Columns of harmonized rows with those last that mostly say the same in every row; lineage is left out."""
    kept = [name for name in columns if not name.startswith("lineage.")]
    return [*(n for n in kept if n not in _SAME_EVERYWHERE), *(n for n in kept if n in _SAME_EVERYWHERE)]


def number_formats(frame: pl.DataFrame) -> dict[str, Any]:
    """How the numbers of a frame read: thousands separators, but for ids and days."""
    names = distinct([plain(name, 100) for name in frame.columns])
    return {
        name: st.column_config.NumberColumn(format="localized")
        for name, column in zip(names, frame.get_columns(), strict=True)
        if _is_number(column.dtype) and not any(word in name.lower().split("_") for word in _ID_WORDS)
    }


def _is_number(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.is_float() or isinstance(dtype, pl.Decimal)


def _numbers(column: pl.Series) -> Any:
    if column.dtype.is_integer():
        return pd.array(column.to_list(), dtype="Int64")
    return pd.array(column.cast(pl.Float64).fill_nan(None).to_list(), dtype="Float64")


def _texts(column: pl.Series) -> Any:
    if isinstance(column.dtype, pl.Datetime):
        zone = "Z" if column.dtype.time_zone else ""
        texts = column.dt.strftime(f"%Y-%m-%d %H:%M:%S{zone}").to_list()
    elif column.dtype.is_nested():
        texts = [None if value is None else str(value) for value in column.to_list()]
    else:
        texts = column.cast(pl.String, strict=False).to_list()
    return pd.Series([None if text is None else plain(text, LONGEST_CELL) for text in texts], dtype="object")
