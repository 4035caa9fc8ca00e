"""Dataset library: what there is, how good it is, what is wrong with it, and the way to a training run."""

import streamlit as st

from app.actions import datasets
from app.ui.datasets.build import show_builder
from app.ui.datasets.list import (
    DATASET_COLUMNS,
    dataset_card,
    dataset_row,
    found_by,
    offer_examination,
    version_numbers,
)
from app.ui.datasets.new import import_form, offer_builders
from app.ui.datasets.view import show_dataset
from app.ui.datasets.words import kind_word
from app.ui.frame import Figure, empty_state, figures, page_head
from app.ui.numbers import count, size
from app.ui.screens import DATASETS, shown_item
from app.ui.tables import show_table
from app.ui.visit import current_visit
from core.datasets.records import DatasetKind
from core.registry.records import AdapterType
from core.tenants.records import Permission

visit = current_visit()
may_train = visit.principal.may(Permission.TRAIN)
opened, built = shown_item("dataset"), shown_item("build")
if opened is not None:
    show_dataset(visit, opened)
    st.stop()
if built in (AdapterType.TASK, AdapterType.BRAND):
    show_builder(visit, AdapterType(built))
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
        format_func=lambda k: "All" if k == "all" else kind_word(DatasetKind(k)),
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
    words = ""
    if view == "Cards":  # the table has a field of its own
        words = st.text_input(
            "Search", type="search", placeholder="Name, description, type", key="dataset-search", width=240
        )
    if may_train:
        offer_builders()
of_kind = [dataset for dataset in sets if kind in ("all", dataset.kind)]
shown = found_by(of_kind, words)

if not of_kind:
    empty_state("No datasets here.", "Import a file of your own below.", icon=":material/database:")
elif not shown:
    empty_state("No set has these words.", "Search for something else.", icon=":material/search_off:")
else:
    offer_examination(visit, shown)
    versions = version_numbers(visit, shown)
    if view == "Table":
        show_table(
            [dataset_row(visit, dataset, versions.get(dataset.id, 1)) for dataset in shown],
            DATASET_COLUMNS,
            key="datasets",
            alt="Datasets of this workspace",
            file_name="datasets.csv",
        )
    else:
        with st.grid(3, min_column_width=250):
            for dataset in shown:
                dataset_card(visit, dataset, versions.get(dataset.id, 1))

if may_train:
    import_form(visit)
