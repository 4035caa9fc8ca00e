"""Step 1: what is to be proved, and which compositions it is about."""

import streamlit as st

from app.ui.experiments.choices import choices_for
from app.ui.experiments.fields import begin, changed
from app.ui.experiments.form import BASE, Form
from app.ui.frame import empty_state
from app.ui.screens import TRAINING, go_to
from app.ui.text import escape
from app.ui.visit import Visit

MOST_CHALLENGERS = 9


def show_prove(visit: Visit, form: Form) -> Form:
    """Name, hypothesis, control, challengers, and whose requests."""
    choices = choices_for(visit)
    if len(choices) < 2:
        empty_state(
            "There is nothing to compare yet.",
            "An experiment needs two things that can answer. Train an adapter first.",
            icon=":material/layers:",
            actions={"Train an adapter": lambda: go_to(TRAINING)},
        )
        st.stop()
    name = st.text_input(
        "Name",
        key=begin("name", form.name),
        max_chars=200,
        placeholder="For example: shorter answers for Pomelia",
    )
    hypothesis = st.text_area(
        "What do you want to prove?",
        key=begin("hypothesis", form.hypothesis),
        max_chars=2000,
        height=90,
        placeholder="If … answers instead of …, then … gets better, because …",
        help="Written down before the start, it keeps everybody honest afterwards.",
    )
    left, right = st.columns(2)
    keys = list(choices)
    with left:
        control = st.selectbox(
            "Control: what answers today",
            keys,
            index=None,
            key=begin("control", form.control if form.control in choices else None),
            format_func=lambda key: choices[key].title,
            placeholder="Choose one",
        )
    rest = [key for key in keys if key != control]
    with right:
        kept = [key for key in form.challengers if key in rest]
        name_of = begin("challengers", kept)
        st.session_state[name_of] = [key for key in st.session_state[name_of] if key in rest]
        challengers = st.multiselect(
            "Challengers: what may be better",
            rest,
            key=name_of,
            format_func=lambda key: choices[key].title,
            max_selections=MOST_CHALLENGERS,
            placeholder="One or more",
            help="Each further challenger needs more traffic: all are judged together, so that luck among many is not taken "
            "for proof.",
        )
    takes_over = form.takes_over
    if control is not None and control != BASE:
        takes_over = _whose_requests(form, choices[control].label)
    form = changed(
        form,
        name=name,
        hypothesis=hypothesis,
        control=control,
        challengers=tuple(challengers),
        takes_over=takes_over,
    )
    if control is not None and control != BASE and challengers and takes_over and not form.may_swap:
        st.info(
            "An adapter's name can be swapped to another version of it only, so a challenger of another kind proves itself "
            "here and is put to use by hand. To let it be promoted with a click, make the control a federation.",
            icon=":material/info:",
        )
    return form


def prove_lacks(form: Form) -> str:
    """What is missing before the next step; empty: nothing."""
    lacking = [
        word
        for word, there in (
            ("a name", form.name.strip()),
            ("the control", form.control),
            ("a challenger", form.challengers),
        )
        if not there
    ]
    return f"Still needed: {', '.join(lacking)}." if lacking else ""


def _whose_requests(form: Form, label: str) -> bool:
    bare = label.rpartition(" v")[0] or label
    by_name, by_id = True, False
    return bool(
        st.radio(
            "Whose requests take part?",
            [by_name, by_id],
            key=begin("takes-over", form.takes_over),
            format_func=lambda each: (
                f"Those that ask for {escape(bare)}"
                if each
                else "Those that ask for the experiment by its id"
            ),
            captions=[
                "Programs change nothing. A promotion swaps what the name means.",
                "Programs put the id of the experiment where the model's name stands.",
            ],
        )
    )
