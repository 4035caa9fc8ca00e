"""One experiment: what it says now, live while it runs; what it is; and what was done with it."""

from datetime import datetime

import streamlit as st

from app.actions import experiments
from app.ui import numbers
from app.ui.charts import show_chart
from app.ui.experiments.arms import show_arms
from app.ui.experiments.difference import difference_chart, stands
from app.ui.experiments.explored import show_ages, show_classic, show_guardrails, show_segments
from app.ui.experiments.history import show_history
from app.ui.experiments.measures import label_of
from app.ui.experiments.plan_view import show_plan
from app.ui.experiments.verbs import show_verbs
from app.ui.experiments.verdict import is_locked, show_figures, show_verdict, show_warnings, spoken
from app.ui.experiments.words import SHADOW, state_badge, verdict_badge, way_badges, way_of
from app.ui.frame import empty_state, errors_shown
from app.ui.screens import show_item
from app.ui.text import escape, show_text
from app.ui.visit import Visit, current_visit
from core.experiments.records import Experiment, State
from core.experiments.results import ExperimentResults

LOOK_SECONDS = 4
FIRST_KEY = "_experiment_results"


def show_experiment(visit: Visit, experiment_id: str) -> None:
    """All of it. Raises NotFoundError."""
    st.button(
        "All experiments",
        key="exp-back",
        type="tertiary",
        icon=":material/arrow_back:",
        on_click=show_item,
        args=("experiment", None),
    )
    experiment = experiments.get_experiment(visit.console, visit.principal, experiment_id)
    results = None
    if experiment.state is not State.DRAFT:
        results = experiments.get_experiment_results(visit.console, visit.principal, experiment_id)
        experiment = results.experiment
    _head(experiment, results)
    show_verbs(visit, experiment, results)
    if results is None:
        st.info(
            "A draft: nothing runs and nothing is counted yet. Look at the plan once more; it is fixed when it starts.",
            icon=":material/edit_note:",
        )
    else:
        st.session_state[FIRST_KEY] = results
        _show_live(experiment)
    show_plan(experiment, expanded=results is None)
    show_history(visit, experiment.id)


def _head(experiment: Experiment, results: ExperimentResults | None) -> None:
    st.title(escape(experiment.name), anchor=False)
    if experiment.hypothesis.strip():
        st.caption(f":material/lightbulb: {escape(experiment.hypothesis, None)}")
    with st.container(horizontal=True, gap="xsmall"):
        state_badge(experiment)
        if results is not None:
            verdict_badge(spoken(results)[0])
        way_badges(experiment)
    if experiment.state in (State.RUNNING, State.PAUSED):
        st.caption(share_words(experiment, current_visit().console.clock()))
    elif experiment.reason:
        st.caption(escape(experiment.reason, None))
    if experiment.description.strip():
        with st.expander("Description", icon=":material/notes:"):
            show_text(experiment.description)


def share_words(experiment: Experiment, now: datetime) -> str:
    """How much of the traffic takes part, and when more will; when it ends."""
    if experiment.state is State.PAUSED:
        return "Paused: everybody gets the control, and nothing is counted."
    share = experiment.share_at(now)
    told = f"{100 * share:g} % of the traffic takes part"
    later = next((step for step in experiment.ramp if step.at > now and step.share > share), None)
    if later is not None:
        told += f", {100 * later.share:g} % from {numbers.moment(later.at)}"
    if experiment.ends_at is not None:
        told += f"; it ends {numbers.moment(experiment.ends_at)}"
    return told + "."


def _show_live(experiment: Experiment) -> None:
    """Looks again by itself while more can come, unless somebody wants to read in peace."""
    live = False
    if experiment.state is State.RUNNING:
        live = st.toggle(
            "Live", value=True, key="exp-live", help=f"Looks again every {LOOK_SECONDS} seconds."
        )
    st.fragment(_show_results, run_every=LOOK_SECONDS if live else None)(experiment.id, experiment.state)


def _show_results(experiment_id: str, drawn_as: State) -> None:
    visit = current_visit()
    with errors_shown():
        first: ExperimentResults | None = st.session_state.pop(FIRST_KEY, None)
        results = first or experiments.get_experiment_results(visit.console, visit.principal, experiment_id)
        experiment = results.experiment
        if experiment.state is not drawn_as:
            st.rerun()  # the whole screen: another state has other buttons
        if not any(arm.exposed or arm.units for arm in results.arms):
            _nothing_yet(experiment)
            return
        show_verdict(results)
        show_figures(results)
        show_warnings(results)
        _show_difference(results)
        show_arms(results)
        show_guardrails(results)
        if not is_locked(results):  # what is locked must not be read off a side view either
            show_ages(results)
            show_segments(results)
            show_classic(results)
        st.caption(_counted(results))


def _show_difference(results: ExperimentResults) -> None:
    if is_locked(results) or not stands(results):
        return
    metric = results.experiment.plan.primary
    st.subheader("Difference over time", anchor=False)
    show_chart(
        difference_chart(results),
        key="exp-difference",
        alt=f"{label_of(metric)}, challenger minus control, day by day",
    )
    st.caption("The question is answered once the band lies on one side of the line. The last point is now.")


def _nothing_yet(experiment: Experiment) -> None:
    """It runs, and nobody has come."""
    if experiment.is_scheduled:
        empty_state(
            f"It starts {numbers.moment(experiment.starts_at)}.",
            "Until then everybody gets the control and nothing is counted.",
            icon=":material/schedule:",
        )
        return
    if experiment.state is not State.RUNNING:
        empty_state("Nobody took part.", "It ended without a single unit.", icon=":material/person_off:")
        return
    name = (
        escape(experiment.serves.name)
        if experiment.serves is not None
        else f"experiment:{escape(experiment.id)}"
    )
    empty_state(
        "It runs, and nothing has come yet.",
        f"Send requests with the model {name} and the id of the person as user, or record impressions through the API.",
        icon=":material/hourglass_empty:",
    )
    st.code(_example(experiment), language="bash", wrap_lines=True)


def _example(experiment: Experiment) -> str:
    model = experiment.serves.name if experiment.serves is not None else experiment.id
    body = f'{{"model": "{model}", "user": "user-17", "messages": [{{"role": "user", "content": "…"}}]}}'
    return f"curl $CONSOLE/api/v1/chat/completions -H \"Authorization: Bearer $KEY\" \\\n  -d '{body}'"


def _counted(results: ExperimentResults) -> str:
    """How fresh the numbers are, and what they are counted in."""
    told = f"Counted until {numbers.moment(results.at)}."
    if way_of(results.experiment) == SHADOW:
        told += " Shadow: all arms answered the same requests, and are compared request by request."
    if results.evidence.crossed_units:
        told += f" {results.evidence.crossed_units:,} units were seen in two arms and are left out."
    return told
