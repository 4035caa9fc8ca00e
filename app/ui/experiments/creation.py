"""The guided way to an experiment: five steps, each kept in the address."""

from collections.abc import Callable

import streamlit as st

from app.ui.experiments.duration import duration_lacks, show_duration
from app.ui.experiments.fields import changed
from app.ui.experiments.form import STEPS, Form, drop_form, go, keep_form
from app.ui.experiments.judging import judging_lacks, show_judging
from app.ui.experiments.people import people_lack, show_people
from app.ui.experiments.prove import prove_lacks, show_prove
from app.ui.experiments.review import show_review
from app.ui.visit import Visit

LACKS: tuple[Callable[[Form], str], ...] = (prove_lacks, judging_lacks, people_lack, duration_lacks)


def show_creation(visit: Visit, form: Form) -> None:
    """The step that the form stands at, with the way back and on."""
    st.button(
        "All experiments", key="new-leave", type="tertiary", icon=":material/arrow_back:", on_click=drop_form
    )
    st.title("New experiment" if form.experiment_id is None else "Change the draft", anchor=False)
    st.caption("Five steps. Nothing runs before the last one, and the address keeps what you have chosen.")
    form = changed(form, step=min(form.step, furthest(form)))
    _step_bar(form.step)
    shown = _draw(visit, form)
    keep_form(shown)
    if form.step < len(STEPS):
        _buttons(shown)


def furthest(form: Form) -> int:
    """The last step that can be shown with what is there."""
    for number, lacks in enumerate(LACKS, start=1):
        if lacks(form):
            return number
    return len(STEPS)


def _draw(visit: Visit, form: Form) -> Form:
    match form.step:
        case 1:
            return show_prove(visit, form)
        case 2:
            return show_judging(form)
        case 3:
            return show_people(visit, form)
        case 4:
            return show_duration(visit, form)
        case _:
            return show_review(visit, form)


def _step_bar(current: int) -> None:
    with st.container(horizontal=True, gap="small"):
        for number, title in enumerate(STEPS, start=1):
            if number < current:
                st.badge(title, color="green", icon=":material/check:")
            else:
                st.badge(f"{number} · {title}", color="blue" if number == current else "gray")


def _buttons(form: Form) -> None:
    lacking = LACKS[form.step - 1](form)
    if lacking:
        st.caption(f":material/info: {lacking}")
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        if form.step > 1 and st.button("Back", key="new-back", icon=":material/arrow_back:"):
            go(form, form.step - 1)
        if st.button(
            f"Next: {STEPS[form.step].lower()}",
            key="new-next",
            type="primary",
            icon=":material/arrow_forward:",
            icon_position="right",
            disabled=bool(lacking),
        ):
            go(form, form.step + 1)
