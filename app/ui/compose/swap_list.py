"""What each name serves, and every swap with its reason and figures."""

import streamlit as st

from app.actions import adapters, compositions
from app.ui.compose.swap import confirm_rollback, confirm_swap, rolled_back_notice
from app.ui.frame import empty_state
from app.ui.screens import ADAPTERS, go_to
from app.ui.tables import Column, show_table
from app.ui.text import plain
from app.ui.visit import Visit
from core.compose.swap_records import ServedKind, Swap, SwapState
from core.registry.records import AdapterState

HISTORY = (
    Column("created", "Begun, UTC", "time"),
    Column("name", "Name"),
    Column("kind", "Kind"),
    Column("change", "Version"),
    Column("state", "State"),
    Column("reason", "Reason"),
    Column("mode", "Mode"),
    Column("build_ms", "Built, ms", "number"),
    Column("canary_ms", "Canary, ms", "number"),
    Column("flip_ms", "Flip, ms", "number"),
    Column("drain_ms", "Drain, ms", "number"),
    Column("by", "By"),
)
STATES = {
    SwapState.BUILDING: "building",
    SwapState.CANARY: "canary",
    SwapState.SERVING: "served",
    SwapState.FAILED: "failed, the old one serves",
    SwapState.ROLLED_BACK: "rolled back",
}
Names = dict[tuple[ServedKind, str], list[int]]


def show_swaps(visit: Visit, *, may_train: bool) -> None:
    """Choose a name and a version; below it the history."""
    rolled_back_notice()
    names = _names(visit)
    if not names:
        empty_state(
            "No name serves anything yet.",
            "Train or import an adapter first.",
            icon=":material/swap_horiz:",
            actions={"Look at the adapters": lambda: go_to(ADAPTERS)},
        )
        return
    if may_train:
        _choose(visit, names)
    swaps = compositions.list_swaps(visit.console, visit.principal)
    st.subheader("Swaps", anchor=False)
    if not swaps:
        st.caption("Nothing has been swapped yet. Each name serves its newest version until it is.")
        return
    show_table(
        [swap_row(swap) for swap in swaps],
        HISTORY,
        key="swaps",
        alt="Swaps of this workspace, newest first",
        file_name="swaps.csv",
    )


def swap_row(swap: Swap) -> dict[str, object]:
    """A swap as a row of the history."""
    before = "none" if swap.from_version is None else str(swap.from_version)
    figures = {
        name: swap.figures.get(name) for name in ("build_ms", "canary_ms", "flip_ms", "drain_ms", "mode")
    }
    return {
        "created": swap.created_at,
        "name": swap.name,
        "kind": swap.kind.value,
        "change": f"{before} → {swap.to_version}",
        "state": STATES[swap.state],
        "reason": swap.reason,
        "by": swap.created_by,
        **figures,
    }


def _names(visit: Visit) -> Names:
    """Every name that serves something, with its versions, the newest first."""
    found: Names = {}
    for adapter in adapters.list_adapters(visit.console, visit.principal):
        if adapter.state is AdapterState.ACTIVE:
            found.setdefault((ServedKind.ADAPTER, adapter.name), []).append(adapter.version)
    for federation in compositions.list_federations(visit.console, visit.principal):
        found[(ServedKind.FEDERATION, federation.name)] = list(range(federation.version, 0, -1))
    return {name: sorted(versions, reverse=True) for name, versions in sorted(found.items())}


def _choose(visit: Visit, names: Names) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind, name = st.selectbox(
            "Name",
            list(names),
            format_func=lambda each: plain(f"{each[1]} ({each[0].value})", 70),
            key="swap-name",
            width=300,
        )
        serving = compositions.serving_version(visit.console, visit.principal, kind, name)
        version = st.selectbox(
            "Version",
            names[(kind, name)],
            key=f"swap-version-{kind}-{name}",
            width=140,
        )
        if st.button(
            "Make it serve", key="swap-start", icon=":material/swap_horiz:", disabled=version == serving
        ):
            confirm_swap(kind, name, version, serving)
        if st.button("Roll back", key="swap-rollback", icon=":material/undo:"):
            confirm_rollback(kind, name)
    told = "No version serves now." if serving is None else f"Version {serving} serves now."
    if len(names[(kind, name)]) == 1:
        told += " It is the only one: train, import or save another one under the same name to swap to it."
    st.caption(told)
