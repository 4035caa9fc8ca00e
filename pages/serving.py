"""Serving: what is in memory and how often it was ready; which version each name serves, and swapping it."""

import streamlit as st

from app.ui.compose.memory import show_memory, show_prefetch
from app.ui.compose.swap_list import show_swaps
from app.ui.frame import page_head
from app.ui.screens import SERVING
from app.ui.visit import current_visit
from core.tenants.records import Permission

visit = current_visit()
may_train = visit.principal.may(Permission.TRAIN)
page_head(SERVING.title, SERVING.purpose)
part = st.segmented_control(
    "Part",
    ["Memory", "Versions that serve"],
    default="Memory",
    required=True,
    key="serving-part",
    label_visibility="collapsed",
    bind="query-params",
)
if part == "Memory":
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        if may_train:
            show_prefetch(visit)
        live = st.toggle(
            "Live",
            value=True,
            key="serving-live",
            help="Looks again every two seconds. Pause it to sort and filter in peace.",
        )
    show_memory(live=live)
else:
    show_swaps(visit, may_train=may_train)
