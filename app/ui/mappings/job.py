"""A harmonize job: live while it runs, or why nothing came out of it."""

import streamlit as st

from app.actions import harmonize, training
from app.ui import badges
from app.ui.frame import errors_shown, keep_notice, problem_box
from app.ui.job_view import progress_words
from app.ui.mappings.list import back_to_list
from app.ui.text import escape
from app.ui.visit import Visit, current_visit
from core.jobs.records import JobState
from core.tenants.records import Permission

POLL_SECONDS = 1.0


def show_harmonize_job(visit: Visit, job_id: str) -> None:
    """A harmonize job: live while it runs; the rows that came out of it; or why there are none."""
    job = harmonize.get_job(visit.console, visit.principal, job_id)
    if job.state is JobState.SUCCEEDED and job.result:
        st.query_params.from_dict({"run": str(job.result.get("run_id", ""))})
        st.rerun()
    back_to_list()
    st.title(escape(job.name), anchor=False)
    if not job.state.final:
        if visit.principal.may(Permission.TRAIN):
            st.button(
                "Cancel",
                key=f"cancel-{job.id}",
                icon=":material/stop_circle:",
                disabled=job.cancel_requested,
                on_click=_cancel,
                args=(job.id,),
            )
        _watch(job.id)
        return
    badges.job_state(job)
    if job.error is not None:
        problem_box(job.error.what, job.error.why, job.error.next_step)
    dataset_id = str(job.spec.get("dataset_id", ""))
    st.button(
        "Back to the editor",
        icon=":material/edit:",
        type="primary",
        on_click=st.query_params.from_dict,
        args=({"source": dataset_id},),
    )


@st.fragment(run_every=POLL_SECONDS)
def _watch(job_id: str) -> None:
    visit = current_visit()
    with errors_shown():
        job = harmonize.get_job(visit.console, visit.principal, job_id)
        if job.state.final:
            st.rerun()
        with st.container(border=True):
            badges.job_state(job)
            st.progress(job.progress, text=progress_words(job, visit.console.clock()))
            st.caption("It goes on if you close this page.")


def _cancel(job_id: str) -> None:
    visit = current_visit()
    with errors_shown():
        training.cancel_job(visit.console, visit.principal, job_id)
        keep_notice("The run is being cancelled. Nothing comes out of it.", ":material/stop_circle:")
