"""Adapters with their weights: chosen by type, weighed by a slider or an exact number, kept while the visit lasts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.ui import badges
from app.ui.text import escape, plain
from core.compose.records import Term
from core.registry.records import Adapter, AdapterState, AdapterType

LOWEST, HIGHEST = -2.0, 2.0
MOST = 8.0
SLOTS = (AdapterType.RETAILER, AdapterType.TASK, AdapterType.BRAND, AdapterType.DOMAIN)
MAIN = "composer"
_HELP = {
    AdapterType.RETAILER: "Knows one retailer's columns, units and codes.",
    AdapterType.TASK: "Turns an objective into a tool call or plan.",
    AdapterType.BRAND: "Writes in one brand's voice.",
    AdapterType.DOMAIN: "Knows a field's words.",
}
_WEIGHT_HELP = "How strongly it acts. 1 is as trained, 0 is off, below 0 pushes the other way."


@dataclass(frozen=True, slots=True)
class Picked:
    """An adapter with its weight; `layers` are the first and last block on which it acts, None: all."""

    adapter: Adapter
    weight: float
    layers: tuple[int, int] | None = None

    def term(self, *, by_name: bool = False) -> Term:
        """As a composition has it: by id, so that no newer version slips in, or by the name that may be swapped."""
        name = self.adapter.name if by_name else self.adapter.id
        return Term(adapter=name, weight=self.weight, layers=self.layers)

    @property
    def words(self) -> str:
        """Its name, and the blocks if they are not all."""
        where = "" if self.layers is None else f" [{self.layers[0]}–{self.layers[1]}]"
        return f"{self.adapter.label}{where}"


def usable(adapters: Sequence[Adapter], base_digest: str | None) -> list[Adapter]:
    """The adapters that can be composed on this base, by name, the newest version of each name first."""
    return [
        adapter
        for adapter in sorted(adapters, key=lambda a: (a.name, -a.version))
        if adapter.state is AdapterState.ACTIVE and base_digest in (None, adapter.base_digest)
    ]


def find(id_or_name: str, adapters: Sequence[Adapter]) -> Adapter | None:
    """The adapter with that id, with that name and version, or the newest active one of that name."""
    named = [a for a in adapters if a.name == id_or_name and a.state is AdapterState.ACTIVE]
    newest = max(named, key=lambda a: a.version, default=None)
    same = (a for a in adapters if id_or_name in (a.id, a.label, f"{a.name}@{a.version}"))
    return next(same, newest)


def choose_by_type(adapters: Sequence[Adapter], blocks: int | None) -> list[Picked]:
    """A choice per type, then a row for each chosen adapter: how much of it, and where."""
    chosen: list[Adapter] = []
    with st.grid(2, min_column_width=220):
        for kind in SLOTS:
            fitting = {adapter.id: adapter for adapter in adapters if adapter.type is kind}
            if fitting or kind is not AdapterType.DOMAIN:
                label = f"{badges.TYPE_ICONS[kind]} {kind.capitalize()} adapters"
                chosen += _several(label, fitting, slot(kind), _HELP[kind])
    return weigh(chosen, MAIN, blocks)


def choose_any(adapters: Sequence[Adapter], prefix: str, blocks: int | None) -> list[Picked]:
    """The same with one choice for all types: what a stage of a pipeline has."""
    fitting = {adapter.id: adapter for adapter in adapters}
    return weigh(
        _several("Adapters", fitting, f"{prefix}-adapters", "None: the base answers."), prefix, blocks
    )


def weigh(chosen: Sequence[Adapter], prefix: str, blocks: int | None) -> list[Picked]:
    """A row for each adapter."""
    if not chosen:
        return []
    with st.container(key=f"{prefix}-weights", gap="xsmall"):
        return [_row(adapter, prefix, blocks) for adapter in chosen]


def keep(prefix: str, adapter: Adapter, weight: float, layers: tuple[int, int] | None) -> None:
    """Set a row before it is drawn."""
    state, key = st.session_state, _key(prefix, adapter)
    state[f"{key}-exact"] = max(-MOST, min(MOST, weight))
    state[f"{key}-weight"] = max(LOWEST, min(HIGHEST, weight))
    state[f"{key}-some"] = layers is not None
    if layers is not None:
        state[f"{key}-blocks"] = layers


def slot(kind: AdapterType) -> str:
    """The key of a type's choice."""
    return f"{MAIN}-{kind.value}"


def show_left_out(adapters: Sequence[Adapter], base_digest: str | None) -> None:
    """Says which adapters are not offered because they belong to another base."""
    others = [a.label for a in adapters if base_digest not in (None, a.base_digest)]
    if others:
        names = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        st.warning(
            f"Not offered: {escape(names, 300)}. An adapter works only on the base that it was trained on, and these "
            "were trained on another one. Train them again on this base, or start the console with theirs.",
            icon=":material/link_off:",
        )


def _several(label: str, fitting: dict[str, Adapter], key: str, help: str) -> list[Adapter]:
    kept = [each for each in st.session_state.get(key) or [] if each in fitting]
    if kept != st.session_state.get(key):
        st.session_state[key] = kept
    ids = st.multiselect(
        label,
        list(fitting),
        format_func=lambda a: plain(fitting[a].label, 60),
        placeholder="None",
        key=key,
        help=help,
        persist_state="session",
    )
    return [fitting[each] for each in ids]


def _row(adapter: Adapter, prefix: str, blocks: int | None) -> Picked:
    key, state = _key(prefix, adapter), st.session_state
    state.setdefault(f"{key}-weight", 1.0)
    state.setdefault(f"{key}-exact", state[f"{key}-weight"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.slider(
            f"{badges.TYPE_ICONS.get(adapter.type, '')} {escape(adapter.label)}",
            LOWEST,
            HIGHEST,
            step=0.05,
            key=f"{key}-weight",
            help=_WEIGHT_HELP,
            on_change=_copy,
            args=(f"{key}-weight", f"{key}-exact"),
            persist_state="session",
        )
        weight = st.number_input(
            f"Exact weight of {escape(adapter.label)}",
            -MOST,
            MOST,
            step=0.05,
            format="%.3g",
            key=f"{key}-exact",
            on_change=_copy,
            args=(f"{key}-exact", f"{key}-weight"),
            persist_state="session",
            label_visibility="collapsed",
            width=110,
        )
        layers = None
        if blocks is not None and blocks > 1:
            with st.popover("More", key=f"{key}-more", icon=":material/tune:"):
                layers = _segment(key, blocks)
    return Picked(adapter, float(weight), layers)


def _segment(key: str, blocks: int) -> tuple[int, int] | None:
    """The blocks on which an adapter acts."""
    some = st.toggle(
        "Only on some blocks",
        key=f"{key}-some",
        help="A depth segment: it acts from the first to the last of these blocks and nowhere else.",
        persist_state="session",
    )
    everything = (0, blocks - 1)
    told = tuple(st.session_state.get(f"{key}-blocks", everything))
    if not 0 <= told[0] <= told[1] < blocks:
        told = everything
    st.session_state[f"{key}-blocks"] = told
    chosen: Any = st.slider(  # a range, because its state is a pair
        f"First and last of the {blocks} blocks",
        0,
        blocks - 1,
        key=f"{key}-blocks",
        disabled=not some,
        persist_state="session",
    )
    return (int(chosen[0]), int(chosen[1])) if some else None


def _copy(source: str, target: str) -> None:
    """Slider and number say the same; a number beyond the slider stands at its end."""
    value = float(st.session_state[source])
    inside = max(LOWEST, min(HIGHEST, value))
    st.session_state[target] = inside if target.endswith("-weight") else value


def _key(prefix: str, adapter: Adapter) -> str:
    return f"{prefix}-{adapter.id}"
