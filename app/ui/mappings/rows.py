"""Harmonized rows on screen, and where each of their cells comes from."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import streamlit as st

from app.actions import lineage
from app.actions.run_rows import run_rows
from app.ui import numbers
from app.ui.cells import as_cells, distinct, number_formats, telling_first
from app.ui.frame import errors_shown, fact_list
from app.ui.mappings.words import rule_words
from app.ui.text import escape, plain, show_text
from app.ui.visit import Visit
from core.harmonize.lineage import CellLineage
from core.harmonize.saved import HarmonizedRun

FIRST_ROWS = 100
LINE_OF = "lineage.line"


def show_run_rows(visit: Visit, run: HarmonizedRun) -> None:
    """The first rows of a run. A cell that is chosen says where it comes from."""
    rows = run_rows(visit.console, visit.principal, run).head(FIRST_ROWS).collect()
    st.caption(
        f"The first {numbers.count(rows.height)} of {numbers.rows(run.rows_out)}. "
        "Choose a cell to see the line, column and rule it comes from."
    )
    show_cells(visit, run, rows, key=f"rows-{run.id}")


def show_cells(visit: Visit, run: HarmonizedRun, rows: pl.DataFrame, *, key: str) -> None:
    """Harmonized rows with their lineage columns hidden, and the origin of the cell that is chosen."""
    shown = rows.select(telling_first(rows.columns))
    picked = st.dataframe(
        as_cells(shown),
        hide_index=True,
        height=table_height(rows.height),
        column_config=number_formats(shown),
        placeholder="–",
        selection_mode="single-cell",
        on_select="rerun",
        alt="Harmonized rows",
        key=key,
    )
    cell = chosen_cell(picked, shown.columns, rows.height)
    if cell is not None and LINE_OF in rows.columns:
        with errors_shown(), st.spinner("Reading that line again"):
            _explain(visit, run, rows, *cell)


def table_height(rows: int) -> int:
    """As high as its rows, at most 700 px."""
    return min(700, 35 * (max(rows, 1) + 1) + 3)


def chosen_cell(picked: Any, columns: Sequence[str], rows: int) -> tuple[int, str] | None:
    """Row and column of the cell that is chosen; None where none is, or where it is of an older table."""
    cells = (picked or {}).get("selection", {}).get("cells") or []
    if not cells:
        return None
    row, name = cells[0]
    shown = distinct([plain(column, 100) for column in columns])
    if name not in shown or not 0 <= int(row) < rows:
        return None
    return int(row), columns[shown.index(name)]


def _explain(visit: Visit, run: HarmonizedRun, rows: pl.DataFrame, row: int, target: str) -> None:
    line = rows.get_column(LINE_OF)[row]
    if line is None:
        st.caption("This row does not say which line it comes from.")
        return
    place = _place_in_line(run_rows(visit.console, visit.principal, run), rows, row, int(line))
    told = lineage.explain_cell_of_run(
        visit.console, visit.principal, run.id, line=int(line), target=target, row=place
    )
    with st.container(border=True):
        value = "blank" if told.value is None else escape(str(told.value), 200)
        st.markdown(f":material/account_tree: **{escape(target)}** is **{value}**")
        _origin(told, run)


def _origin(told: CellLineage, run: HarmonizedRun) -> None:
    if told.rule is None:
        st.caption("The mapping and its source card say this of the whole file; no column holds it.")
    elif told.secret:
        st.caption("The raw value is kept secret: a keyed hash stands for it.")
    else:
        st.caption("In the file it stands as")
        show_text(told.raw or "", placeholder="(blank)")
    lines = numbers.count(told.line)
    if len(told.lines) > 1:
        lines = ", ".join(map(str, told.lines[:20])) + (" …" if len(told.lines) > 20 else "")
    facts = {"File": told.file, "Line": lines}
    if told.source_field is not None:
        facts["Column"] = told.source_field
        facts["Rule"] = rule_words(told.rule)
    facts["Mapping"] = run.mapping_label
    facts["Digest of its rules"] = numbers.short_digest(told.mapping_digest)
    fact_list(facts, alt="Where this cell comes from")


def _place_in_line(frame: pl.LazyFrame, rows: pl.DataFrame, row: int, line: int) -> int:
    """Which of the rows that a line became this is, counted from 0."""
    same = frame.filter(pl.col(LINE_OF) == line).collect()
    wanted = rows.row(row)
    return next((place for place, each in enumerate(same.iter_rows()) if each == wanted), 0)
