"""Step 2: the one metric that decides, by how much it must win, and what must not get worse."""

import streamlit as st

from app.ui.experiments.fields import begin, changed, number
from app.ui.experiments.form import Form
from app.ui.experiments.measures import MEASURES, OWN
from app.ui.text import escape
from core.experiments.plan import MetricKind

_KINDS = {
    MetricKind.SHARE: "A share: 0 or 1 per request",
    MetricKind.MEAN: "An average per request",
    MetricKind.QUANTILE: "Its P95 per request",
}


def show_judging(form: Form) -> Form:
    """Primary metric with margin and range of equivalence; guardrails."""
    primary = st.radio(
        "The metric that decides",
        [*MEASURES, OWN],
        key=begin("primary", form.primary),
        format_func=lambda key: MEASURES[key].title if key in MEASURES else "Your own metric",
        captions=[*(measure.help for measure in MEASURES.values()), "Any number that you record."],
    )
    form = changed(form, primary=primary)
    if primary == OWN:
        form = _own(form)
    measure = form.measure
    with st.grid(2, min_column_width=240):
        margin = number(
            f"It must win by more than, {escape(measure.unit)}",
            f"margin-{primary}",
            form.margin,
            help="0: any improvement that is shown counts. A margin is what the change has to be worth.",
        )
        equivalence = number(
            f"Nobody cares about less than, {escape(measure.unit)}",
            f"equivalence-{primary}",
            form.equivalence,
            help="With it the experiment can also end with «no difference that matters». Empty: it cannot.",
            placeholder="Leave empty to run on",
        )
    better = "higher" if measure.higher_is_better else "lower"
    st.caption(f"{escape(measure.title)}: {better} is better.")
    guardrails = _guardrails(form)
    return changed(form, margin=margin or 0.0, equivalence=equivalence or None, guardrails=guardrails)


def judging_lacks(form: Form) -> str:
    """What is missing before the next step."""
    if form.primary != OWN:
        return ""
    name = form.own_name
    if not name:
        return "Give your metric a name."
    if not (name[0].isalpha() and name.islower() and name.replace("_", "").isalnum() and name.isascii()):
        return "The name of a metric has lower-case letters, digits and _, and begins with a letter."
    return ""


def _own(form: Form) -> Form:
    with st.grid(3, min_column_width=180):
        name = st.text_input(
            "Name of the metric",
            key=begin("own-name", form.own_name),
            max_chars=40,
            placeholder="cost_usd",
            help="As it is recorded with each impression: lower-case letters, digits and _.",
        )
        kind = st.selectbox(
            "What it is", list(_KINDS), key=begin("own-kind", form.own_kind), format_func=lambda k: _KINDS[k]
        )
        higher = st.toggle("Higher is better", key=begin("own-higher", form.own_higher))
    return changed(form, own_name=name.strip(), own_kind=kind, own_higher=higher)


def _guardrails(form: Form) -> dict[str, float]:
    st.markdown("**Guardrails: what must not get worse**")
    st.caption(
        "A guardrail has a veto: harm beyond its margin rolls back at once, and while such harm is possible nothing ships."
    )
    options = [key for key in MEASURES if key != form.primary]
    chosen = st.pills(
        "Guardrails",
        options,
        selection_mode="multi",
        key=begin(f"guardrails-{form.primary}", [key for key in form.guardrails if key in options]),
        format_func=lambda key: MEASURES[key].title,
        label_visibility="collapsed",
    )
    found: dict[str, float] = {}
    if chosen:
        with st.grid(min(3, len(chosen)), min_column_width=200):
            for key in chosen:
                measure = MEASURES[key]
                kept = form.guardrails.get(key, measure.margin)
                given = number(
                    f"{measure.title} may lose, {measure.unit}",
                    f"guard-{key}",
                    kept,
                    help="0: it only rolls back where harm is shown, and does not hold back a winner.",
                )
                found[key] = given or 0.0
    return found
