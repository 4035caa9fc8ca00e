"""A dataset on screen: its card in the library, and in full with rows, problems and origin."""

import json
from typing import Any

import streamlit as st

from app.actions import datasets
from app.ui import badges, numbers
from app.ui.frame import Figure, fact_list, figures
from app.ui.screens import TRAINING, go_to, show_item
from app.ui.tables import Column, show_table
from app.ui.text import escape, plain, show_text
from app.ui.visit import Visit
from core.datasets.records import Dataset, DatasetKind, Problem
from core.tenants.records import Permission

PREVIEW_ROWS = 50
SHORT_TEXT = 60


def dataset_card(visit: Visit, dataset: Dataset) -> None:
    """A set in the library: what it is, how big, and the ways on."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(dataset.title)}**")
        _badges(dataset)
        st.caption(escape(dataset.description, 130))
        st.caption(f"**{numbers.count(dataset.rows)}** rows · {numbers.size(dataset.size_bytes)}")
        st.space("stretch")
        with st.container(horizontal=True):
            if can_train(visit, dataset) and st.button(
                "Train an adapter",
                key=f"train-{dataset.name}",
                icon=":material/model_training:",
            ):
                go_to(TRAINING, dataset=dataset.id)
            st.button(
                "Details", key=f"details-{dataset.name}", on_click=show_item, args=("dataset", dataset.id)
            )


def can_train(visit: Visit, dataset: Dataset) -> bool:
    """Whether this person may train, and this set is one to train from."""
    return dataset.kind is DatasetKind.SFT and visit.principal.may(Permission.TRAIN)


def dataset_columns() -> list[Column]:
    """Columns of the library as a table."""
    return [
        Column("title", "Title"),
        Column("kind", "Kind"),
        Column("type", "Teaches"),
        Column("rows", "Rows", "number"),
        Column("size", "Size", "size"),
        Column("simulated", "Simulated"),
        Column("created", "Added, UTC", "time"),
        Column("digest", "Digest"),
    ]


def dataset_row(dataset: Dataset) -> dict[str, Any]:
    """A set as a row of that table."""
    return {
        "title": dataset.title,
        "kind": badges.KIND_WORDS[dataset.kind],
        "type": dataset.adapter_type or "",
        "rows": dataset.rows,
        "size": dataset.size_bytes,
        "simulated": "yes" if dataset.simulated else "no",
        "created": dataset.created_at,
        "digest": numbers.short_digest(dataset.digest),
    }


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
    st.title(escape(dataset.title), anchor=False)
    if dataset.description:
        st.caption(escape(dataset.description, 400))
    _badges(dataset)
    figures(
        [
            Figure("Rows", numbers.count(dataset.rows)),
            Figure("Size", numbers.size(dataset.size_bytes)),
            Figure("Added", numbers.ago(dataset.created_at, visit.console.clock())),
        ]
    )
    if can_train(visit, dataset) and st.button(
        "Train an adapter from this set", key="train-this", type="primary", icon=":material/model_training:"
    ):
        go_to(TRAINING, dataset=dataset.id)
    rows, problems, card = st.tabs(["Rows", "Problems", "Card"], on_change="rerun", key="dataset-tab")
    if rows.open:
        with rows:
            _rows(visit, dataset)
    if problems.open:
        with problems:
            _problems(visit, dataset)
    if card.open:
        with card:
            _card(dataset)


def _badges(dataset: Dataset) -> None:
    with st.container(horizontal=True, gap="xsmall"):
        if dataset.kind is not DatasetKind.SFT:
            badges.dataset_kind(dataset.kind)
        badges.adapter_type(dataset.adapter_type)
        badges.simulated(dataset.simulated)


def _rows(visit: Visit, dataset: Dataset) -> None:
    preview = datasets.preview(visit.console, visit.principal, dataset.id, PREVIEW_ROWS)
    if not preview:
        st.caption("This set has no rows.")
        return
    fields = list(dict.fromkeys(field for row in preview for field in row))
    show_table(
        [{field: _as_text(row.get(field)) for field in fields} for row in preview],
        [Column(field, plain(field, 60)) for field in fields],
        key=f"rows-{dataset.id}",
        alt=f"The first rows of {dataset.title}",
        file_name="rows.csv",
        search="Filter rows",
    )
    st.caption(f"The first {len(preview)} of {numbers.count(dataset.rows)} rows.")
    with st.expander("The first row, in full", expanded=dataset.kind is DatasetKind.SFT):
        for field, value in preview[0].items():
            text = _as_text(value)
            if (
                len(text) > SHORT_TEXT
                or dataset.kind is not DatasetKind.SFT
                or field in ("prompt", "completion")
            ):
                st.caption(escape(str(field)))
                show_text(text)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _problems(visit: Visit, dataset: Dataset) -> None:
    if dataset.kind not in (DatasetKind.SFT, DatasetKind.DPO):
        st.caption("Only training sets and preference pairs are checked.")
        return
    found = datasets.check(visit.console, visit.principal, dataset.id)
    if not found:
        st.success("Nothing wrong was found.", icon=":material/check_circle:")
    for problem in found:
        show_problem(problem)


def show_problem(problem: Problem) -> None:
    """Something wrong with a set, with the lines that show it."""
    text = f"**{escape(problem.message, None)}**"
    if problem.lines:
        more = " and more" if problem.rows > len(problem.lines) else ""
        text += f"\n\nLines {', '.join(map(str, problem.lines))}{more}."
    if problem.severity == "error":
        st.error(text, icon=":material/error:")
    else:
        st.warning(text, icon=":material/warning:")


def _card(dataset: Dataset) -> None:
    fact_list(
        {
            "Name": dataset.name,
            "Digest (SHA-256)": dataset.digest,
            "Added": numbers.moment(dataset.created_at),
            **{
                str(name).replace("_", " ").capitalize(): _as_text(value)
                for name, value in dataset.card.items()
            },
        },
        alt="Card of this dataset",
    )
