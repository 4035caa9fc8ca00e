"""The ways to compose, each in one sentence with its honest limit, and the choice among them."""

from dataclasses import dataclass
from enum import StrEnum

import streamlit as st

from core.compose.records import CompositionSpec, GateKind, Method


class Way(StrEnum):
    """A method and, of the gated one, the kind of its gate."""

    ADD = "add"
    ROUTER = "router"
    STATIC = "static"
    TOKEN = "token"  # noqa: S105 - a gate that works at every token
    PIPELINE = "pipeline"

    @property
    def gate(self) -> GateKind | None:
        """The kind of gate, if it has one."""
        return GateKind(self.value) if self.value in set(GateKind) else None


@dataclass(frozen=True, slots=True)
class WayWords:
    """What a way is called, does, and does not do."""

    title: str
    icon: str
    does: str
    limit: str


WORDS = {
    Way.ADD: WayWords(
        "Add up",
        ":material/add:",
        "Every adapter acts at every token, as strongly as its weight says. The sum is exact.",
        "One mixture for all prompts: adapters that disagree pull against each other. A sum has no order.",
    ),
    Way.ROUTER: WayWords(
        "Router",
        ":material/alt_route:",
        "A small classifier reads the prompt once and lets the one adapter answer that is most likely right.",
        "It sees which words are there, not their order; it never mixes; what it was not trained on goes to the base.",
    ),
    Way.STATIC: WayWords(
        "Learned factors",
        ":material/tune:",
        "Each adapter is multiplied, layer by layer, by a factor that was learned from examples.",
        "One compromise for all prompts; where adapters disagree it usually loses against a router.",
    ),
    Way.TOKEN: WayWords(
        "Token gate",
        ":material/grain:",
        "At every token and layer those adapters act whose main direction the input has most of. Nothing is trained.",
        "It knows the adapters' geometry and nothing of your task. Compare it with the best adapter alone first.",
    ),
    Way.PIPELINE: WayWords(
        "Pipeline",
        ":material/linear_scale:",
        "Stages answer one after the other; the checked answer of one goes into the prompt of the next.",
        "A mistake goes on to the next stage, and the times add up. It stops at the first answer that breaks its "
        "contract.",
    ),
}


def way_of(spec: CompositionSpec) -> Way:
    """The way of a composition."""
    if spec.method is Method.SEQUENTIAL:
        return Way.PIPELINE
    return Way(spec.gate.kind.value) if spec.gate is not None else Way.ADD


def choose_way(key: str, *, label: str = "Method", explained: bool = True) -> Way:
    """Choose one; `explained` says below what it does and what it does not."""
    ways = list(Way) if explained else [way for way in Way if way is not Way.PIPELINE]
    st.session_state.setdefault(key, Way.ADD)
    way = Way(
        st.segmented_control(
            label,
            ways,
            required=True,
            wrap=True,
            format_func=lambda w: f"{WORDS[w].icon} {WORDS[w].title}",
            key=key,
            persist_state="session",
        )
        or Way.ADD
    )
    if explained:
        st.caption(f"{WORDS[way].does} **Its limit:** {WORDS[way].limit}")
    return way
