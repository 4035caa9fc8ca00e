"""Federation composer: choose a method, adapters and weights, see the stack, compare the answers, save, version."""

import streamlit as st

from app.actions import adapters, compositions, gates
from app.ui.compose.columns import columns_for, examples_for, show_columns
from app.ui.compose.editor import edit, is_new, load, show_problems, show_saving, take_over
from app.ui.compose.stack import show_stack
from app.ui.compose.terms import find, show_left_out, usable
from app.ui.compose.versions import show_versions
from app.ui.frame import empty_state, keep_notice, page_head
from app.ui.screens import DATASETS, FEDERATION, go_to, show_item, shown_item
from app.ui.text import plain
from app.ui.visit import current_visit
from core.registry.records import AdapterState
from core.tenants.records import Permission

visit = current_visit()
page_head(FEDERATION.title, FEDERATION.purpose)
known = adapters.list_adapters(visit.console, visit.principal)
may_train = visit.principal.may(Permission.TRAIN)
if not any(adapter.state is AdapterState.ACTIVE for adapter in known):
    empty_state(
        "No adapter to compose yet.",
        "Train one from a dataset first.",
        icon=":material/stacks:",
        actions={"Choose a dataset": lambda: go_to(DATASETS)} if may_train else None,
    )
    st.stop()

wanted = find(shown_item("adapter") or "", known)
if wanted is not None:
    take_over(wanted)
    show_item("adapter", None)
elif is_new():
    take_over(next(adapter for adapter in known if adapter.state is AdapterState.ACTIVE))

trained = gates.list_gates(visit.console, visit.principal)
saved = compositions.list_federations(visit.console, visit.principal)
with st.container(horizontal=True, vertical_alignment="bottom"):
    picked = st.selectbox(
        "Saved compositions",
        saved,
        index=None,
        format_func=lambda f: plain(f"{f.name} v{f.version}", 60),
        placeholder="Choose one to load" if saved else "None saved yet",
        disabled=not saved,
        key="federation-saved",
        width=360,
    )
    pressed = st.button("Load", key="federation-load", icon=":material/folder_open:", disabled=picked is None)
    if pressed and picked is not None:
        left_out = load(picked, known, trained)
        keep_notice(
            f"{picked.name} v{picked.version} was loaded."
            + (f" Left out, cannot be shown here: {', '.join(left_out)}." if left_out else "")
        )
        st.rerun()
if picked is not None:
    show_versions(visit, picked.name, known, may_train=may_train)

bases = adapters.list_bases(visit.console, visit.principal)
left, right = st.columns([3, 2], gap="large")
with left:
    base = st.selectbox(
        "Base model",
        bases,
        format_func=lambda b: plain(b.name, 60),
        help="The model that the adapters change. Adapters of another base are not offered.",
    )
    fitting = usable(known, base.digest if base else None)
    edited = edit(visit, fitting, trained, may_train=may_train)
    show_left_out(known, base.digest if base else None)
with right:
    show_stack(base.name if base else "base", edited, known)
    fits = show_problems(visit, edited)
    if may_train:
        show_saving(edited, name=picked.name if picked is not None else "")

st.subheader("Side by side", anchor=False)
columns = columns_for(edited, fitting, saved)
show_columns(columns, examples_for(visit, [each.adapter for each in edited.picked]))
