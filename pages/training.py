"""Training wizard: dataset, configuration, review, monitor."""

import streamlit as st

from app.ui.controls import FIELDS
from app.ui.draft import keep_draft, read_draft, step_bar
from app.ui.frame import page_head
from app.ui.job_view import show_job
from app.ui.screens import DATASETS, JOBS, TRAINING, go_to
from app.ui.visit import current_visit
from app.ui.wizard import choose_dataset, configure, review

visit = current_visit()
page_head(TRAINING.title, TRAINING.purpose)
draft = read_draft(FIELDS)
if draft.job_id is None:
    keep_draft(draft)  # with the key that a new draft was given, so that a reload is the same draft
step_bar(draft.step)
match draft.step:
    case 1:
        choose_dataset(visit, draft)
    case 2:
        configure(visit, draft)
    case 3:
        review(visit, draft)
    case _:
        show_job(str(draft.job_id))
        with st.container(horizontal=True):
            if st.button("All jobs", icon=":material/timeline:"):
                go_to(JOBS)
            if st.button("Train another", icon=":material/add:"):
                go_to(DATASETS)
