"""The rows of a set: the first ones as a table, and one in full beside what the base will read of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.actions import datasets, examinations
from app.ui import numbers
from app.ui.datasets.read import examinable
from app.ui.datasets.words import as_text
from app.ui.frame import error_box
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain, show_text
from app.ui.visit import Visit
from core.datasets.layout_rows import Parsed, parse_row
from core.datasets.layouts import outline_of
from core.datasets.records import Dataset, Example, Preference
from core.datasets.rows import Fault, Row
from core.errors import RmnError
from core.training.prompts import Turn, chat_renderer

PREVIEW_ROWS = 50
SHORT_TEXT = 60


def show_rows(visit: Visit, dataset: Dataset) -> None:
    """The first rows, and one of them in full."""
    preview = datasets.preview(visit.console, visit.principal, dataset.id, PREVIEW_ROWS)
    if not preview:
        st.caption("This set has no rows.")
        return
    fields = list(dict.fromkeys(field for row in preview for field in row))
    show_table(
        [{field: as_text(row.get(field)) for field in fields} for row in preview],
        [Column(field, plain(field, 60)) for field in fields],
        key=f"rows-{dataset.id}",
        alt=f"The first rows of {dataset.title}",
        file_name="rows.csv",
        search="Filter rows",
    )
    st.caption(f"The first {len(preview)} of {numbers.rows(dataset.rows)}.")
    number = 1
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("One row in full", anchor=False)
        if len(preview) > 1:
            number = st.pagination(len(preview), key=f"row-{dataset.id}")
    place = min(number, len(preview)) - 1
    if not examinable(dataset):
        _whole(preview[place], every=False)
        return
    with st.grid(2, min_column_width=320):
        with st.container():
            st.markdown(f"**Row {place + 1} as the file has it**")
            _whole(preview[place], every=True)
        with st.container():
            st.markdown("**What the base reads**")
            _as_read(visit, preview, place)


def _whole(row: Mapping[str, Any], *, every: bool) -> None:
    for field, value in row.items():
        text = as_text(value)
        if every or len(text) > SHORT_TEXT:
            st.caption(escape(str(field)))
            show_text(text)


def _as_read(visit: Visit, rows: Sequence[dict[str, Any]], place: int) -> None:
    name = visit.console.settings.base_model
    try:
        # The layout of a file follows from its first row.
        parsed = parse_row(outline_of(Row(1, rows[0])), Row(place + 1, rows[place]))
        if isinstance(parsed, Fault):
            st.caption(f"This row cannot be used: {escape(parsed.reason, 300)}.")
            return
        folder = examinations.base_here(visit.console)
        if folder is None:
            st.caption(f"The base {escape(name)} is not on this machine, so its chat template is not known.")
            return
        render = chat_renderer(folder)
        for title, turns in conversations(parsed).items():
            if title:
                st.caption(title)
            show_text(render(turns, False))
    except RmnError as error:
        error_box(error)
        return
    st.caption(f"By the chat template of {escape(name)}. Training counts the answer only.")


def conversations(row: Parsed) -> dict[str, list[Turn]]:
    """What is said in a row, turn by turn; a pair is two conversations."""
    system = [{"role": "system", "content": row.system}] if row.system else []
    earlier = [{"role": role, "content": text} for role, text in row.history]
    asked = [*system, *earlier, {"role": "user", "content": row.prompt}]

    def answered(text: str) -> list[Turn]:
        return [*asked, {"role": "assistant", "content": text}]

    if isinstance(row, Preference):
        return {"With the preferred answer": answered(row.chosen), "With the other": answered(row.rejected)}
    if isinstance(row, Example):
        return {"": answered(row.completion)}
    return {"Liked" if row.liked else "Disliked": answered(row.completion)}
