"""The composition that is being made: its fields, what they mean together, and what keeps it from answering."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from pydantic import ValidationError

from app.actions import compositions
from app.ui.compose.gate_choice import gate_fields, keep_gate
from app.ui.compose.methods import WORDS, Way, choose_way, way_of
from app.ui.compose.stages import edit_stages, load_stages
from app.ui.compose.terms import MAIN, SLOTS, Picked, choose_by_type, find, keep, slot
from app.ui.frame import error_box, errors_shown, keep_notice
from app.ui.visit import Visit, current_visit
from core.compose.gate_records import Gate
from core.compose.records import CompositionSpec, Federation, Method, Term
from core.errors import InvalidInputError, RmnError
from core.registry.records import Adapter
from core.training.records import readable_reasons

WAY, FOLLOW, NORMALIZE = "composer-way", "composer-follow", "composer-normalize"


@dataclass(frozen=True, slots=True)
class Edited:
    """The fields as they stand. `spec` is None where they make no composition, and then `problem` says why."""

    way: Way
    picked: tuple[Picked, ...]
    spec: CompositionSpec | None
    problem: RmnError | None = None

    @property
    def empty(self) -> bool:
        """Whether the base alone answers."""
        return self.spec is not None and not (self.spec.terms or self.spec.stages)

    @property
    def words(self) -> str:
        """What answers, for the head of a column."""
        if self.way is Way.PIPELINE:
            stages = self.spec.stages if self.spec is not None else ()
            return " → ".join(stage.name for stage in stages) or "Pipeline"
        names = " + ".join(p.words for p in self.picked)
        return names if self.way is Way.ADD else f"{WORDS[self.way].title}: {names}"


def is_new() -> bool:
    """Whether nothing has been chosen in this visit yet, not even to leave a choice empty."""
    return not any(slot(kind) in st.session_state for kind in SLOTS)


def take_over(adapter: Adapter) -> None:
    """Choose one adapter and nothing else: what «Compose» on an adapter means."""
    st.session_state[WAY] = Way.ADD
    st.session_state[NORMALIZE] = False
    for kind in SLOTS:
        st.session_state[slot(kind)] = [adapter.id] if kind is adapter.type else []
    keep(MAIN, adapter, 1.0, None)


def load(federation: Federation, adapters: Sequence[Adapter], gates: Sequence[Gate]) -> list[str]:
    """Set the fields as a saved composition has them; what cannot be shown here is returned."""
    state, spec = st.session_state, federation.spec
    state[WAY] = way_of(spec)
    state[NORMALIZE] = spec.normalize
    terms = [term for part in [stage.composition for stage in spec.stages] or [spec] for term in part.terms]
    state[FOLLOW] = bool(terms) and all(_by_name(term, adapters) for term in terms)
    for kind in SLOTS:
        state[slot(kind)] = []
    missing = load_stages(spec.stages, adapters, gates) if spec.stages else []
    for term in spec.terms:
        adapter = find(term.adapter, adapters)
        if adapter is None or adapter.id in state[slot(adapter.type)]:
            missing.append(term.adapter)
            continue
        state[slot(adapter.type)] = [*state[slot(adapter.type)], adapter.id]
        keep(MAIN, adapter, term.weight, term.layers)
    if spec.gate is not None and (lost := keep_gate(spec.gate, MAIN, gates)) is not None:
        missing.append(f"gate {lost}")
    return missing


def edit(visit: Visit, adapters: Sequence[Adapter], gates: Sequence[Gate], *, may_train: bool) -> Edited:
    """All fields of a composition. `adapters` are those that fit the base."""
    blocks = compositions.block_count(visit.console, visit.principal)
    way = choose_way(WAY)
    by_name = bool(st.session_state.get(FOLLOW, False))
    try:
        if way is Way.PIPELINE:
            longest = visit.console.settings.max_new_tokens
            stages = edit_stages(
                adapters, gates, blocks, longest=longest, may_train=may_train, by_name=by_name
            )
            _more(way)
            return Edited(way, (), CompositionSpec(method=Method.SEQUENTIAL, stages=stages))
        picked = tuple(choose_by_type(adapters, blocks))
        gate = None if way is Way.ADD else gate_fields(way, picked, gates, MAIN, may_train=may_train)
        _more(way)
        if way is not Way.ADD and gate is None:
            return Edited(way, picked, None, _no_gate())
        spec = CompositionSpec(
            method=Method.ADDITIVE if gate is None else Method.GATED,
            terms=tuple(p.term(by_name=by_name) for p in picked),
            normalize=bool(st.session_state.get(NORMALIZE)) and bool(picked),
            gate=gate,
        )
    except ValidationError as error:
        problem = InvalidInputError(
            "This is no composition yet.", readable_reasons(error), "Correct it above."
        )
        return Edited(way, (), None, problem)
    except RmnError as error:
        return Edited(way, (), None, error)
    return Edited(way, picked, spec)


def show_problems(visit: Visit, edited: Edited) -> bool:
    """What keeps this composition from answering, as it is refused. True: nothing does."""
    problem = edited.problem
    if problem is None and edited.spec is not None:
        try:
            compositions.check_composition(visit.console, visit.principal, edited.spec)
        except RmnError as error:
            problem = error
    if problem is not None:
        error_box(problem)
    return problem is None


def show_saving(edited: Edited, *, name: str = "") -> None:
    """Name the composition, so that screens and programs can ask it by that name."""
    with (
        st.popover(
            "Save as a federation",
            icon=":material/save:",
            disabled=edited.spec is None or edited.empty,
            key="federation-save",
        ),
        st.form("save-federation", border=False),
    ):
        called = st.text_input("Name", name, max_chars=100, key="federation-name")
        description = st.text_input("What it is for", max_chars=300, key="federation-description")
        st.caption("Saving under a known name makes its next version; the old ones stay.")
        if st.form_submit_button("Save", type="primary") and edited.spec is not None:
            visit = current_visit()
            with errors_shown():
                made = compositions.save_federation(
                    visit.console, visit.principal, called.strip(), description.strip(), edited.spec
                )
                keep_notice(f"{made.label} was saved.")
                st.rerun()


def _more(way: Way) -> None:
    with st.expander("More settings", icon=":material/settings:", key="composer-more"):
        if way is not Way.PIPELINE:
            st.toggle(
                "Divide the weights by their sum",
                key=NORMALIZE,
                help="Off: weights act as they are given. On: they sum to 1. Weights that sum to 0 cannot be divided.",
                persist_state="session",
            )
        st.toggle(
            "Follow the version that each adapter's name serves",
            key=FOLLOW,
            help="Off: a saved federation keeps these very versions. On: it goes along when an adapter is swapped.",
            persist_state="session",
        )


def _by_name(term: Term, adapters: Sequence[Adapter]) -> bool:
    return any(term.adapter == adapter.name for adapter in adapters)


def _no_gate() -> InvalidInputError:
    return InvalidInputError(
        "This composition has no gate yet.",
        "Nothing says which of its adapters acts.",
        "Choose a gate, train one, or use another method.",
    )
