"""A dataset in full: score, rows, problems with their fixes, balance, versions and origin; and the ways on."""

import streamlit as st

from app.actions import datasets
from app.ui import badges, numbers
from app.ui.datasets.export import offer_export
from app.ui.datasets.health import show_health, show_problem
from app.ui.datasets.read import examinable, examined, known_score
from app.ui.datasets.rows import show_rows
from app.ui.datasets.shape import choose_lengths, show_balance, show_lengths
from app.ui.datasets.split import offer_split, show_split_outcome
from app.ui.datasets.versions import offer_undo, show_versions
from app.ui.datasets.words import BAND_HELP, as_text, kind_badge, score_badge
from app.ui.frame import Figure, fact_list, figures
from app.ui.screens import DATA_BROWSER, MAPPINGS, TRAINING, go_to, show_item
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import Dataset, DatasetKind
from core.datasets.versions import Version
from core.tenants.records import Permission

__all__ = ["can_train", "show_dataset", "show_problem"]

TAB = "dataset-tab"


def can_train(visit: Visit, dataset: Dataset) -> bool:
    """Whether this person may train, and this set is one to train from."""
    return dataset.kind is DatasetKind.SFT and visit.principal.may(Permission.TRAIN)


def show_dataset(visit: Visit, dataset_id: str) -> None:
    """A set in full. Raises NotFoundError."""
    st.button(
        "All datasets",
        type="tertiary",
        icon=":material/arrow_back:",
        on_click=show_item,
        args=("dataset", None),
    )
    dataset = datasets.get_dataset(visit.console, visit.principal, dataset_id)
    versions = datasets.list_versions(visit.console, visit.principal, dataset_id)
    version = next((each for each in versions if each.dataset.id == dataset_id), None)
    st.title(escape(dataset.title), anchor=False)
    if dataset.description:
        st.caption(escape(dataset.description, 400))
    _badges(visit, dataset)
    _head(visit, dataset, version)
    offer_undo(visit, version, versions)
    show_split_outcome(dataset)
    _ways_on(visit, dataset)
    _tabs(visit, dataset, versions)


def _head(visit: Visit, dataset: Dataset, version: Version | None) -> None:
    seen = known_score(visit, dataset)
    row = [
        Figure("Rows", numbers.count(dataset.rows)),
        Figure("Size", numbers.size(dataset.size_bytes)),
        Figure(
            "Version",
            numbers.NOTHING if version is None else str(version.number),
            "" if version is None else "in use" if version.current else "not in use",
        ),
        Figure("Added", numbers.ago(dataset.created_at, visit.console.clock())),
    ]
    if examinable(dataset):
        score = Figure("Score", numbers.NOTHING, "not examined yet", BAND_HELP)
        if seen is not None:
            score = Figure("Score", f"{seen.score:.1f}", f"{seen.band}, of 100", BAND_HELP)
        row.insert(0, score)
    figures(row)


def _ways_on(visit: Visit, dataset: Dataset) -> None:
    with st.container(horizontal=True):
        if can_train(visit, dataset) and st.button(
            "Train an adapter from this set",
            key="train-this",
            type="primary",
            icon=":material/model_training:",
        ):
            go_to(TRAINING, dataset=dataset.id)
        raw = dataset.kind is DatasetKind.EVENTS
        if (
            raw
            and visit.principal.may(Permission.TRAIN)
            and st.button("Map to RMIS", key="dataset-map", type="primary", icon=":material/schema:")
        ):
            go_to(MAPPINGS, source=dataset.id)
        if raw and st.button("Look at the rows", key="dataset-browse", icon=":material/table_view:"):
            go_to(DATA_BROWSER, dataset=dataset.id)
        if examinable(dataset) and visit.principal.may(Permission.TRAIN):
            offer_split(visit, dataset)
        offer_export(visit, dataset)


def _tabs(visit: Visit, dataset: Dataset, versions: list[Version]) -> None:
    names = ["Rows", "Problems", "Versions", "Card"]
    if examinable(dataset):
        names[2:2] = ["Lengths and balance"]
    for name, tab in zip(names, st.tabs(names, on_change="rerun", key=TAB), strict=True):
        if tab.open:
            with tab:
                _tab(name, visit, dataset, versions)


def _tab(name: str, visit: Visit, dataset: Dataset, versions: list[Version]) -> None:
    match name:
        case "Rows":
            show_rows(visit, dataset)
        case "Problems":
            _problems(visit, dataset)
        case "Versions":
            show_versions(visit, dataset, versions)
        case "Card":
            _card(dataset)
        case _:
            summary = examined(visit, dataset).summary
            show_lengths(choose_lengths(visit, dataset, summary), key=dataset.id)
            show_balance(summary, key=dataset.id)


def _badges(visit: Visit, dataset: Dataset) -> None:
    with st.container(horizontal=True, gap="xsmall"):
        if examinable(dataset):
            score_badge(known_score(visit, dataset))
        kind_badge(dataset)
        badges.adapter_type(dataset.adapter_type)
        badges.simulated(dataset.simulated)


def _problems(visit: Visit, dataset: Dataset) -> None:
    if not examinable(dataset):
        st.caption("Only training sets, preference pairs and judged answers are examined.")
        return
    fresh = known_score(visit, dataset) is None
    seen = examined(visit, dataset)
    if fresh:
        st.rerun()  # the head above was drawn without the score
    show_health(visit, dataset, seen)


def _card(dataset: Dataset) -> None:
    fact_list(
        {
            "Name": dataset.name,
            "Digest (SHA-256)": dataset.digest,
            "Added": numbers.moment(dataset.created_at),
            **{
                str(name).replace("_", " ").capitalize(): as_text(value)
                for name, value in dataset.card.items()
            },
        },
        alt="Card of this dataset",
    )
