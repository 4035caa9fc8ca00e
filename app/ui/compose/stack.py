"""A composition drawn: plates on the base with weights, blocks and gate, or the stages in their order."""

from collections.abc import Sequence

import streamlit as st

from app.ui.badges import TYPE_COLORS
from app.ui.charts import AMBER, BLUE, GREEN, VIOLET, show_chart, stack_chart
from app.ui.compose.editor import Edited
from app.ui.compose.methods import WORDS, Way
from app.ui.compose.stages import contract_word
from app.ui.compose.terms import Picked, find
from app.ui.text import escape, escape_badge, plain
from core.compose.records import CompositionSpec, GateSpec, Stage
from core.registry.records import Adapter

PLATE_COLORS = {"retailer": BLUE, "task": VIOLET, "brand": AMBER, "domain": GREEN}


def show_stack(base_name: str, edited: Edited, adapters: Sequence[Adapter]) -> None:
    """The composition as it is edited now."""
    if edited.way is Way.PIPELINE:
        if edited.spec is not None:
            show_stages(base_name, edited.spec.stages, adapters)
        return
    gate = edited.spec.gate if edited.spec is not None else None
    show_plates(base_name, edited.picked, edited.way, gate)
    if edited.spec is not None:
        st.code(formula(edited.spec, adapters), language=None, wrap_lines=True)


def show_plates(base_name: str, picked: Sequence[Picked], way: Way, gate: GateSpec | None) -> None:
    """The base, and a plate for each adapter. The heavier it weighs, the more solid it is."""
    plates = [(p.adapter.label, p.adapter.type.value, p.weight) for p in picked]
    notes = ["" if p.layers is None else f"blocks {p.layers[0]}–{p.layers[1]}" for p in picked]
    words = ", ".join(f"{name} times {weight:g}" for name, _, weight in plates) or "no adapter"
    show_chart(
        stack_chart(base_name, plates, PLATE_COLORS, notes=notes),
        key="stack",
        alt=f"{base_name} with {words}",
    )
    if gate is not None:
        st.badge(escape_badge(gate_words(way, gate)), color="violet", icon=WORDS[way].icon)


def show_stages(base_name: str, stages: Sequence[Stage], adapters: Sequence[Adapter]) -> None:
    """One card for each stage, with an arrow to the next."""
    st.markdown("**What answers, stage by stage**")
    for place, stage in enumerate(stages, start=1):
        with st.container(border=True, gap="xsmall"):
            st.markdown(f"**{place} · {escape(stage.name)}**")
            with st.container(horizontal=True, gap="xsmall"):
                if not stage.composition.terms:
                    st.badge(escape_badge(base_name), color="gray", icon=":material/foundation:")
                for term in stage.composition.terms:
                    adapter = find(term.adapter, adapters)
                    where = "" if term.layers is None else f" [{term.layers[0]}–{term.layers[1]}]"
                    name = adapter.label if adapter is not None else term.adapter
                    st.badge(
                        escape_badge(f"{name}{where} × {term.weight:g}"),
                        color=TYPE_COLORS.get(adapter.type, "blue") if adapter is not None else "gray",
                        icon=":material/layers:",
                    )
            st.caption(
                f"Asks: {escape(stage.prompt, 100)} · answers {contract_word(stage.contract.kind).lower()}, "
                f"at most {stage.max_new_tokens:,} tokens"
            )
        if place < len(stages):
            st.markdown(":material/arrow_downward:", text_alignment="center")


def gate_words(way: Way, gate: GateSpec) -> str:
    """A gate in a few words."""
    if gate.gate is not None:
        return f"{WORDS[way].title}: {gate.gate}"
    return f"{WORDS[way].title}: {gate.top_k} at a token, temperature {gate.temperature:g}"


def formula(spec: CompositionSpec, adapters: Sequence[Adapter]) -> str:
    """What is computed for every layer."""
    total = sum(term.weight for term in spec.terms) if spec.normalize else 1.0
    factor = {
        None: "",
        Way.TOKEN.gate: "g(token)·",
        Way.ROUTER.gate: "g(prompt)·",
        Way.STATIC.gate: "g(layer)·",
    }
    gate = factor[spec.gate.kind if spec.gate is not None else None]
    parts = []
    for term in spec.terms:
        weight = term.weight / total
        adapter = find(term.adapter, adapters)
        where = "" if term.layers is None else f"[{term.layers[0]}–{term.layers[1]}]"
        name = plain(adapter.label if adapter is not None else term.adapter, 40)
        parts.append(f" {'+' if weight >= 0 else '-'} {abs(weight):.4g}·{gate}ΔW({name}){where}")
    return f"W' = W{''.join(parts)}"
