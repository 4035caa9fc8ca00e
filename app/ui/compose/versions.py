"""The versions of a saved federation: which one serves, what changed, back to an older one, out as files."""

from collections.abc import Sequence

import streamlit as st

from app.actions import compositions
from app.ui.compose.export import export_dialog
from app.ui.compose.swap import confirm_rollback, confirm_swap, rolled_back_notice
from app.ui.compose.words import diff_words, spec_words
from app.ui.tables import Column, show_table
from app.ui.text import escape
from app.ui.visit import Visit
from core.compose.records import Federation
from core.compose.swap_records import ServedKind
from core.registry.records import Adapter

COLUMNS = (
    Column("version", "Version", "number"),
    Column("serves", "Serves"),
    Column("composition", "Composition"),
    Column("description", "For"),
    Column("by", "Saved by"),
    Column("created", "Saved, UTC", "time"),
)


def show_versions(visit: Visit, name: str, adapters: Sequence[Adapter], *, may_train: bool) -> None:
    """All of one federation."""
    versions = compositions.federation_versions(visit.console, visit.principal, name)
    kind = ServedKind.FEDERATION
    serving = compositions.serving_version(visit.console, visit.principal, kind, name)
    with st.expander(
        f"Versions of {escape(name)} ({len(versions)})", icon=":material/history:", key="federation-versions"
    ):
        rolled_back_notice(name)
        show_table(
            [_row(version, serving, adapters) for version in versions],
            COLUMNS,
            key="versions",
            alt=f"Versions of {name}",
            file_name="federation-versions.csv",
        )
        if len(versions) > 1:
            _show_diff(visit, name, versions, adapters)
        if may_train:
            _show_actions(name, versions, serving)


def _row(version: Federation, serving: int | None, adapters: Sequence[Adapter]) -> dict[str, object]:
    return {
        "version": version.version,
        "serves": "yes" if version.version == serving else "",
        "composition": spec_words(version.spec, adapters),
        "description": version.description,
        "by": version.created_by,
        "created": version.created_at,
    }


def _show_diff(visit: Visit, name: str, versions: Sequence[Federation], adapters: Sequence[Adapter]) -> None:
    numbers = [version.version for version in versions]
    with st.container(horizontal=True):
        older = st.selectbox("From version", numbers, index=1, key=f"diff-older-{name}", width=140)
        newer = st.selectbox("To version", numbers, index=0, key=f"diff-newer-{name}", width=140)
    diff = compositions.diff_federations(visit.console, visit.principal, name, older, newer)
    st.markdown("\n".join(f"- {escape(line, 300)}" for line in diff_words(diff, adapters)))


def _show_actions(name: str, versions: Sequence[Federation], serving: int | None) -> None:
    """Another version, the one before, or files."""
    kind = ServedKind.FEDERATION
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Version", [version.version for version in versions], key=f"chosen-version-{name}", width=140
        )
        if st.button(
            "Make it serve",
            key="version-serve",
            icon=":material/swap_horiz:",
            disabled=chosen == serving,
            help="It serves already." if chosen == serving else None,
        ):
            confirm_swap(kind, name, chosen, serving)
        if st.button("Roll back", key="version-rollback", icon=":material/undo:"):
            confirm_rollback(kind, name)
        if st.button("Export", key="version-export", icon=":material/download:"):
            export_dialog(f"{name}@{chosen}")
