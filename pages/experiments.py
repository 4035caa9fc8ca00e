"""Experiments: prove that one composition is better than another, then promote it. Nothing here misleads who looks often."""

import streamlit as st

from app.ui.experiments.creation import show_creation
from app.ui.experiments.detail import show_experiment
from app.ui.experiments.form import begin_form, read_form
from app.ui.experiments.list import read_list, show_list
from app.ui.experiments.offline import show_offline
from app.ui.frame import empty_state, page_head
from app.ui.screens import EXPERIMENTS, shown_item
from app.ui.visit import current_visit
from core.tenants.records import Permission

visit = current_visit()
may_train = visit.principal.may(Permission.TRAIN)
opened, form = shown_item("experiment"), read_form()
if opened is not None:
    show_experiment(visit, opened)
    st.stop()
if form is not None and may_train:
    show_creation(visit, form)
    st.stop()

page_head(EXPERIMENTS.title, EXPERIMENTS.purpose)
part = "On traffic"
if may_train:
    part = st.segmented_control(
        "Part",
        ["On traffic", "Offline, on typed prompts"],
        default="On traffic",
        required=True,
        key="experiments-part",
        label_visibility="collapsed",
    )
if part != "On traffic":
    show_offline(visit)
    st.stop()

with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
    view = st.segmented_control(
        "View", ["Cards", "Table"], default="Cards", required=True, key="experiments-view"
    )
    archived = st.toggle("Show archived", key="experiments-archived")
    if may_train and st.button(
        "New experiment", key="experiment-new", type="primary", icon=":material/science:"
    ):
        begin_form()
listed = read_list(visit, archived=archived)
if listed:
    show_list(visit, listed, as_table=view == "Table")
else:
    empty_state(
        "No experiment yet.",
        "Compare what answers today with what may be better, on real requests. "
        "You need two things that can answer, and an idea why one is better."
        if may_train
        else "A trainer can create one. Its verdict will be here, in one sentence with its reason.",
        icon=":material/science:",
        actions={"Begin": begin_form} if may_train else None,
    )
