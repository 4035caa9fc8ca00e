"""«This one is better»: a judgement of the answers side by side, kept as preference pairs."""

from collections.abc import Sequence

import streamlit as st

from app.actions import feedback
from app.ui import numbers
from app.ui.frame import error_box
from app.ui.text import plain
from app.ui.visit import Visit
from core.engine.records import Message
from core.errors import RmnError
from core.feedback.records import MAX_TEXT, PairDraft
from core.serve.records import InferenceAnswer

Answered = tuple[str, InferenceAnswer]


def show_judging(visit: Visit, messages: Sequence[Message], answered: Sequence[Answered]) -> None:
    """Choose the best answer and, if one likes, say why. It makes a pair with each other answer that differs."""
    with st.form("judge", border=True):
        best = st.radio(
            "Which answer is the best?",
            range(len(answered)),
            index=None,
            format_func=lambda i: plain(answered[i][0], 60),
            horizontal=True,
            key="judge-best",
        )
        why = st.text_input("Why, in your words", max_chars=2000, key="judge-why", placeholder="Optional")
        pressed = st.form_submit_button("This one is better", icon=":material/thumb_up:")
        st.caption(
            "It is kept as a preference pair with each of the others, for training. Where none is better, keep nothing."
        )
    if not pressed:
        return
    if best is None:
        st.warning("Choose the best answer first.")
        return
    _keep(visit, messages, answered, best, why.strip())


def _keep(
    visit: Visit, messages: Sequence[Message], answered: Sequence[Answered], best: int, why: str
) -> None:
    chosen = answered[best][1]
    others = {
        answer.text.strip(): (title, answer)
        for place, (title, answer) in enumerate(answered)
        if place != best and answer.text.strip() not in ("", chosen.text.strip())
    }
    if not others or not chosen.text.strip():
        st.info("Nothing was kept: there is no other answer that differs, or one has no words.")
        return
    kept = 0
    for title, rejected in others.values():
        draft = PairDraft(
            messages=tuple(messages),
            chosen=chosen.text[:MAX_TEXT],
            rejected=rejected.text[:MAX_TEXT],
            chosen_model=answered[best][0][:200],
            rejected_model=title[:200],
            chosen_key=chosen.composition_key,
            rejected_key=rejected.composition_key,
            why=why,
        )
        try:
            feedback.record_pair(visit.console, visit.principal, draft)
        except RmnError as error:
            error_box(error)
            continue
        kept += 1
    if kept:
        st.success(f"Kept as {numbers.counted(kept, 'preference pair')}.", icon=":material/check_circle:")
