"""Compositions and what changed between two of them, in words."""

from collections.abc import Callable, Sequence

from app.ui.compose.methods import WORDS, way_of
from app.ui.compose.terms import find
from core.compose.records import CompositionSpec, FederationDiff, GateSpec, Method
from core.registry.records import Adapter

METHOD_WORDS = {
    Method.ADDITIVE: "adding up",
    Method.GATED: "a gate",
    Method.SEQUENTIAL: "a pipeline",
}


def spec_words(spec: CompositionSpec, adapters: Sequence[Adapter]) -> str:
    """A composition in one line."""
    if spec.stages:
        return " → ".join(f"{s.name} ({_sum(s.composition, adapters)})" for s in spec.stages)
    gate = f"{WORDS[way_of(spec)].title}: " if spec.gate is not None else ""
    return gate + _sum(spec, adapters)


def diff_words(diff: FederationDiff, adapters: Sequence[Adapter]) -> list[str]:
    """What changed, one sentence each. Names in them are untrusted."""
    name = _namer(adapters)
    told = []
    if diff.method is not None:
        old, new = diff.method
        told.append(f"{METHOD_WORDS[new].capitalize()} took the place of {METHOD_WORDS[old]}.")
    told += [
        f"{name(each)} came in with the weight {weight:g}." for each, weight in sorted(diff.added.items())
    ]
    told += [
        f"{name(each)} was taken out (it had {weight:g})." for each, weight in sorted(diff.removed.items())
    ]
    told += [
        f"The weight of {name(each)} went from {old:g} to {new:g}."
        for each, (old, new) in sorted(diff.changed.items())
    ]
    if diff.normalize_changed:
        told.append("Whether the weights are divided by their sum changed.")
    if diff.gate is not None:
        told.append(f"The gate went from {_gate(diff.gate[0])} to {_gate(diff.gate[1])}.")
    told += [f"The stage {each} came in." for each in diff.stages_added]
    told += [f"The stage {each} was taken out." for each in diff.stages_removed]
    told += [f"The stage {each} changed." for each in diff.stages_changed]
    if diff.stages_moved:
        told.append("The stages stand in another order.")
    if diff.description_changed:
        told.append("The description changed.")
    return told or ["Both compose the same."]


def _sum(spec: CompositionSpec, adapters: Sequence[Adapter]) -> str:
    name = _namer(adapters)
    parts = []
    for term in spec.terms:
        where = "" if term.layers is None else f" [{term.layers[0]}–{term.layers[1]}]"
        parts.append(f"{term.weight:g}·{name(term.adapter)}{where}")
    return " + ".join(parts) or "base alone"


def _namer(adapters: Sequence[Adapter]) -> Callable[[str], str]:
    def name(written: str) -> str:
        """As people know it: ids become names; what follows («[0–3]», «stage: ») stays."""
        stage, split, rest = written.rpartition(": ")
        bare, bracket, blocks = rest.partition(" [")
        adapter = find(bare, adapters)
        return f"{stage}{split}{adapter.label if adapter is not None else bare}{bracket}{blocks}"

    return name


def _gate(spec: GateSpec | None) -> str:
    if spec is None:
        return "none"
    if spec.gate is not None:
        return spec.gate
    return f"{spec.top_k} at a token (temperature {spec.temperature:g})"
