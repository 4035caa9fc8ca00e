"""Jobs: what runs now, what ran, and one job in full."""

import streamlit as st

from app.actions import training
from app.ui.frame import Figure, empty_state, figures, page_head
from app.ui.job_view import JOB_COLUMNS, job_row, show_job, show_job_row, show_running
from app.ui.numbers import count
from app.ui.screens import DATASETS, JOBS, go_to, show_item, shown_item
from app.ui.tables import show_table
from app.ui.text import escape
from app.ui.visit import current_visit
from core.jobs.records import JobState
from core.tenants.records import Permission

visit = current_visit()
opened = shown_item("job")
if opened is not None:
    st.button(
        "All jobs", type="tertiary", icon=":material/arrow_back:", on_click=show_item, args=("job", None)
    )
    st.title(escape(training.get_job(visit.console, visit.principal, opened).name), anchor=False)
    show_job(opened, named=False)
    st.stop()

page_head(JOBS.title, JOBS.purpose)
jobs = training.list_jobs(visit.console, visit.principal)
if not jobs:
    empty_state(
        "No job has been submitted yet.",
        "Choose a dataset and train an adapter from it.",
        icon=":material/timeline:",
        actions={"Choose a dataset": lambda: go_to(DATASETS)}
        if visit.principal.may(Permission.TRAIN)
        else None,
    )
    st.stop()

ended = [job for job in jobs if job.state.final]
figures(
    [
        Figure(
            "Running or waiting",
            count(len(jobs) - len(ended)),
            "shown live below" if len(ended) < len(jobs) else "none now",
        ),
        Figure(
            "Succeeded",
            count(sum(job.state is JobState.SUCCEEDED for job in jobs)),
            f"of {len(ended)} that ended",
        ),
        Figure(
            "Failed", count(sum(job.state is JobState.FAILED for job in jobs)), f"of {len(ended)} that ended"
        ),
    ]
)
show_running()

st.subheader("Ended", anchor=False)
if not ended:
    st.caption("No job has ended yet.")
    st.stop()
view = st.segmented_control(
    "View", ["Cards", "Table"], default="Cards", required=True, key="jobs-view", label_visibility="collapsed"
)
if view == "Table":
    show_table(
        [job_row(job) for job in ended], JOB_COLUMNS, key="jobs", alt="Jobs that ended", file_name="jobs.csv"
    )
else:
    PER_PAGE = 10
    pages = -(-len(ended) // PER_PAGE)
    number = st.pagination(pages, key="jobs-page") if pages > 1 else 1
    for job in ended[(number - 1) * PER_PAGE : number * PER_PAGE]:
        show_job_row(job, visit.console.clock())
