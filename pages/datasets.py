"""Dataset library: what there is, what is in it, what is wrong with it, and the way to a training run."""

import streamlit as st

from app.actions import datasets
from app.ui.badges import KIND_WORDS
from app.ui.dataset_view import dataset_card, dataset_columns, dataset_row, show_dataset
from app.ui.frame import Figure, empty_state, errors_shown, figures, keep_notice, page_head
from app.ui.numbers import count, size
from app.ui.screens import DATASETS, show_item, shown_item
from app.ui.tables import show_table
from app.ui.visit import current_visit
from core.datasets.records import DatasetKind
from core.registry.records import AdapterType
from core.tenants.records import Permission

visit = current_visit()
opened = shown_item("dataset")
if opened is not None:
    show_dataset(visit, opened)
    st.stop()

page_head(DATASETS.title, DATASETS.purpose)
sets = datasets.list_datasets(visit.console, visit.principal)
trainable = [dataset for dataset in sets if dataset.kind is DatasetKind.SFT]
figures(
    [
        Figure("Sets", count(len(sets)), f"{len(trainable)} to train from"),
        Figure("Rows", count(sum(dataset.rows for dataset in sets)), size(sum(d.size_bytes for d in sets))),
        Figure("Simulated", count(sum(dataset.simulated for dataset in sets)), f"of {len(sets)} sets"),
    ]
)

with st.container(horizontal=True, vertical_alignment="bottom"):
    kind = st.segmented_control(
        "Kind",
        ["all", *(k for k in DatasetKind if any(d.kind is k for d in sets))],
        default=DatasetKind.SFT if trainable else "all",
        required=True,
        format_func=lambda k: "All" if k == "all" else KIND_WORDS[k],
        key="dataset-kind",
        persist_state="session",
    )
    view = st.segmented_control(
        "View",
        ["Cards", "Table"],
        default="Cards",
        required=True,
        key="dataset-view",
        persist_state="session",
    )
shown = [dataset for dataset in sets if kind in ("all", dataset.kind)]

if not shown:
    empty_state("No datasets here.", "Import a file of your own below.", icon=":material/database:")
elif view == "Table":
    show_table(
        [dataset_row(dataset) for dataset in shown],
        dataset_columns(),
        key="datasets",
        alt="Datasets of this workspace",
        file_name="datasets.csv",
    )
else:
    with st.grid(3, min_column_width=250):
        for dataset in shown:
            dataset_card(visit, dataset)

if visit.principal.may(Permission.TRAIN):
    with st.expander("Import a dataset", icon=":material/upload:"):
        st.caption(
            "JSONL, JSON or CSV with prompt and completion; prompt, chosen and rejected; or messages. "
            f"At most {visit.console.settings.upload_limit_mb} MB."
        )
        with st.form("import-dataset", border=False):
            file = st.file_uploader(
                "File",
                type=["jsonl", "json", "csv"],
                max_upload_size=visit.console.settings.upload_limit_mb,
                key="dataset-file",
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
                else:
                    with errors_shown():
                        made = datasets.import_dataset(
                            visit.console, visit.principal, file, name.strip(), adapter_type
                        )
                        keep_notice(f"{made.title} was imported: {count(made.rows)} rows.")
                        show_item("dataset", made.id)
                        st.rerun()
