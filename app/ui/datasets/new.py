"""The ways to a new set: a file of one's own, or examples written in a form."""

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.frame import errors_shown, keep_notice
from app.ui.screens import show_item
from app.ui.uploads import browser_limit_mb, limit_words
from app.ui.visit import Visit
from core.registry.records import AdapterType

READABLE = ["jsonl", "ndjson", "json", "csv", "tsv", "xlsx", "parquet", "gz"]


def offer_builders() -> None:
    """The two forms that need no file and no JSON."""
    with st.popover("Create", icon=":material/edit_note:"):
        st.caption("Write examples in a form. Each set that you save can grow later.")
        st.button(
            "Task examples: an objective and its tool call",
            key="build-task",
            icon=":material/task_alt:",
            on_click=show_item,
            args=("build", "task"),
        )
        st.button(
            "Brand examples: a request and good copy",
            key="build-brand",
            icon=":material/brush:",
            on_click=show_item,
            args=("build", "brand"),
        )


def import_form(visit: Visit) -> None:
    """A file of examples into the library. What it is follows from its content, never from its name."""
    with st.expander("Import a dataset", icon=":material/upload:"):
        st.caption(
            "JSONL, JSON, CSV, TSV, XLSX, Parquet or gzip of a text format. Rows are prompt and completion, messages, "
            "Alpaca, ShareGPT, prompt with chosen and rejected, or rules of an RMIS mapping. "
            f"{limit_words(visit)}"
        )
        with st.form("import-dataset", border=False):
            file = st.file_uploader(
                "File", type=READABLE, max_upload_size=browser_limit_mb(visit), key="dataset-file"
            )
            name = st.text_input(
                "Name", max_chars=100, placeholder="For example: spring catalog", key="dataset-name"
            )
            adapter_type = st.selectbox(
                "What an adapter should learn from it", list(AdapterType), key="dataset-type"
            )
            if st.form_submit_button("Import", type="primary", icon=":material/upload:"):
                if file is None or not name.strip():
                    st.warning("Choose a file and give it a name.")
                    return
                with errors_shown():
                    made = datasets.import_dataset(
                        visit.console, visit.principal, file, name.strip(), adapter_type
                    )
                    keep_notice(f"{made.title} was imported: {numbers.rows(made.rows)}.")
                    show_item("dataset", made.id)
                    st.rerun()
