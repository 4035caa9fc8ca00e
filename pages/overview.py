"""Overview: what there is, what runs, what to do next."""

import streamlit as st

from app.actions import adapters, compositions, datasets, training
from app.ui.analytics.alerts import show_alert_banner
from app.ui.frame import Figure, empty_state, figures, page_head
from app.ui.guide import next_step
from app.ui.job_view import show_job_row
from app.ui.numbers import count
from app.ui.outcome import main_figure, read_evaluation
from app.ui.screens import JOBS, OVERVIEW, TRAINING, go_to
from app.ui.visit import current_visit
from core.jobs.records import JobState
from core.registry.records import AdapterSource
from core.tenants.records import Permission

visit = current_visit()
page_head(
    OVERVIEW.title, "From a retailer's file to an adapter that answers: see where you are, go on from there."
)

sets = datasets.list_datasets(visit.console, visit.principal)
models = adapters.list_adapters(visit.console, visit.principal)
jobs = training.list_jobs(visit.console, visit.principal)
federations = compositions.list_federations(visit.console, visit.principal)
running = [job for job in jobs if not job.state.final]
done = [job for job in jobs if job.state is JobState.SUCCEEDED]
last = next(
    (found for job in done if (found := read_evaluation((job.result or {}).get("evaluation"))) is not None),
    None,
)
trained = sum(adapter.source is AdapterSource.TRAINED for adapter in models)

figures(
    [
        Figure("Adapters", count(len(models)), f"{trained} trained here"),
        Figure("Jobs running", count(len(running)), f"{len(jobs)} in all"),
        Figure("Datasets", count(len(sets)), f"{count(sum(s.rows for s in sets))} rows"),
        main_figure(last, prefix="Last") if last else Figure("Last lift", "–", "train an adapter to see it"),
    ]
)
show_alert_banner(visit)
next_step(visit.principal, trained=trained, running=running, federations=len(federations))

st.subheader("Recent jobs", anchor=False)
if jobs:
    for job in jobs[:5]:
        show_job_row(job, visit.console.clock())
    if len(jobs) > 5 and st.button("All jobs", icon=":material/arrow_forward:"):
        go_to(JOBS)
else:
    empty_state(
        "No training has run yet.",
        "Choose a dataset; before a run starts, its review says how long it will take.",
        icon=":material/model_training:",
        actions={"Train an adapter": lambda: go_to(TRAINING)}
        if visit.principal.may(Permission.TRAIN)
        else None,
    )
