"""Saved mappings as a list: coverage, last use, the way in."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.ui import numbers
from app.ui.badges import Color
from app.ui.screens import show_item
from app.ui.tables import Column
from app.ui.text import escape
from app.ui.visit import current_visit
from core.harmonize.saved import HarmonizedRun, SavedMapping

MOST_RUNS = 1000
MAPPING_COLUMNS = (
    Column("name", "Name"),
    Column("retailer", "Retailer"),
    Column("network", "Network"),
    Column("report", "Report"),
    Column("active", "In use"),
    Column("state", "State"),
    Column("coverage", "Coverage", "progress", "Share of the columns with values that a rule covers."),
    Column("unmapped", "Unmapped columns", "number", "Columns of the last file that no rule names."),
    Column("used", "Last used, UTC", "time"),
)


def newest_runs(runs: Sequence[HarmonizedRun]) -> dict[str, HarmonizedRun]:
    """Name of a mapping → its newest run. `runs` are newest first."""
    found: dict[str, HarmonizedRun] = {}
    for run in runs:
        found.setdefault(run.mapping_label.rpartition("@")[0], run)
    return found


def mapping_row(saved: SavedMapping, run: HarmonizedRun | None) -> dict[str, Any]:
    """A mapping as a row of the list."""
    return {
        "name": saved.name,
        "retailer": saved.retailer,
        "network": saved.network,
        "report": saved.report,
        "active": f"v{saved.active_version}" if saved.active_version else "",
        "state": state_word(saved),
        "coverage": saved.coverage,
        "unmapped": None if run is None else len(unmapped_columns(run)),
        "used": None if run is None else run.created_at,
    }


def state_word(saved: SavedMapping) -> str:
    """Whether it is in use, and whether a newer version waits."""
    if saved.active_version is None:
        return "Draft"
    return "In use" if saved.active_version == saved.latest_version else f"v{saved.latest_version} waits"


def unmapped_columns(run: HarmonizedRun) -> list[str]:
    """Columns of the file that no rule named."""
    return [str(name) for name in run.report.get("unmapped_columns") or ()]


def mapping_card(saved: SavedMapping, run: HarmonizedRun | None) -> None:
    """A mapping in the list: what it is for, how much of a file it covers, and the way in."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape(saved.name)}**")
        with st.container(horizontal=True, gap="xsmall"):
            word = state_word(saved)
            color: Color = "green" if word == "In use" else "orange" if "waits" in word else "gray"
            st.badge(word, color=color)
            if saved.active_version:
                st.badge(f"v{saved.active_version}", color="blue")
        told = " · ".join(escape(part, 60) for part in (saved.retailer, saved.network, saved.report) if part)
        st.caption(told or "No source card")
        if saved.coverage is None:
            st.caption("Not used yet")
        else:
            missing = len(unmapped_columns(run)) if run else 0
            text = f"{saved.coverage:.0%} of the columns covered"
            st.progress(min(1.0, saved.coverage), text=f"{text}, {missing} unmapped" if missing else text)
            st.caption(
                f"Last used {numbers.ago(run.created_at, current_visit().console.clock())}" if run else ""
            )
        st.space("stretch")
        st.button("Open", key=f"mapping-{saved.id}", on_click=show_item, args=("mapping", saved.id))


def back_to_list() -> None:
    """The way back to all mappings."""
    st.button(
        "All mappings",
        type="tertiary",
        icon=":material/arrow_back:",
        key="mapping-all",
        on_click=st.query_params.clear,
    )
