"""The stages of a pipeline: name, adapters, prompt with slots, contract, limit; added, moved and taken out."""

import json
from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.ui.compose.gate_choice import gate_fields, keep_gate
from app.ui.compose.methods import Way, choose_way, way_of
from app.ui.compose.terms import choose_any, find, keep
from app.ui.text import escape
from core.compose.gate_records import Gate
from core.compose.records import CompositionSpec, ContractKind, Method, Stage, StageContract
from core.errors import InvalidInputError
from core.registry.records import Adapter
from core.storage.ids import new_id

MOST = 8
STAGES = "composer-stages"
FIRST_PROMPT = "{input}"
_CONTRACTS = {
    ContractKind.TEXT: "Any text",
    ContractKind.JSON: "JSON",
    ContractKind.SCHEMA: "JSON of a schema",
}


def edit_stages(
    adapters: Sequence[Adapter],
    gates: Sequence[Gate],
    blocks: int | None,
    *,
    longest: int,
    may_train: bool,
    by_name: bool,
) -> tuple[Stage, ...]:
    """All stages as fields. Raises InvalidInputError for a schema that is no JSON, ValidationError for other values."""
    keys = stage_keys()
    drawn: list[dict[str, Any]] = []
    for place, key in enumerate(keys):
        with st.container(border=True, key=f"stage-{place}"):
            _head(place, key, len(keys))
            drawn.append(_fields(place, key, adapters, gates, blocks, longest, may_train, by_name))
    st.button(
        "Another stage",
        key="stage-more",
        icon=":material/playlist_add:",
        on_click=_append,
        disabled=len(keys) >= MOST,
    )
    return tuple(_stage(values) for values in drawn)


def stage_keys() -> list[str]:
    """The stages in their order; a new pipeline has two."""
    if not st.session_state.get(STAGES):
        st.session_state[STAGES] = []
        for name, prompt in (("first", FIRST_PROMPT), ("second", "{first}")):
            _new(name, prompt)
    return list(st.session_state[STAGES])


def load_stages(stages: Sequence[Stage], adapters: Sequence[Adapter], gates: Sequence[Gate]) -> list[str]:
    """Set the stages as a saved pipeline has them; what cannot be shown here is returned."""
    st.session_state[STAGES] = []
    missing = []
    for stage in stages:
        key = _new(stage.name, stage.prompt)
        state, spec = st.session_state, stage.composition
        state[f"{key}-system"] = stage.system or ""
        state[f"{key}-contract"] = stage.contract.kind
        state[f"{key}-schema"] = json.dumps(stage.contract.json_schema or {}, indent=2)
        state[f"{key}-tokens"] = stage.max_new_tokens
        state[f"{key}-stop"] = list(stage.stop)
        state[f"{key}-way"] = way_of(spec)
        state[f"{key}-normalize"] = spec.normalize
        found = [(find(term.adapter, adapters), term) for term in spec.terms]
        chosen: list[str] = []
        for adapter, term in found:
            if adapter is None or adapter.id in chosen:
                missing.append(f"{stage.name}: {term.adapter}")
                continue
            chosen.append(adapter.id)
            keep(key, adapter, term.weight, term.layers)
        state[f"{key}-adapters"] = chosen
        if spec.gate is not None and (lost := keep_gate(spec.gate, key, gates)) is not None:
            missing.append(f"{stage.name}: gate {lost}")
    return missing


def _head(place: int, key: str, count: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.markdown(f"**Stage {place + 1}**", width="stretch")
        st.button(
            "Up",
            key=f"{key}-up",
            icon=":material/arrow_upward:",
            on_click=_move,
            args=(key, -1),
            disabled=place == 0,
        )
        st.button(
            "Down",
            key=f"{key}-down",
            icon=":material/arrow_downward:",
            on_click=_move,
            args=(key, 1),
            disabled=place == count - 1,
        )
        with st.popover("Take out", key=f"{key}-out", icon=":material/delete:", disabled=count == 1):
            st.markdown("What is written in this stage is lost.")
            st.button("Take it out", key=f"{key}-out-yes", type="primary", on_click=_take_out, args=(key,))


def _fields(
    place: int,
    key: str,
    adapters: Sequence[Adapter],
    gates: Sequence[Gate],
    blocks: int | None,
    longest: int,
    may_train: bool,
    by_name: bool,
) -> dict[str, Any]:
    """The widgets of a stage, and what they hold now."""
    state = st.session_state
    state.setdefault(f"{key}-tokens", min(256, longest))
    with st.container(horizontal=True):
        name = st.text_input(
            "Name", key=f"{key}-name", max_chars=40, help="Small letters, digits, _", persist_state="session"
        )
        tokens = st.number_input(
            "Most tokens", 1, longest, key=f"{key}-tokens", width=140, persist_state="session"
        )
    slots = " ".join(f"{{{each}}}" for each in ["input", *_names(place)])
    prompt = st.text_area(
        "Prompt",
        key=f"{key}-prompt",
        height=90,
        help="A slot is filled once and never read again, so an answer with braces stays a text.",
        persist_state="session",
    )
    st.caption(f"Slots that it can use: {escape(slots, 400)}. {{{{name}}}} writes {{name}}.")
    picked = choose_any(adapters, key, blocks)
    contract, schema = _contract_fields(key)
    with st.expander("More settings", icon=":material/settings:"):
        system = st.text_area(
            "System turn",
            key=f"{key}-system",
            height=70,
            placeholder="That of the request",
            persist_state="session",
        )
        stop = st.multiselect(
            "Stop at",
            list(state.get(f"{key}-stop") or []),
            accept_new_options=True,
            max_selections=8,
            key=f"{key}-stop",
            placeholder="Type a text that ends the answer",
            persist_state="session",
        )
        way = choose_way(f"{key}-way", label="How its adapters act", explained=False)
        gate = (
            gate_fields(way, picked, gates, key, may_train=may_train)
            if way is not Way.ADD and picked
            else None
        )
        normalize = st.toggle(
            "Divide the weights by their sum", key=f"{key}-normalize", persist_state="session"
        )
    return {
        "name": name,
        "prompt": prompt,
        "system": system or None,
        "contract": contract,
        "schema": schema,
        "max_new_tokens": int(tokens),
        "stop": tuple(stop),
        "composition": {
            "method": Method.ADDITIVE if gate is None else Method.GATED,
            "terms": tuple(p.term(by_name=by_name) for p in picked),
            "normalize": normalize and bool(picked),
            "gate": gate,
        },
    }


def _contract_fields(key: str) -> tuple[ContractKind, str]:
    state = st.session_state
    state.setdefault(f"{key}-contract", ContractKind.TEXT)
    kind = ContractKind(
        st.segmented_control(
            "Its answer has to be",
            list(ContractKind),
            required=True,
            wrap=True,
            format_func=lambda k: _CONTRACTS[k],
            key=f"{key}-contract",
            persist_state="session",
        )
        or ContractKind.TEXT
    )
    if kind is not ContractKind.SCHEMA:
        return kind, ""
    state.setdefault(f"{key}-schema", '{"type": "object"}')
    return kind, st.text_area("JSON Schema", key=f"{key}-schema", height=120, persist_state="session")


def _stage(values: dict[str, Any]) -> Stage:
    kind, schema = values["contract"], None
    if kind is ContractKind.SCHEMA:
        try:
            schema = json.loads(values["schema"])
        except ValueError as error:
            raise InvalidInputError(
                f"The schema of the stage «{values['name']}» is no JSON.", f"{error}.", "Correct it."
            ) from error
    told = {name: value for name, value in values.items() if name != "schema"}
    contract = StageContract.model_validate({"kind": kind, "schema": schema})
    return Stage.model_validate(
        {**told, "contract": contract, "composition": CompositionSpec.model_validate(told["composition"])}
    )


def contract_word(kind: ContractKind) -> str:
    """What an answer has to be, in words."""
    return _CONTRACTS[kind]


def _names(before: int) -> list[str]:
    return [str(st.session_state.get(f"{key}-name", "")) for key in stage_keys()[:before]]


def _new(name: str, prompt: str) -> str:
    key = new_id("stage")
    st.session_state[f"{key}-name"] = name
    st.session_state[f"{key}-prompt"] = prompt
    st.session_state[STAGES] = [*st.session_state.get(STAGES, []), key]
    return key


def _append() -> None:
    names = _names(MOST)
    number = len(names) + 1
    while f"stage{number}" in names:
        number += 1
    _new(f"stage{number}", f"{{{names[-1]}}}" if names and names[-1] else FIRST_PROMPT)


def _move(key: str, by: int) -> None:
    keys = stage_keys()
    place = keys.index(key)
    keys.insert(place + by, keys.pop(place))
    st.session_state[STAGES] = keys


def _take_out(key: str) -> None:
    st.session_state[STAGES] = [each for each in stage_keys() if each != key]
