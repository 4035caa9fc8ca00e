"""A table that sorts (click a heading), filters, and exports what is left as spreadsheet-safe CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import pandas as pd
import streamlit as st

from app.ui.export import safe_csv
from app.ui.text import plain

Row = Mapping[str, Any]
Kind = Literal["text", "number", "percent", "progress", "time", "size"]
NOTHING_HERE = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: `field` of the row, its heading, how it reads, and where needed a word of help."""

    field: str
    label: str
    kind: Kind = "text"
    help: str | None = None


def show_table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    key: str,
    alt: str,
    file_name: str,
    search: str = "Filter",
    height: int | None = None,
    missing: str = NOTHING_HERE,
    pick: bool = False,
) -> Row | None:
    """Draw it. Cells are shown literally. The export holds the rows that the filter lets through.

    `missing` stands where a cell has no value. `pick`: one row can be ticked, and is answered.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        term = st.text_input(
            search,
            key=f"{key}-filter",
            type="search",
            placeholder="Type to filter",
            width=360,
            label_visibility="collapsed",
        )
        kept = [row for row in rows if _matches(row, columns, term)]
        st.download_button(
            "Export CSV",
            data=lambda: safe_csv(
                [{column.label: row.get(column.field) for column in columns} for row in kept],
                [column.label for column in columns],
            ),
            file_name=file_name,
            mime="text/csv",
            key=f"{key}-export",
            icon=":material/download:",
            on_click="ignore",
        )
    frame = pd.DataFrame(
        [[_cell(row.get(c.field), c.kind) for c in columns] for row in kept],
        columns=[c.field for c in columns],
    )
    state = st.dataframe(
        frame,
        hide_index=True,
        key=f"{key}-table",
        alt=alt,
        height=height or "auto",
        column_config={column.field: _config(column) for column in columns},
        placeholder=missing,
        on_select="rerun" if pick else "ignore",
        selection_mode="single-row",
    )
    if term:
        st.caption(f"{len(kept):,} of {len(rows):,} rows match.")
    chosen = cast(dict[str, Any], state)["selection"]["rows"] if pick else []
    return kept[chosen[0]] if chosen and chosen[0] < len(kept) else None


def _matches(row: Row, columns: Sequence[Column], term: str | None) -> bool:
    words = (term or "").lower().split()
    text = " ".join(str(row.get(column.field, "")) for column in columns).lower()
    return all(word in text for word in words)


def _cell(value: Any, kind: Kind) -> Any:
    if kind == "text":
        return None if value is None else plain(str(value), 500)
    if kind in ("percent", "progress") and value is not None:
        return 100 * float(value)
    if kind == "size" and value is not None:
        return float(value) / 1e6
    return value


def _config(column: Column) -> Any:
    config = st.column_config
    match column.kind:
        case "number":
            return config.NumberColumn(column.label, help=column.help, format="localized")
        case "percent":
            return config.NumberColumn(column.label, help=column.help, format="%.1f %%")
        case "progress":
            return config.ProgressColumn(
                column.label, help=column.help, format="%.0f %%", min_value=0, max_value=100
            )
        case "size":
            return config.NumberColumn(f"{column.label}, MB", help=column.help, format="%.2f")
        case "time":
            return config.DatetimeColumn(
                column.label, help=column.help, format="YYYY-MM-DD HH:mm", timezone="UTC"
            )
        case _:
            return config.TextColumn(column.label, help=column.help)
