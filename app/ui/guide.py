"""The next step: train, compose, ask. Shows what is done and offers the one thing to do now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import streamlit as st

from app.ui.screens import DATASETS, FEDERATION, JOBS, go_to
from core.jobs.records import Job
from core.tenants.records import Permission, Principal


@dataclass(frozen=True, slots=True)
class _Step:
    title: str
    text: str
    done: bool
    label: str
    click: Callable[[], None]
    allowed: bool = True


def next_step(principal: Principal, *, trained: int, running: Sequence[Job], federations: int) -> None:
    """The three steps of a first visit as cards; the first that is not done has the main button."""
    steps = [
        _train_step(principal, trained, running),
        _Step(
            "2 · Compose",
            "Stack it with a task or brand adapter, and set how much each one counts.",
            federations > 0,
            "Open the composer",
            lambda: go_to(FEDERATION),
        ),
        _Step(
            "3 · Ask",
            "Give it a record it never saw; base and composition answer side by side.",
            False,
            "Ask a question",
            lambda: go_to(FEDERATION),
        ),
    ]
    current = next((step for step in steps if not step.done and step.allowed), steps[-1])
    st.subheader("Next step", anchor=False)
    with st.grid(3, min_column_width=220):
        for step in steps:
            _card(step, is_current=step is current)


def _train_step(principal: Principal, trained: int, running: Sequence[Job]) -> _Step:
    if running:
        job = running[0]
        return _Step(
            "1 · Train",
            "A training runs. Watch its loss fall.",
            False,
            "Watch it",
            lambda: go_to(JOBS, job=job.id),
        )
    return _Step(
        "1 · Train",
        "Choose a dataset from the library and train an adapter from it, without code.",
        trained > 0,
        "Choose a dataset",
        lambda: go_to(DATASETS),
        principal.may(Permission.TRAIN),
    )


def _card(step: _Step, *, is_current: bool) -> None:
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{step.title}**")
            if step.done:
                st.badge("Done", color="green", icon=":material/check:")
            elif is_current:
                st.badge("Now", color="blue")
        st.caption(step.text)
        st.space("stretch")
        if step.allowed and st.button(
            step.label,
            key=f"step-{step.title}",
            type="primary" if is_current else "secondary",
            width="stretch",
        ):
            step.click()
