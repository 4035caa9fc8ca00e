"""The composer's choices: a base, at most one adapter of each type, weights; kept while the visit lasts."""

from collections.abc import Mapping, Sequence

import streamlit as st

from app.actions import compositions
from app.ui import badges
from app.ui.charts import AMBER, BLUE, GREEN, VIOLET, show_chart, stack_chart
from app.ui.frame import errors_shown, keep_notice
from app.ui.text import escape, plain
from app.ui.visit import current_visit
from core.compose.records import CompositionSpec, Federation, Term
from core.registry.records import Adapter, AdapterState, AdapterType

PLATE_COLORS = {"retailer": BLUE, "task": VIOLET, "brand": AMBER, "domain": GREEN}
LOWEST, HIGHEST = -1.0, 2.0
_SLOTS = (AdapterType.RETAILER, AdapterType.TASK, AdapterType.BRAND, AdapterType.DOMAIN)
_HELP = {
    AdapterType.RETAILER: "Knows one retailer's columns, units and codes.",
    AdapterType.TASK: "Turns an objective into a tool call or plan.",
    AdapterType.BRAND: "Writes in one brand's voice.",
    AdapterType.DOMAIN: "Knows a field's words.",
}
_WEIGHT_HELP = "How strongly it acts. 1 is as trained, 0 is off, below 0 pushes the other way."


def take_over(adapter: Adapter) -> None:
    """Put one adapter into its slot and empty the others: what «Compose» on an adapter means."""
    for kind in _SLOTS:
        st.session_state[_slot(kind)] = adapter.id if kind is adapter.type else None
    st.session_state[_weight(adapter.type)] = 1.0


def is_new() -> bool:
    """Whether nothing has been chosen in this visit yet, not even to leave a slot empty."""
    return not any(_slot(kind) in st.session_state for kind in _SLOTS)


def load(federation: Federation, adapters: Sequence[Adapter]) -> list[str]:
    """Set the slots as a saved composition has them; the names that cannot be shown here are returned."""
    for kind in _SLOTS:
        st.session_state[_slot(kind)] = None
    missing = []
    for term in federation.spec.terms:
        adapter = find(term.adapter, adapters)
        if adapter is None or st.session_state[_slot(adapter.type)] is not None:
            missing.append(term.adapter)
            continue
        st.session_state[_slot(adapter.type)] = adapter.id
        st.session_state[_weight(adapter.type)] = min(HIGHEST, max(LOWEST, term.weight))
    return missing


def find(id_or_name: str, adapters: Sequence[Adapter]) -> Adapter | None:
    """The adapter with that id, or the newest active one of that name."""
    named = [a for a in adapters if a.name == id_or_name and a.state is AdapterState.ACTIVE]
    newest = max(named, key=lambda a: a.version, default=None)
    return next((adapter for adapter in adapters if adapter.id == id_or_name), newest)


def choose(adapters: Sequence[Adapter], base_digest: str | None) -> list[tuple[Adapter, float]]:
    """One row per type: which adapter, and how much of it. Only adapters of the chosen base are offered."""
    chosen = []
    for kind in _SLOTS:
        fitting = {
            a.id: a
            for a in sorted(adapters, key=lambda a: (a.name, -a.version))
            if a.type is kind and a.state is AdapterState.ACTIVE and base_digest in (None, a.base_digest)
        }
        if not fitting and kind is AdapterType.DOMAIN:
            continue
        adapter_id, weight = _row(kind, fitting)
        if adapter_id is not None:
            chosen.append((fitting[adapter_id], weight))
    return chosen


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


def spec_of(chosen: Sequence[tuple[Adapter, float]]) -> CompositionSpec:
    """The choices as a composition: adapters by id, so that a newer version does not slip in."""
    return CompositionSpec(terms=tuple(Term(adapter=a.id, weight=weight) for a, weight in chosen))


def show_stack(base_name: str, chosen: Sequence[tuple[Adapter, float]]) -> None:
    """The composition as a stack of plates, and as the sum that it is."""
    plates = [(adapter.label, adapter.type.value, weight) for adapter, weight in chosen]
    words = ", ".join(f"{name} times {weight:g}" for name, _, weight in plates) or "no adapter"
    show_chart(stack_chart(base_name, plates, PLATE_COLORS), key="stack", alt=f"{base_name} with {words}")
    terms = "".join(
        f" {'+' if weight >= 0 else '-'} {abs(weight):g}·ΔW({plain(name, 40)})" for name, _, weight in plates
    )
    st.code(f"W' = W{terms}", language=None, wrap_lines=True)


def show_saving(chosen: Sequence[tuple[Adapter, float]]) -> None:
    """Name the composition, so that screens and programs can ask it by that name."""
    with (
        st.popover(
            "Save as a federation", icon=":material/save:", disabled=not chosen, key="federation-save"
        ),
        st.form("save-federation", border=False),
    ):
        name = st.text_input("Name", max_chars=100, key="federation-name")
        description = st.text_input("What it is for", max_chars=300, key="federation-description")
        st.caption("Saving under a known name makes its next version; the old ones stay.")
        if st.form_submit_button("Save", type="primary"):
            visit = current_visit()
            with errors_shown():
                made = compositions.save_federation(
                    visit.console, visit.principal, name.strip(), description.strip(), spec_of(chosen)
                )
                keep_notice(f"{made.name} v{made.version} was saved.")
                st.rerun()


def _row(kind: AdapterType, fitting: Mapping[str, Adapter]) -> tuple[str | None, float]:
    if st.session_state.get(_slot(kind)) not in (None, *fitting):
        st.session_state[_slot(kind)] = None
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        adapter_id = st.selectbox(
            f"{badges.TYPE_ICONS[kind]} {kind.capitalize()} adapter",
            list(fitting),
            index=None,
            format_func=lambda a: plain(fitting[a].label, 60),
            placeholder="None",
            key=_slot(kind),
            help=_HELP[kind],
            persist_state="session",
        )
    with right:
        st.session_state.setdefault(_weight(kind), 1.0)
        weight = st.slider(
            f"Weight of the {kind} adapter",
            LOWEST,
            HIGHEST,
            step=0.05,
            key=_weight(kind),
            help=_WEIGHT_HELP,
            disabled=adapter_id is None,
            persist_state="session",
            label_visibility="collapsed",
        )
    return adapter_id, float(weight)


def _slot(kind: AdapterType) -> str:
    return f"composer-{kind.value}"


def _weight(kind: AdapterType) -> str:
    return f"composer-{kind.value}-weight"
