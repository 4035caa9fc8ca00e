"""The sheet of a draft: name and source card, the editor, and «Check and harmonize»."""

from dataclasses import replace

import streamlit as st

from app.actions import harmonize, mappings
from app.ui.frame import errors_shown, page_head
from app.ui.mappings.card import card_fields
from app.ui.mappings.draft import MappingDraft
from app.ui.mappings.editor import show_editor
from app.ui.mappings.keep import forget, keep
from app.ui.mappings.list import back_to_list
from app.ui.screens import MAPPINGS, go_to
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import Dataset


def edit_sheet(visit: Visit, dataset: Dataset, draft: MappingDraft) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        back_to_list()
        with st.container(horizontal=True, width="content"):
            if st.button("Start over", key="mapping-restart", type="tertiary", icon=":material/restart_alt:"):
                _confirm_restart(visit, dataset)
            check = st.button(
                "Check and harmonize", type="primary", icon=":material/rule:", key="mapping-check"
            )
    page_head(
        f"Map {escape(dataset.title, 80)}",
        "Each column of the file becomes a column of RMIS, or is left out on purpose.",
    )
    with st.expander("Name and source card", icon=":material/badge:"):
        draft = _head(visit, dataset, draft)
    draft = show_editor(visit, dataset, draft)
    if check:
        with errors_shown():
            _check(visit, dataset, draft)


def _head(visit: Visit, dataset: Dataset, draft: MappingDraft) -> MappingDraft:
    with st.form(f"mapping-head-{dataset.id}", border=False):
        name = st.text_input(
            "Name of the mapping", draft.name, max_chars=200, key=f"mapping-name-{dataset.id}"
        )
        card = card_fields(visit, draft.card, key=f"head-{dataset.id}")
        if st.form_submit_button("Take over", icon=":material/check:"):
            draft = replace(draft, name=name.strip() or draft.name, card=card)
            keep(visit, draft)
    return draft


def _check(visit: Visit, dataset: Dataset, draft: MappingDraft) -> None:
    version = mappings.save_mapping(
        visit.console,
        visit.principal,
        name=draft.name,
        mapping=draft.mapping(),
        note=f"Made with {dataset.name[:200]}",
    )
    job = harmonize.submit_harmonize(
        visit.console,
        visit.principal,
        dataset=dataset.id,
        mapping=version.id,
        card=draft.card,
        key=f"sheet of {dataset.digest}",
    )
    go_to(MAPPINGS, job=job.id)


@st.dialog("Start over?", icon=":material/restart_alt:")
def _confirm_restart(visit: Visit, dataset: Dataset) -> None:
    st.markdown("The draft of this mapping is thrown away. Saved versions stay.")
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep the draft", key="mapping-restart-no"):
            st.rerun()
        if st.button("Throw it away", type="primary", key="mapping-restart-yes"):
            forget(visit, dataset.id)
            st.query_params.pop("column", None)
            st.rerun()
