"""Train a gate: which adapters, whose prompts, which kind."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.actions import gates
from app.ui.compose.methods import WORDS, Way
from app.ui.compose.terms import usable
from app.ui.frame import errors_shown, keep_notice
from app.ui.screens import GATES, go_to
from app.ui.text import escape, plain
from app.ui.visit import Visit
from core.compose.records import GateKind
from core.datasets.records import Dataset, DatasetKind
from core.registry.records import Adapter

LEAST = 2


def show_form(visit: Visit, adapters: Sequence[Adapter], sets: Sequence[Dataset]) -> None:
    """All choices of a training, and the button that submits it as a job."""
    base = visit.console.base().digest
    fitting = {adapter.id: adapter for adapter in usable(adapters, base)}
    trainable = {each.id: each for each in sets if each.kind is DatasetKind.SFT}
    kind = GateKind(
        st.segmented_control(
            "Kind",
            [GateKind.ROUTER, GateKind.STATIC, GateKind.TOKEN],
            default=GateKind.ROUTER,
            required=True,
            wrap=True,
            format_func=lambda k: f"{WORDS[Way(k.value)].icon} {WORDS[Way(k.value)].title}",
            key="gate-kind",
        )
    )
    words = WORDS[Way(kind.value)]
    st.caption(f"{words.does} **Its limit:** {words.limit}")
    name = st.text_input(
        "Name", max_chars=100, key="gate-name", placeholder="One that exists gets its next version"
    )
    chosen = st.multiselect(
        "Adapters that it chooses among",
        list(fitting),
        format_func=lambda a: plain(fitting[a].label, 60),
        key="gate-adapters",
        placeholder="Two or more",
    )
    sources = [(each, _source(fitting[each], trainable)) for each in chosen]
    base_rows, choices = _more(kind, trainable)
    pressed = st.button(
        "Train the gate",
        key="gate-train",
        type="primary",
        icon=":material/model_training:",
        disabled=len(chosen) < LEAST or not name.strip(),
        help="Give it a name and two adapters or more." if len(chosen) < LEAST or not name.strip() else None,
    )
    if pressed:
        with errors_shown(), st.spinner("Looking at the rows"):
            spec = gates.plan_gate(
                visit.console,
                visit.principal,
                name=name.strip(),
                kind=kind,
                adapters=sources,
                base_rows=base_rows,
                **choices,
            )
            job = gates.submit_gate(visit.console, visit.principal, spec)
            keep_notice(f"{job.name} was submitted.")
            go_to(GATES, job=job.id)


def _source(adapter: Adapter, trainable: dict[str, Dataset]) -> str | None:
    """The set whose prompts the adapter is best at; where its own is in the library, that one unless changed."""
    own = next((each.id for each in trainable.values() if each.digest == adapter.dataset_digest), None)
    options = list(trainable)
    return st.selectbox(
        f"Prompts for {escape(adapter.label)}",
        options,
        index=options.index(own) if own in options else None,
        format_func=lambda d: plain(trainable[d].name, 60) + (", its own" if d == own else ""),
        placeholder="Choose a set",
        key=f"gate-set-{adapter.id}",
        help="The prompts of this set teach the gate what the adapter is for; its test rows judge it.",
    )


def _more(kind: GateKind, trainable: dict[str, Dataset]) -> tuple[str | None, dict[str, Any]]:
    choices: dict[str, Any] = {}
    with st.expander("More settings", icon=":material/settings:"):
        base_rows = st.selectbox(
            "Prompts that the base should answer itself",
            list(trainable),
            index=None,
            format_func=lambda d: plain(trainable[d].name, 60),
            placeholder="None",
            key="gate-base-rows",
        )
        with st.grid(3, min_column_width=170):
            choices["train_rows"] = _whole(
                "Most prompts of each to learn from", 8, 20_000, 400, "gate-train-rows"
            )
            choices["evaluation_rows"] = _whole(
                "Held-out rows that all answer",
                8,
                5_000,
                72,
                "gate-rows",
                "More rows, narrower interval, longer run.",
            )
            choices["seed"] = _whole("Seed", 0, 2**31 - 1, 0, "gate-seed")
            if kind is GateKind.STATIC:
                choices["steps"] = _whole("Steps", 1, 5_000, 60, "gate-steps")
            if kind is GateKind.TOKEN:
                choices["top_k"] = _whole("Adapters at a token", 1, 16, 2, "gate-top-k")
                choices["temperature"] = float(
                    st.number_input("Temperature", 0.01, 100.0, 1.0, 0.1, key="gate-temperature")
                )
    return base_rows, choices


def _whole(label: str, low: int, high: int, value: int, key: str, help: str | None = None) -> int:
    return int(st.number_input(label, low, high, value, key=key, help=help))
