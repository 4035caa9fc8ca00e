"""Step 3: how answers are given, whose requests count, how much of the traffic, and what keeps to one arm."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from app.actions import analytics
from app.ui.experiments.choices import choices_for, titles
from app.ui.experiments.fields import begin, changed, number
from app.ui.experiments.form import Form, utc
from app.ui.experiments.words import BANDIT, SHADOW, SPLIT, UNITS, WAYS, Words
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.experiments.plan import Mode
from core.experiments.records import ID_PATTERN, BanditRule, UnitKind

FIELDS = {"task": "Task", "retailer": "Retailer", "brand": "Brand"}
MOST_RAMP = 20
_RULES = {
    BanditRule.THOMPSON: "Each arm by its chance of being the best",
    BanditRule.TOP_TWO: "Half to the best, half to its closest rival: finds the best sooner",
}


def show_people(visit: Visit, form: Form) -> Form:
    """Way, unit, targeting, share and ramp."""
    way = chosen_way(form)
    form = changed(form, way=way, **({"mode": Mode.ALWAYS_VALID} if way == BANDIT else {}))
    if way == BANDIT:
        rule = st.radio(
            "How the bandit divides",
            list(_RULES),
            key=begin("rule", form.rule),
            format_func=lambda each: _RULES[each],
        )
        form = changed(form, rule=rule)
    if way == SHADOW:
        st.caption("Every request is a unit, and every arm answers it: nothing to divide.")
    else:
        unit = _choose(UNITS, "What keeps to one arm", "unit", form.unit)
        form = changed(form, unit=UnitKind(unit))
    form = _target(visit, form)
    share = st.slider(
        "Share of the traffic that takes part, %",
        1,
        100,
        key=begin("share", round(max(1.0, form.share))),
        help="The rest gets the control and is not counted. It may be raised later; nobody moves when it is.",
    )
    ramp = _ramp(form, visit.console.clock())
    form = changed(form, share=float(share), ramp=ramp)
    return _more(visit, form)


def people_lack(form: Form) -> str:
    """What is missing before the next step."""
    if form.weights and abs(sum(form.weights.values()) - 100) > 1e-6:
        return f"The shares of the arms add up to {sum(form.weights.values()):g} %, not to 100 %."
    if form.namespace and not re.fullmatch(ID_PATTERN, form.namespace):
        return "The name of a namespace has letters, digits, dot, dash and underscore, and begins with a letter or digit."
    return ""


def chosen_way(form: Form) -> str:
    """Split, shadow or bandit, each with what it does and what it cannot."""
    return _choose(WAYS, "How answers are given", "way", form.way)


def _choose(words: Mapping[Any, Words], label: str, key: str, value: str) -> str:
    chosen = st.segmented_control(
        label,
        list(words),
        key=begin(key, value),
        format_func=lambda each: f"{words[each].icon} {words[each].title}",
        required=True,
        wrap=True,
    )
    chosen = str(chosen)
    told = words[chosen]
    st.caption(f"{told.does} **Its limit:** {told.limit}" if told.limit else told.does)
    return chosen


def _target(visit: Visit, form: Form) -> Form:
    """Only requests whose field has one of these values; nothing chosen: all."""
    known = {"task": analytics.task_names(visit.console, visit.principal)}
    found: dict[str, tuple[str, ...]] = {}
    with st.grid(3, min_column_width=200):
        for field, title in FIELDS.items():
            kept = list(form.targeting.get(field, ()))
            options = list(dict.fromkeys([*known.get(field, []), *kept]))
            given = st.multiselect(
                f"{title}: only these",
                options,
                key=begin(f"target-{field}", kept),
                accept_new_options=True,
                max_selections=100,
                placeholder="All; type to add",
                format_func=lambda each: plain(each, 60),
                help=f"Requests say it in their context as «{field}».",
            )
            found[field] = tuple(value[:200] for value in given)
    own = {field: values for field, values in form.targeting.items() if field not in FIELDS}
    return changed(form, targeting={**own, **{field: values for field, values in found.items() if values}})


def _ramp(form: Form, now: datetime) -> tuple[tuple[datetime, float], ...]:
    """Later, larger shares: a small start catches what is broken before many see it."""
    on = st.toggle(
        "Raise the share step by step",
        key=begin("ramp-on", bool(form.ramp)),
        help="Start small, and let more in by itself at the moments that you set.",
    )
    if not on:
        return ()
    first = "exp-ramp-rows"
    if first not in st.session_state:
        steps = form.ramp or ((now + timedelta(days=1), 50.0), (now + timedelta(days=3), 100.0))
        st.session_state[first] = [
            (at.replace(second=0, microsecond=0, tzinfo=None), share) for at, share in steps
        ]
    rows: pd.DataFrame = st.data_editor(
        pd.DataFrame(st.session_state[first], columns=["at", "share"]),
        key="exp-ramp",
        num_rows="dynamic",
        hide_index=True,
        column_config={
            "at": st.column_config.DatetimeColumn("From, UTC", format="YYYY-MM-DD HH:mm", required=True),
            "share": st.column_config.NumberColumn("Share, %", min_value=1, max_value=100, required=True),
        },
    )
    kept = rows.dropna().head(MOST_RAMP)
    return tuple(
        (utc(at.to_pydatetime()), float(share)) for at, share in zip(kept["at"], kept["share"], strict=True)
    )


def _more(visit: Visit, form: Form) -> Form:
    with st.expander("Another field, uneven arms, namespaces, holdout", icon=":material/tune:"):
        form = _other_field(form)
        weights = _weights(visit, form) if form.way == SPLIT else {}
        seeded = False
        if form.way != BANDIT:
            seeded = st.toggle(
                "Draw the arms with a fresh seed",
                key=begin("seeded", form.seeded),
                help="Usually the arm follows from the person and the experiment's id, so that anybody can check it. A "
                "fresh seed is kept with the experiment.",
            )
        with st.grid(2, min_column_width=220):
            namespace = st.text_input(
                "Namespace",
                key=begin("namespace", form.namespace),
                max_chars=40,
                placeholder="None",
                help="Experiments of one namespace never share a person: no one sees two changes at once.",
            )
            holdout = number(
                "Held out of the namespace, %",
                "holdout",
                form.holdout,
                high=50.0,
                help="These people take part in none of its experiments: the yardstick for all of them together.",
            )
    return changed(form, weights=weights, seeded=seeded, namespace=namespace.strip(), holdout=holdout or 0.0)


def _other_field(form: Form) -> Form:
    """Any other field of a request's context that has to have one of these values."""
    known = {field: values for field, values in form.targeting.items() if field in FIELDS}
    own = {field: values for field, values in form.targeting.items() if field not in FIELDS}
    first = next(iter(own), "")
    with st.grid(2, min_column_width=220):
        field = st.text_input(
            "Another field of the context",
            key=begin("other-field", first),
            max_chars=80,
            placeholder="For example: country",
        )
        values = st.multiselect(
            "Only these values of it",
            list(own.get(first, ())),
            key=begin("other-values", list(own.get(first, ()))),
            accept_new_options=True,
            max_selections=100,
            placeholder="Type to add",
            format_func=lambda each: plain(each, 60),
        )
    rest = {name: found for name, found in own.items() if name != first}
    chosen = {field.strip(): tuple(value[:200] for value in values)} if field.strip() and values else {}
    return changed(form, targeting={**known, **rest, **chosen})


def _weights(visit: Visit, form: Form) -> dict[str, float]:
    """Each arm's share of those who take part; empty: equal."""
    even = st.toggle("All arms get the same share", key=begin("even", not form.weights))
    if even:
        return {}
    names: Sequence[str] = titles(choices_for(visit), form.arms)
    found: dict[str, float] = {}
    with st.grid(min(4, len(names)), min_column_width=150):
        for key, name in zip(form.arms, names, strict=True):
            kept = form.weights.get(key, round(100 / len(names), 2))
            found[key] = number(f"{escape(name, 40)}, %", f"weight-{key}", kept, high=100.0) or 0.0
    told = sum(found.values())
    st.caption(
        f"Together {told:g} %. The test sees most where all are equal; it wastes the surplus of a larger arm."
    )
    return found
