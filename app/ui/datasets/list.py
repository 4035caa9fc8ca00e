"""The dataset library: cards, the table, and sets that are examined one by one while the screen stays usable."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from app.actions import datasets
from app.ui import badges, numbers
from app.ui.datasets.read import examinable, examined, known_score
from app.ui.datasets.view import can_train
from app.ui.datasets.words import BAND_HELP, kind_badge, kind_word, score_badge
from app.ui.frame import error_box
from app.ui.screens import TRAINING, go_to, show_item
from app.ui.tables import Column
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.errors import RmnError

QUEUE, FAILED = "dataset-queue", "dataset-failed"
PAUSE_S = 0.3

DATASET_COLUMNS = (
    Column("title", "Title"),
    Column("kind", "Kind"),
    Column("type", "Teaches"),
    Column("score", "Score", "number", BAND_HELP),
    Column("band", "Quality"),
    Column("rows", "Rows", "number"),
    Column("size", "Size", "size"),
    Column("version", "Version", "number"),
    Column("simulated", "Simulated"),
    Column("created", "Added, UTC", "time"),
    Column("digest", "Digest"),
)


def dataset_row(visit: Visit, dataset: Dataset, version: int) -> dict[str, Any]:
    """A set as a row of the table."""
    seen = known_score(visit, dataset)
    return {
        "title": dataset.title,
        "kind": kind_word(dataset.kind),
        "type": dataset.adapter_type or "",
        "score": None if seen is None else seen.score,
        "band": str(seen.band) if seen is not None else ("not examined yet" if examinable(dataset) else ""),
        "rows": dataset.rows,
        "size": dataset.size_bytes,
        "version": version,
        "simulated": "yes" if dataset.simulated else "no",
        "created": dataset.created_at,
        "digest": numbers.short_digest(dataset.digest),
    }


def dataset_card(visit: Visit, dataset: Dataset, version: int) -> None:
    """A set in the library: what it is, how good, how big, and the ways on."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(dataset.title)}**")
        with st.container(horizontal=True, gap="xsmall"):
            if examinable(dataset):
                score_badge(known_score(visit, dataset))
            kind_badge(dataset)
            badges.adapter_type(dataset.adapter_type)
            badges.simulated(dataset.simulated)
        st.caption(escape(dataset.description, 130))
        st.caption(
            f"**{numbers.count(dataset.rows)}** rows · {numbers.size(dataset.size_bytes)} · version {version}, in use"
        )
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


def version_numbers(visit: Visit, sets: Sequence[Dataset]) -> Mapping[str, int]:
    """Dataset id → the number of its version."""
    return {
        version.dataset.id: version.number
        for dataset in sets
        for version in datasets.list_versions(visit.console, visit.principal, dataset.id)
    }


def found_by(sets: Sequence[Dataset], words: str | None) -> list[Dataset]:
    """The sets that hold every word in name, title, description or type."""
    wanted = (words or "").lower().split()
    return [dataset for dataset in sets if all(word in _told(dataset) for word in wanted)]


def _told(dataset: Dataset) -> str:
    parts = (
        dataset.name,
        dataset.title,
        dataset.description,
        dataset.adapter_type or "",
        kind_word(dataset.kind),
    )
    return " ".join(parts).lower()


def offer_examination(visit: Visit, sets: Sequence[Dataset]) -> None:
    """How many sets nobody has examined yet, and the button that does it, one set at a time."""
    failed: dict[str, RmnError] = st.session_state.setdefault(FAILED, {})
    waiting = [d for d in sets if examinable(d) and known_score(visit, d) is None and d.digest not in failed]
    for dataset in sets:
        if dataset.digest in failed:
            error_box(failed[dataset.digest])
    if not waiting:
        st.session_state.pop(QUEUE, None)
        return
    running = QUEUE in st.session_state
    st.fragment(_examine_next, run_every=PAUSE_S if running else None)(visit, waiting)


def _examine_next(visit: Visit, waiting: Sequence[Dataset]) -> None:
    """One set per run, so that a click in between is served."""
    total = st.session_state.get(QUEUE)
    left = [d for d in waiting if known_score(visit, d) is None and d.digest not in st.session_state[FAILED]]
    if total is None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{len(left)} of these sets {'is' if len(left) == 1 else 'are'} not examined yet.")
            if st.button("Examine all", key="examine-all", icon=":material/health_and_safety:"):
                st.session_state[QUEUE] = len(left)
                st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        done = max(0, total - len(left))
        st.progress(done / max(1, total), f"Examining {min(done + 1, total)} of {total}")
        if st.button("Stop", key="examine-stop", icon=":material/stop_circle:"):
            st.session_state.pop(QUEUE)
            st.rerun()
    if left:
        try:
            examined(visit, left[0])
        except RmnError as error:
            st.session_state[FAILED][left[0].digest] = error
    if len(left) <= 1:
        st.session_state.pop(QUEUE, None)
        st.rerun()
