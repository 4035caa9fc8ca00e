"""Versions of a set: how each came about, what differs, and the way back."""

from collections.abc import Sequence

import streamlit as st

from app.actions import datasets
from app.ui import numbers
from app.ui.datasets.health import changed_values, show_values
from app.ui.datasets.read import compared, known_score
from app.ui.datasets.words import score_badge
from app.ui.frame import Figure, errors_shown, figures, keep_notice
from app.ui.screens import show_item
from app.ui.text import escape
from app.ui.visit import Visit
from core.datasets.records import Dataset
from core.datasets.versions import PARENT, RowChange, Version
from core.tenants.records import Permission

_KINDS = {"added": "Added", "removed": "Removed", "changed": "Changed"}


def offer_undo(visit: Visit, shown: Version | None, versions: Sequence[Version]) -> None:
    """Above the set: how this version came about with the way back, or that another one is in use."""
    if shown is None or len(versions) < 2:
        return
    may = visit.principal.may(Permission.TRAIN)
    if not shown.current:
        _other_in_use(visit, shown, versions, may)
        return
    parent = str(shown.dataset.card.get(PARENT, ""))
    before = next((each for each in versions if each.dataset.id == parent), None)
    if before is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.markdown(
            f":material/history: **Version {shown.number}**: {escape(shown.change, 200)}. Version {before.number} is kept."
        )
        if may and st.button("Undo", key="dataset-undo", icon=":material/undo:"):
            with errors_shown():
                _use(visit, before)


def _other_in_use(visit: Visit, shown: Version, versions: Sequence[Version], may: bool) -> None:
    current = next((each for each in versions if each.current), None)
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        used = f"version {current.number} is" if current is not None else "another one is"
        st.markdown(f":material/history: **This is version {shown.number}; {used} in use.**")
        if current is not None:
            st.button(
                f"Look at version {current.number}",
                key="dataset-newest",
                on_click=show_item,
                args=("dataset", current.dataset.id),
            )
        if may and st.button("Use this version again", key="dataset-use", icon=":material/undo:"):
            with errors_shown():
                _use(visit, shown)


def show_versions(visit: Visit, dataset: Dataset, versions: Sequence[Version]) -> None:
    """All versions, newest first, and the difference of two of them."""
    may = visit.principal.may(Permission.TRAIN)
    for version in versions:
        _one(visit, version, shown=version.dataset.id == dataset.id, may=may)
    if len(versions) < 2:
        st.caption("Fixes, splits and added examples make new versions; each stays as it is.")
        return
    _difference(visit, dataset, versions)


def _one(visit: Visit, version: Version, *, shown: bool, may: bool) -> None:
    made = version.dataset
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**Version {version.number}**")
            if version.current:
                st.badge("In use", color="green", icon=":material/check_circle:")
            if shown:
                st.badge("Shown here", color="gray")
            score = known_score(visit, made)
            if score is not None:
                score_badge(score)
            if not shown:
                st.button(
                    "Look",
                    key=f"look-{version.number}",
                    on_click=show_item,
                    args=("dataset", made.id),
                )
            if not version.current and may and st.button("Use this version", key=f"use-{version.number}"):
                with errors_shown():
                    _use(visit, version)
        st.caption(
            f"{escape(version.change, 300)} · {numbers.rows(made.rows)} · {numbers.moment(made.created_at)} · "
            f"{numbers.short_digest(made.digest)}"
        )


def _use(visit: Visit, version: Version) -> None:
    datasets.make_current(visit.console, visit.principal, version.dataset.id)
    keep_notice(f"Version {version.number} is in use again. No version was lost.", ":material/undo:")
    show_item("dataset", version.dataset.id)
    st.rerun()


def _difference(visit: Visit, dataset: Dataset, versions: Sequence[Version]) -> None:
    st.subheader("What differs", anchor=False)
    by_number = {version.number: version.dataset for version in versions}
    mine = next((v.number for v in versions if v.dataset.id == dataset.id), versions[0].number)
    numbers_down = list(by_number)
    before = max(1, mine - 1)
    new_default, old_default = (mine, before) if mine > 1 else (2, 1)
    with st.container(horizontal=True):
        old = st.selectbox(
            "From version",
            numbers_down,
            index=numbers_down.index(old_default),
            key=f"diff-old-{dataset.id}",
            width=180,
        )
        new = st.selectbox(
            "To version",
            numbers_down,
            index=numbers_down.index(new_default),
            key=f"diff-new-{dataset.id}",
            width=180,
        )
    if old == new:
        st.caption("Choose two versions.")
        return
    diff = compared(visit, by_number[old], by_number[new])
    figures(
        [
            Figure("Added", numbers.count(diff.added), "rows"),
            Figure("Removed", numbers.count(diff.removed), "rows"),
            Figure("Changed", numbers.count(diff.changed), "rows"),
            Figure("The same", numbers.count(diff.kept), "rows"),
        ]
    )
    if not diff.examples:
        st.caption("The rows are the same.")
        return
    total = diff.added + diff.removed + diff.changed
    with st.expander(f"{len(diff.examples)} of {numbers.rows(total)} that differ", expanded=True):
        number = st.pagination(len(diff.examples), key=f"diff-{dataset.id}") if len(diff.examples) > 1 else 1
        _change(diff.examples[min(number, len(diff.examples)) - 1])


def _change(change: RowChange) -> None:
    st.markdown(f"**{_KINDS.get(change.kind, change.kind.capitalize())}**")
    before, after = change.before, change.after
    if before is not None and after is not None:
        left, right = changed_values(before, after)
        with st.grid(2, min_column_width=280):
            with st.container():
                st.caption("Before")
                show_values(left)
            with st.container():
                st.caption("After")
                show_values(right or {})
        return
    show_values(before or after or {})
