"""One job on screen: progress, live curves, cancel, and how it ended. For the wizard and the jobs screen."""

from datetime import datetime
from operator import attrgetter

import streamlit as st

from app.actions import training
from app.ui import badges, numbers
from app.ui.charts import AMBER, GREEN, VIOLET, loss_chart, reading_chart, show_chart
from app.ui.frame import Figure, errors_shown, figures, keep_notice, problem_box
from app.ui.outcome import loss_change, read_evaluation, score_words, show_evaluation
from app.ui.screens import ADAPTERS, FEDERATION, JOBS, MAPPINGS, go_to
from app.ui.tables import Column
from app.ui.text import escape
from app.ui.visit import current_visit
from core.jobs.records import Job, JobPoint, JobState
from core.tenants.records import Permission

POLL_SECONDS = 2.0


def show_job(job_id: str, *, named: bool = True) -> None:
    """A job in full: live while it runs, as it ended afterwards. Raises NotFoundError.

    `named` is False where the screen's title is the job's name already.
    """
    visit = current_visit()
    job = training.get_job(visit.console, visit.principal, job_id)
    if job.state.final:
        _show_ended(job, named)
        return
    # Outside of the part that draws itself anew: a question must stay open while the curves go on.
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(width="content", gap=None):
            if named:
                st.markdown(f"**{escape(job.name)}**")
            when = numbers.ago(job.created_at, visit.console.clock())
            st.caption(f"Submitted by {escape(job.submitted_by)}, {when}")
        _cancel_button(job)
    _watch(job_id)


@st.fragment(run_every=POLL_SECONDS)
def _watch(job_id: str) -> None:
    visit = current_visit()
    with errors_shown():
        job = training.get_job(visit.console, visit.principal, job_id)
        if job.state.final:
            st.rerun()  # the whole screen: it no longer polls, and shows the outcome
        with st.container(border=True):
            badges.job_state(job)
            st.progress(job.progress, text=progress_words(job, visit.console.clock()))
            if job.attempt > 1:
                st.caption(
                    f"Attempt {job.attempt}: continued from the last checkpoint after an interruption."
                )
        _curves(training.job_points(visit.console, visit.principal, job_id), key=job_id)


def progress_words(job: Job, now: datetime) -> str:
    """Where the job stands, in one line."""
    if job.state is JobState.QUEUED:
        return f"Waiting for a worker since {numbers.ago(job.created_at, now)}."
    parts = [escape(job.stage or "starting").capitalize()]
    if job.total_steps:
        parts.append(f"step {numbers.count(job.step)} of {numbers.count(job.total_steps)}")
    if job.started_at is not None:
        parts.append(f"{numbers.duration((now - job.started_at).total_seconds())} so far")
    if job.eta_s is not None:
        parts.append(f"about {numbers.duration(job.eta_s)} left")
    return " · ".join(parts)


def _cancel_button(job: Job) -> None:
    """Stops a job, after asking; absent for those who may not."""
    if current_visit().principal.may(Permission.TRAIN) and st.button(
        "Cancel", key=f"cancel-{job.id}", icon=":material/stop_circle:", disabled=job.cancel_requested
    ):
        _confirm_cancel(job.id, job.name)


@st.dialog("Cancel this job?", icon=":material/stop_circle:")
def _confirm_cancel(job_id: str, name: str) -> None:
    st.markdown(
        f"**{escape(name)}** stops at its next step. No adapter comes out of it. This cannot be undone."
    )
    with st.container(horizontal=True, horizontal_alignment="right"):
        if st.button("Keep it running", key="cancel-no"):
            st.rerun()
        if st.button("Cancel the job", key="cancel-yes", type="primary"):
            visit = current_visit()
            with errors_shown():
                training.cancel_job(visit.console, visit.principal, job_id)
                keep_notice(f"{name} is being cancelled.", ":material/stop_circle:")
                st.rerun()


def _show_ended(job: Job, named: bool) -> None:
    visit = current_visit()
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            badges.job_state(job)
            if named:
                st.markdown(f"**{escape(job.name)}**")
        st.caption(ended_words(job))
        if job.state is JobState.SUCCEEDED and job.result and job.result.get("adapter_id"):
            _next_steps(job)
        run_id = (job.result or {}).get("run_id")
        if run_id and st.button("Open the harmonized rows", key=f"run-{job.id}", icon=":material/schema:"):
            go_to(MAPPINGS, run=str(run_id))
    if job.error is not None:
        problem_box(job.error.what, job.error.why, job.error.next_step)
    evaluation = read_evaluation((job.result or {}).get("evaluation"))
    if evaluation is not None:
        show_evaluation(evaluation, key=job.id)
    points = training.job_points(visit.console, visit.principal, job.id)
    if points:
        st.subheader("How it learned", anchor=False)
        _curves(points, key=job.id)


def ended_words(job: Job) -> str:
    """When a job ended and what it took."""
    took = ""
    if job.started_at is not None and job.finished_at is not None:
        took = f" after {numbers.duration((job.finished_at - job.started_at).total_seconds())}"
    steps = (
        f" · {numbers.count(job.step)} of {numbers.count(job.total_steps)} steps" if job.total_steps else ""
    )
    who = escape(job.submitted_by)
    return f"{numbers.moment(job.finished_at)}{took}{steps} · submitted by {who}"


def _next_steps(job: Job) -> None:
    adapter_id = str((job.result or {}).get("adapter_id", ""))
    with st.container(horizontal=True):
        if st.button(
            "Ask it in the composer", key=f"compose-{job.id}", type="primary", icon=":material/stacks:"
        ):
            go_to(FEDERATION, adapter=adapter_id)
        if st.button("Open the adapter", key=f"adapter-{job.id}", icon=":material/layers:"):
            go_to(ADAPTERS, adapter=adapter_id)


def _curves(points: list[JobPoint], *, key: str) -> None:
    if not points:
        st.caption("The first reading comes after a few steps.")
        return
    last = points[-1]
    figures(
        [
            Figure(
                "Training loss",
                "–" if (loss := _last(points, "loss")) is None else f"{loss:.4f}",
                f"step {last.step}",
            ),
            Figure(
                "Validation loss",
                "–" if (v := _last(points, "validation_loss")) is None else f"{v:.4f}",
                "held-out rows",
            ),
            Figure("Speed", numbers.short_count(_whole(_last(points, "tokens_per_s"))), "tokens/s"),
        ]
    )
    show_chart(loss_chart(points), key=f"loss-{key}", alt=f"Loss over {last.step} steps")
    with st.grid(3, min_column_width=240):
        for field, title, unit, hover, color in (
            ("learning_rate", "Learning rate", "per step", ".2e", GREEN),
            ("grad_norm", "Gradient norm", "L2", ".3f", VIOLET),
            ("tokens_per_s", "Throughput", "tokens/s", ",.0f", AMBER),
        ):
            if _last(points, field) is not None:
                chart = reading_chart(
                    points, attrgetter(field), title=title, unit=unit, hover=hover, color=color
                )
                show_chart(chart, key=f"{field}-{key}", alt=f"{title} over {last.step} steps")


def _last(points: list[JobPoint], field: str) -> float | None:
    return next((value for p in reversed(points) if (value := getattr(p, field)) is not None), None)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def show_job_row(job: Job, now: datetime) -> None:
    """A job in a list: state, name, progress or outcome, and the button that opens it."""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        with st.container(width="stretch", gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center"):
                badges.job_state(job)
                st.markdown(f"**{escape(job.name)}**")
            if job.state.final:
                st.caption(outcome_words(job, now))
            else:
                st.progress(job.progress, text=progress_words(job, now))
        if st.button("Open", key=f"open-{job.id}", icon=":material/arrow_forward:", icon_position="right"):
            go_to(JOBS, job=job.id)


def outcome_words(job: Job, now: datetime) -> str:
    """How a job ended, in one line."""
    when = numbers.ago(job.finished_at, now)
    if job.error is not None:
        return f"{when} · {escape(job.error.what, 160)}"
    evaluation = read_evaluation((job.result or {}).get("evaluation"))
    if evaluation is None:
        return when
    return f"{when} · {score_words(evaluation)}"


@st.fragment(run_every=POLL_SECONDS)
def show_running() -> None:
    """The jobs that have not ended, live. When one ends the whole screen is drawn anew."""
    visit = current_visit()
    active = [job for job in training.list_jobs(visit.console, visit.principal) if not job.state.final]
    before = st.session_state.get("_active_jobs")
    st.session_state["_active_jobs"] = {job.id for job in active}
    if before is not None and before != st.session_state["_active_jobs"]:
        st.rerun()
    if not active:
        return
    st.subheader("Now", anchor=False)
    for job in active:
        show_job_row(job, visit.console.clock())


JOB_COLUMNS = (
    Column("name", "Name"),
    Column("kind", "Kind"),
    Column("state", "State"),
    Column("progress", "Progress", "progress"),
    Column("lift", "Lift, points", "number", "Adapter minus base, exact match on held-out rows."),
    Column(
        "loss_change", "Loss change, nats", "number", "Adapter minus base, per token of held-out answers."
    ),
    Column("seconds", "Took, s", "number"),
    Column("by", "Submitted by"),
    Column("created", "Submitted, UTC", "time"),
)


def job_row(job: Job) -> dict[str, object]:
    """A job as a row of the history."""
    evaluation = read_evaluation((job.result or {}).get("evaluation"))
    took = None
    if job.started_at is not None and job.finished_at is not None:
        took = round((job.finished_at - job.started_at).total_seconds())
    return {
        "name": job.name,
        "kind": job.kind,
        "state": badges.job_state_word(job),
        "progress": job.progress,
        "lift": None if evaluation is None else round(100 * evaluation.headline.exact_match_lift[0], 1),
        "loss_change": loss_change(evaluation),
        "seconds": took,
        "by": job.submitted_by,
        "created": job.created_at,
    }
