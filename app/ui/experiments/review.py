"""Step 5: everything in sentences: what is compared, what will be decided and when; then the draft, or the start."""

from collections.abc import Sequence

import streamlit as st
from pydantic import ValidationError

from app.actions import experiments
from app.ui import numbers
from app.ui.experiments.choices import choices_for, titles
from app.ui.experiments.duration import advice_for, show_advice
from app.ui.experiments.form import Form, drop_form, go
from app.ui.experiments.measures import MEASURES
from app.ui.experiments.words import MODES, SHADOW, UNITS, WAYS, automatic_words
from app.ui.frame import error_box, fact_list, keep_notice, problem_box
from app.ui.screens import show_item
from app.ui.text import escape
from app.ui.visit import Visit
from core.errors import RmnError
from core.experiments.plan import Mode
from core.experiments.records import Experiment
from core.training.records import readable_reasons


def show_review(visit: Visit, form: Form) -> Form:
    """What will run, and the buttons that keep it."""
    names = titles(choices_for(visit), form.arms)
    with st.container(border=True):
        st.markdown(f"### {escape(form.name)}")
        if form.hypothesis.strip():
            st.markdown(f":material/lightbulb: {escape(form.hypothesis, None)}")
        lines = what_is_decided(form, names)
        st.markdown("\n".join(f"- {escape(line, None)}" for line in lines))
    advice = advice_for(visit, form)
    if advice is not None:
        show_advice(form, advice)
    with st.expander("All that is fixed when it starts", icon=":material/tune:"):
        fact_list(facts(form, names), alt="The plan of this experiment")
    with st.container(horizontal=True):
        if st.button("Back", key="new-back", icon=":material/arrow_back:"):
            go(form, form.step - 1)
        st.space("stretch")
        kept = st.button("Keep as a draft", key="exp-keep", icon=":material/edit_note:")
        started = st.button(
            "Create and start" if form.starts_at is None else "Create and schedule",
            key="exp-start",
            type="primary",
            icon=":material/play_arrow:",
        )
    if kept or started:
        _create(visit, form, start=started)
    return form


def what_is_decided(form: Form, names: Sequence[str]) -> list[str]:
    """What is compared, what leads to which verdict, when, and what happens then. Names in it are untrusted."""
    measure = form.measure
    margin = f" by more than {form.margin:g} {measure.unit}" if form.margin else ""
    told = [
        f"{' and '.join(names[1:])} against {names[0]}, which answers today.",
        f"A challenger ships if its {measure.title.lower()} is shown to be better{margin}"
        + (", and no guardrail speaks against it." if form.guardrails else "."),
    ]
    guards = [
        f"{MEASURES[key].title} by {amount:g} {MEASURES[key].unit}"
        for key, amount in form.guardrails.items()
        if key in MEASURES and key != form.primary
    ]
    harm = f", or loses more than allowed in {' or '.join(guards)}" if guards else ""
    told.append(f"It rolls back as soon as a challenger is shown to be worse{harm}, from the first unit on.")
    if form.equivalence:
        told.append(f"It ends as «no difference that matters» within ±{form.equivalence:g} {measure.unit}.")
    told.append(
        f"No winner before {form.minimum_units:,} units per arm and {numbers.counted(round(form.minimum_days), 'day')}, "
        "and none while the arms are not as large as planned."
    )
    told.append(_when(form))
    told.append(_who(form))
    told.append(automatic_words(form.automatic))
    return told


def facts(form: Form, names: Sequence[str]) -> dict[str, str]:
    """The plan, field by field."""
    weights = [form.weights.get(key) for key in form.arms]
    shares = ["equal" if weight is None else f"{weight:g} %" for weight in weights]
    targets = "; ".join(f"{field}: {', '.join(values)}" for field, values in form.targeting.items())
    return {
        "Arms": ", ".join(f"{name} ({share})" for name, share in zip(names, shares, strict=True)),
        "Ids of the arms": ", ".join(form.arm_ids().values()),
        "Way": WAYS[form.way].title,
        "Unit": "Request" if form.way == SHADOW else UNITS[form.unit].title,
        "Mode": MODES[form.mode].title,
        "Confidence": f"{form.confidence:g} %",
        "Share of the traffic": f"{form.share:g} %",
        "Ramp": "; ".join(f"{share:g} % from {numbers.moment(at)}" for at, share in form.ramp) or "none",
        "Takes part": targets or "everybody",
        "Namespace": f"{form.namespace}, {form.holdout:g} % held out" if form.namespace else "none",
        "Starts": numbers.moment(form.starts_at) if form.starts_at else "when you start it",
        "Ends": numbers.moment(form.ends_at) if form.ends_at else "when you stop it",
    }


def _when(form: Form) -> str:
    planned = f"{form.planned_units or 0:,} units per arm"
    return {
        Mode.ALWAYS_VALID: "The verdict may come at any moment; looking often does no harm.",
        Mode.HYBRID: f"The verdict may come at any moment, and at {planned} there is one final look.",
        Mode.GROUP_SEQUENTIAL: f"It is judged at {numbers.counted(form.looks, 'look')} on the way to {planned}.",
        Mode.FIXED: f"It is judged once, at {planned}; until then it is locked.",
    }[form.mode]


def _who(form: Form) -> str:
    if form.way == SHADOW:
        return f"{form.share:g} % of the requests are answered by every arm; people see the control's answer only."
    unit = UNITS[form.unit].title.lower()
    return (
        f"{form.share:g} % of the traffic takes part; each {unit} keeps one arm. The rest gets the control."
    )


def _create(visit: Visit, form: Form, *, start: bool) -> None:
    try:
        draft = form.draft()
        made: Experiment = (
            experiments.create_experiment(visit.console, visit.principal, draft)
            if form.experiment_id is None
            else experiments.change_experiment(visit.console, visit.principal, form.experiment_id, draft)
        )
    except ValidationError as error:
        problem_box(
            "Something is missing or does not fit.",
            readable_reasons(error),
            "Correct it in the step it belongs to.",
        )
        return
    except RmnError as error:
        error_box(error)
        return
    told = f"«{made.name}» was kept as a draft."
    if start:
        try:
            made = experiments.start_experiment(visit.console, visit.principal, made.id)
            told = f"«{made.name}» is scheduled." if made.is_scheduled else f"«{made.name}» runs."
        except RmnError as error:
            told = f"It was kept as a draft, but could not be started: {error.what}"
    drop_form()
    keep_notice(told, ":material/science:")
    show_item("experiment", made.id)
    st.rerun()
