"""The visual editor: all columns as a compact table, one of them open beside it, and the first rows before and after."""

import pandas as pd
import streamlit as st

from app.ui.cells import as_cells, telling_first
from app.ui.frame import error_box, errors_shown
from app.ui.mappings.changes import accept_all, current_place, open_picked, undo_last
from app.ui.mappings.draft import SURE, Entry, EntryState, MappingDraft, Show
from app.ui.mappings.entry import open_entry
from app.ui.mappings.keep import can_undo
from app.ui.mappings.read import (
    preview_rows,
    sampled,
    shown_values,
)
from app.ui.mappings.words import NO_TARGET, qualifier_words, transform_words
from app.ui.text import plain
from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.harmonize.findings import Finding
from core.harmonize.source.open import LINE, Source

TABLE_HEIGHT = 560
_ICONS = {EntryState.ACCEPTED: "✓", EntryState.CHANGED: "✎", EntryState.OPEN: "·"}


def show_editor(visit: Visit, dataset: Dataset, draft: MappingDraft) -> MappingDraft:
    """Draw it. The draft as it stands after this run comes back."""
    source = sampled(dataset)
    values = shown_values(dataset.digest, source.columns, source)
    bar = st.container()
    left, right = st.columns(2, gap="medium")
    number = current_place(draft)
    with right, st.container(border=True, key="mapping-open"):
        draft, warnings = open_entry(visit, dataset, source, values, draft, number)
    with left:
        _table(draft, values, number, warnings)
    with bar:
        _bar(dataset.id, draft)
    _preview(visit, source, draft)
    return draft


def _bar(dataset_id: str, draft: MappingDraft) -> None:
    total = len(draft.entries)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        left = total - draft.decided()
        st.badge(
            f"{left} need{'s' if left == 1 else ''} attention" if left else "All decided",
            color="orange" if left else "green",
            icon=":material/visibility:" if left else ":material/check:",
        )
        st.segmented_control(
            "Show",
            list(Show),
            default=Show.ALL,
            required=True,
            format_func=lambda show: f"{show.value} · {len(draft.shown(show))}",
            key="mapping-show",
            label_visibility="collapsed",
            persist_state="session",
        )
        sure = draft.sure_and_open()
        with st.container(horizontal=True, width="content"):
            st.button(
                f"Accept all above {SURE:.0%}" + (f" · {sure}" if sure else ""),
                icon=":material/done_all:",
                key="mapping-accept-all",
                disabled=not sure,
                on_click=accept_all,
                args=(dataset_id,),
            )
            st.button(
                "Undo",
                icon=":material/undo:",
                key="mapping-undo",
                shortcut="Alt+Z",
                disabled=not can_undo(dataset_id),
                on_click=undo_last,
                args=(dataset_id,),
            )


def _table(
    draft: MappingDraft,
    values: dict[str, list[str]],
    number: int,
    warnings: dict[str, list[Finding]],
) -> None:
    listed = draft.shown(st.session_state.get("mapping-show", Show.ALL))
    if not listed:
        st.success("Nothing left here. Show «All» to look at every column.", icon=":material/check_circle:")
        return
    rows = [_row(draft.entries[n], values, warnings) for n in listed]
    key = f"mapping-table-{draft.dataset_id}"
    st.session_state["_mapping_shown"] = listed
    wanted = [listed.index(number)] if number in listed else []
    st.session_state[key] = {"selection": {"rows": wanted}}
    st.caption("Choose a line to open it, or walk with Alt+↓ and Alt+↑.")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(TABLE_HEIGHT, 35 * (len(rows) + 1) + 3),
        selection_mode="single-row",
        on_select=open_picked,
        key=key,
        column_config={
            "state": st.column_config.TextColumn("", width=28, help="✓ accepted, ✎ changed, ! look at it"),
            "column": st.column_config.TextColumn("Column of the file", width=125),
            "becomes": st.column_config.TextColumn("Becomes", width=110),
            "by": st.column_config.TextColumn("How", width=130),
            "sure": st.column_config.NumberColumn("Sure", format="%d %%", width=55),
            "sample": st.column_config.TextColumn("For example", width=120),
        },
        alt="Columns of the file and what becomes of each",
    )


def _row(entry: Entry, values: dict[str, list[str]], warnings: dict[str, list[Finding]]) -> dict[str, object]:
    rule = entry.rule
    loud = any(f.severity != "note" for f in warnings.get(rule.source_field, ()))
    mark = "!" if entry.needs_attention else _ICONS[entry.state]
    told = qualifier_words(rule.qualifiers)
    becomes = plain(rule.target, 80) if rule.target else NO_TARGET
    return {
        "state": f"{mark}⚠" if loud else mark,
        "column": plain(rule.source_field, 120),
        "becomes": f"({becomes})" if rule.dropped and rule.target else becomes,
        "sure": None if entry.confidence is None else round(100 * entry.confidence),
        "by": transform_words(rule.transform) + (f" · {told}" if told else ""),
        "sample": plain(next(iter(values.get(rule.source_field, [])), ""), 60),
    }


def _preview(visit: Visit, source: Source, draft: MappingDraft) -> None:
    st.subheader("The first rows, before and after", anchor=False)
    with errors_shown():
        found = preview_rows(visit, source, draft.mapping(), draft.card)
        if found.problem is not None:
            error_box(found.problem)
        left, right = st.columns(2, gap="medium")
        with left:
            st.caption("As the file has them")
            st.dataframe(
                as_cells(found.raw.drop(LINE), as_text=True),
                hide_index=True,
                alt="Raw rows",
                placeholder="blank",
            )
        with right:
            st.caption("Harmonized")
            if found.made is None:
                st.caption("Nothing yet.")
            else:
                st.dataframe(
                    as_cells(found.made.select(telling_first(found.made.columns))),
                    hide_index=True,
                    alt="Harmonized rows",
                    placeholder="blank",
                )
