"""A table in the data browser: filters, one page of rows, export of all that fit; raw rows beside harmonized ones."""

import io

import polars as pl
import streamlit as st

from app.actions import datasets
from app.actions.run_rows import run_rows
from app.ui import numbers
from app.ui.browser.filters import Asked, ask
from app.ui.browser.read import raw_rows, reference_rows
from app.ui.cells import as_cells, number_formats
from app.ui.export import safe_csv
from app.ui.frame import errors_shown
from app.ui.mappings.rows import show_cells, table_height
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.datasets.browse import Page, browse, rows_at_lines, selected
from core.datasets.records import Dataset
from core.harmonize.saved import HarmonizedRun
from core.harmonize.source.open import LINE

MOST_EXPORTED = 100_000
SIDES = ("Side by side", "Harmonized", "Raw")


def show_run_table(visit: Visit, run: HarmonizedRun) -> None:
    """Harmonized rows with filters, the raw rows that they come from beside them."""
    frame = run_rows(visit.console, visit.principal, run)
    dataset = datasets.get_dataset(visit.console, visit.principal, run.dataset_id)
    side = st.segmented_control(
        "Rows", SIDES, default=SIDES[0], required=True, key="browser-side", label_visibility="collapsed"
    )
    if side == "Raw":
        show_raw_table(dataset)
        return
    key = f"run-{run.id}"
    asked = ask(frame, key=key)
    with errors_shown():
        page = _page(frame, asked, key)
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _export(frame, asked, page, f"{dataset.name}-harmonized", key)
        if side == "Harmonized":
            show_cells(visit, run, page.rows, key=f"{key}-cells-{page.offset}")
            return
        left, right = st.columns(2, gap="medium")
        with left:
            st.caption(f"As {escape(dataset.title, 60)} has them")
            _raw_beside(dataset, page.rows)
        with right:
            st.caption("Harmonized: choose a cell to see where it comes from")
            show_cells(visit, run, page.rows, key=f"{key}-cells-{page.offset}")


def show_raw_table(dataset: Dataset) -> None:
    """The rows of a raw file with filters."""
    with raw_rows(dataset) as frame:
        key = f"raw-{dataset.id}"
        asked = ask(frame, key=key)
        with errors_shown():
            page = _page(frame, asked, key)
            _export(frame.drop(LINE), asked, page, dataset.name, key)
            _table(
                page.rows.rename({LINE: "line"}) if "line" not in page.rows.columns else page.rows,
                key,
                as_text=True,
            )


def show_reference_table(dataset: Dataset) -> None:
    """A reference table with filters, what it is, and what its columns mean."""
    st.caption(escape(dataset.description, 300))
    rows = reference_rows(dataset)
    key = f"reference-{dataset.id}"
    asked = ask(rows.lazy(), key=key)
    with errors_shown():
        page = _page(rows.lazy(), asked, key)
        _export(rows.lazy(), asked, page, dataset.name, key)
        _table(page.rows, key)
        _meanings(dataset)


def _page(frame: pl.LazyFrame, asked: Asked, key: str) -> Page:
    """One page, with its place among those that fit."""
    at = int(st.session_state.get(f"{key}-page") or 1)
    page = browse(frame, asked.query, offset=(at - 1) * asked.page_rows, limit=asked.page_rows)
    pages = max(1, -(-page.fitting // asked.page_rows))
    if at > pages:
        st.session_state[f"{key}-page"] = 1
        page = browse(frame, asked.query, limit=asked.page_rows)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        fit = f"{numbers.count(page.fitting)} of {numbers.rows(page.total)}"
        st.markdown(
            f"**{fit}**" if page.fitting < page.total else f"**{numbers.rows(page.total)}**",
            width="content",
        )
        if pages > 1:
            st.pagination(pages, key=f"{key}-page")
    return page


def _export(frame: pl.LazyFrame, asked: Asked, page: Page, name: str, key: str) -> None:
    """All rows that fit, not only the page."""
    stem = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)[:80]
    too_many = page.fitting > MOST_EXPORTED
    kept = selected(frame, asked.query)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Export CSV",
            data=lambda: _csv(kept),
            file_name=f"{stem}.csv",
            mime="text/csv",
            key=f"{key}-csv",
            icon=":material/download:",
            on_click="ignore",
            disabled=too_many,
        )
        st.download_button(
            "Parquet",
            data=lambda: _parquet(kept),
            file_name=f"{stem}.parquet",
            key=f"{key}-parquet",
            icon=":material/download:",
            on_click="ignore",
            disabled=too_many,
        )
        if too_many:
            st.caption(
                f"At most {numbers.count(MOST_EXPORTED)} rows can be exported here: filter them first."
            )


def _csv(frame: pl.LazyFrame) -> bytes:
    rows = frame.head(MOST_EXPORTED).collect()
    times = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    rows = rows.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%SZ")) if times else rows
    return safe_csv(rows.iter_rows(named=True), rows.columns)


def _parquet(frame: pl.LazyFrame) -> bytes:
    out = io.BytesIO()
    frame.head(MOST_EXPORTED).collect().write_parquet(out, compression="zstd")
    return out.getvalue()


def _table(rows: pl.DataFrame, key: str, *, as_text: bool = False) -> None:
    st.dataframe(
        as_cells(rows, as_text=as_text),
        hide_index=True,
        height=table_height(rows.height),
        column_config=number_formats(rows) if not as_text else None,
        placeholder="–",
        alt="Rows that fit the filters",
        key=f"{key}-table",
    )


def _raw_beside(dataset: Dataset, made: pl.DataFrame) -> None:
    """The raw row of each harmonized row, in the same order; a row that became several stands as often."""
    if "lineage.line" not in made.columns:
        st.caption("These rows do not say where they come from.")
        return
    lines = made.get_column("lineage.line").cast(pl.Int64, strict=False)
    with raw_rows(dataset) as frame:
        found = rows_at_lines(frame, lines.drop_nulls().to_list())
    beside = pl.DataFrame({LINE: lines}).join(
        found.with_columns(pl.col(LINE).cast(pl.Int64)), on=LINE, how="left", maintain_order="left"
    )
    rows = beside.rename({LINE: "line"}) if "line" not in found.columns else beside
    st.dataframe(
        as_cells(rows, as_text=True),
        hide_index=True,
        height=table_height(rows.height),
        placeholder="–",
        alt="Raw rows, in the order of the harmonized ones",
    )


def _meanings(dataset: Dataset) -> None:
    columns = dataset.card.get("columns")
    if not isinstance(columns, list) or not columns:
        return
    with st.expander("What the columns mean", icon=":material/info:"):
        told = [entry for entry in columns if isinstance(entry, dict)]
        st.table(
            {
                "Column": [escape(str(entry.get("name", ""))) for entry in told],
                "Meaning": [escape(str(entry.get("meaning", "")), 300) for entry in told],
                "Unit": [escape(str(entry.get("unit", ""))) for entry in told],
            },
            border="horizontal",
            hide_index=True,
            alt=f"Columns of {plain(dataset.title, 60)}",
        )
