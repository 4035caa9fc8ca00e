"""Which gate a gated composition has: a trained one of the workspace, or the settings of the token gate."""

from collections.abc import Sequence

import streamlit as st

from app.ui.compose.methods import Way
from app.ui.compose.terms import Picked
from app.ui.screens import GATES, go_to
from app.ui.text import escape, plain
from core.compose.gate_records import Gate, GateState
from core.compose.records import GateSpec


def gate_fields(
    way: Way, picked: Sequence[Picked], gates: Sequence[Gate], prefix: str, *, may_train: bool
) -> GateSpec | None:
    """The gate as it is chosen; None while there is none to choose."""
    if way is Way.TOKEN:
        return _token_fields(prefix)
    fitting = {written(gate): gate for gate in gates if gate.kind is way.gate and _offered(gate)}
    if not fitting:
        st.info(
            "There is no gate of this kind yet. One is trained from the sets of the adapters that it chooses among."
        )
        if may_train and st.button("Train a gate", key=f"{prefix}-train-gate", icon=":material/alt_route:"):
            go_to(GATES)
        return None
    key = f"{prefix}-gate-{way}"
    if st.session_state.get(key) not in fitting:
        st.session_state[key] = _first_fit(fitting, picked)
    name = st.selectbox(
        "Gate",
        list(fitting),
        format_func=lambda n: plain(f"{fitting[n].label} · {fitting[n].state}", 80),
        key=key,
        help="A promoted gate follows its name; a candidate is tried by its version.",
        persist_state="session",
    )
    gate = fitting[name]
    _show_fit(gate, picked)
    return GateSpec(kind=gate.kind, gate=name)


def written(gate: Gate) -> str:
    """How a composition names it: the promoted one by its name, any other by its version."""
    return gate.name if gate.state is GateState.PROMOTED else f"{gate.name}@{gate.version}"


def keep_gate(spec: GateSpec, prefix: str, gates: Sequence[Gate]) -> str | None:
    """Set the fields before they are drawn; what comes back is a gate that is not here."""
    if spec.gate is None:
        st.session_state[f"{prefix}-top-k"] = spec.top_k
        st.session_state[f"{prefix}-temperature"] = spec.temperature
        return None
    for gate in gates:
        if gate.kind is spec.kind and spec.gate in (gate.id, gate.label, written(gate)):
            st.session_state[f"{prefix}-gate-{spec.kind.value}"] = written(gate)
            return None
    return spec.gate


def _token_fields(prefix: str) -> GateSpec:
    state = st.session_state
    state.setdefault(f"{prefix}-top-k", 2)
    state.setdefault(f"{prefix}-temperature", 1.0)
    with st.container(horizontal=True):
        top_k = st.number_input(
            "Adapters at a token",
            1,
            16,
            key=f"{prefix}-top-k",
            help="So many of the adapters act at each token and layer; with all of them nothing is chosen.",
            persist_state="session",
        )
        temperature = st.number_input(
            "Temperature",
            0.01,
            100.0,
            step=0.1,
            key=f"{prefix}-temperature",
            help="Low: the best fitting adapter takes all. High: those that act share evenly.",
            persist_state="session",
        )
    return GateSpec(kind=Way.TOKEN.gate or "token", top_k=int(top_k), temperature=float(temperature))


def _show_fit(gate: Gate, picked: Sequence[Picked]) -> None:
    names = ", ".join(adapter.label for adapter in gate.adapters)
    st.caption(f"Trained to choose among {escape(names, 300)}.")
    if {p.adapter.digest for p in picked} != set(gate.adapter_digests):
        st.warning(
            "A gate works with the adapters that it was trained on and no others. Choose exactly these.",
            icon=":material/link_off:",
        )


def _offered(gate: Gate) -> bool:
    return gate.state is not GateState.RETIRED


def _first_fit(fitting: dict[str, Gate], picked: Sequence[Picked]) -> str:
    digests = {p.adapter.digest for p in picked}
    return next(
        (name for name, gate in fitting.items() if set(gate.adapter_digests) == digests), next(iter(fitting))
    )
