"""Filters of the data browser as widgets: search, dates, retailer, type, any column, sort. What is asked is data only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl
import streamlit as st

from app.ui.text import plain
from core.datasets.browse import VALUELESS, Condition, Filter, Query, choices
from core.harmonize.source.open import LINE

DATE_COLUMNS = ("date_local", "ts", "date", "as_of")
RETAILER_COLUMNS = ("retailer",)
TYPE_COLUMNS = ("event_type", "placement_type", "channel", "outcome", "category", "source")
_HIDDEN = frozenset({LINE, "lineage.file", "lineage.mapping"})
_MORE = 6


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for, and how many rows a page has."""

    query: Query
    page_rows: int


def ask(frame: pl.LazyFrame, *, key: str) -> Asked:
    """Draw the filters that this table has columns for; what is asked comes back."""
    schema = frame.collect_schema()
    names = [name for name in schema.names() if name not in _HIDDEN]
    filters: list[Filter] = []
    with st.container(border=True):
        with st.grid(4, min_column_width=170):
            search = st.text_input(
                "Search", type="search", placeholder="Words in any column", max_chars=200, key=f"{key}-search"
            )
            filters += _dates(schema, key)
            for title, columns in (("Retailer", RETAILER_COLUMNS), ("Type", TYPE_COLUMNS)):
                filters += _several(frame, title, [name for name in columns if name in schema], key)
        with st.expander("More filters and sorting", icon=":material/filter_list:"):
            filters += _any_column(names, key)
            sort, descending, page_rows = _order(names, key)
    return Asked(Query(tuple(filters), search or "", sort, descending), page_rows)


def _dates(schema: pl.Schema, key: str) -> list[Filter]:
    name = next((n for n in DATE_COLUMNS if n in schema), None)
    if name is None:
        return []
    words = "day" if name == "date_local" else name
    first = st.date_input(f"From {words}", None, format="YYYY-MM-DD", key=f"{key}-from")
    last = st.date_input(f"To {words}", None, format="YYYY-MM-DD", key=f"{key}-to")
    found = []
    if isinstance(first, date):
        found.append(Filter(name, Condition.AT_LEAST, (first.isoformat(),)))
    if isinstance(last, date):
        found.append(Filter(name, Condition.AT_MOST, (last.isoformat(),)))
    return found


def _several(frame: pl.LazyFrame, title: str, columns: Sequence[str], key: str) -> list[Filter]:
    """Values to pick from the first of these columns that has several."""
    for column in columns:
        values = choices(frame, column)
        if len(values) > 1:
            picked = st.multiselect(
                title,
                values,
                format_func=lambda value: plain(value, 60),
                placeholder=f"Any {column.replace('_', ' ')}",
                key=f"{key}-{column}",
            )
            return [Filter(column, Condition.IS, tuple(picked))] if picked else []
    return []


def _any_column(names: Sequence[str], key: str) -> list[Filter]:
    """As many rows of column, condition and value as are filled, and an empty one after them."""
    found: list[Filter] = []
    for number in range(_MORE):
        left, middle, right = st.columns([3, 2, 3])
        column = left.selectbox(
            "Column",
            names,
            index=None,
            format_func=lambda n: plain(n, 60),
            placeholder="Any column",
            label_visibility="visible" if number == 0 else "collapsed",
            key=f"{key}-column-{number}",
        )
        condition = middle.selectbox(
            "Condition",
            list(Condition),
            format_func=lambda c: c.value,
            disabled=column is None,
            label_visibility="visible" if number == 0 else "collapsed",
            key=f"{key}-condition-{number}",
        )
        value = right.text_input(
            "Value",
            max_chars=500,
            disabled=column is None or condition in VALUELESS,
            label_visibility="visible" if number == 0 else "collapsed",
            key=f"{key}-value-{number}",
        )
        if column is None:
            break
        if condition in VALUELESS or value:
            found.append(Filter(column, condition, (value,) if condition not in VALUELESS else ()))
    return found


def _order(names: Sequence[str], key: str) -> tuple[str | None, bool, int]:
    left, middle, right = st.columns([3, 2, 3], vertical_alignment="bottom")
    sort = left.selectbox(
        "Sort by",
        names,
        index=None,
        format_func=lambda n: plain(n, 60),
        placeholder="As in the file",
        key=f"{key}-sort",
    )
    descending = middle.toggle("Largest first", disabled=sort is None, key=f"{key}-descending")
    rows = right.segmented_control(
        "Rows a page", [25, 50, 100, 200], default=25, required=True, key=f"{key}-rows"
    )
    return sort, bool(descending), int(rows)
