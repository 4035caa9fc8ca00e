"""What changed from one version of a federation to another."""

import math

from core.compose.records import CompositionSpec, Federation, FederationDiff, Method, Term


def diff_federations(older: Federation, newer: Federation) -> FederationDiff:
    """What changed from `older` to `newer`, adapters as they are written in the specs."""
    a, b = older.spec, newer.spec
    before, after = _written_weights(a), _written_weights(b)
    old = {stage.name: stage for stage in a.stages}
    new = {stage.name: stage for stage in b.stages}
    both = [name for name in old if name in new]
    return FederationDiff(
        added={name: after[name] for name in after.keys() - before.keys()},
        removed={name: before[name] for name in before.keys() - after.keys()},
        changed={
            name: (before[name], after[name])
            for name in before.keys() & after.keys()
            if before[name] != after[name]
        },
        normalize_changed=a.normalize != b.normalize,
        description_changed=older.description != newer.description,
        method=(a.method, b.method) if a.method is not b.method else None,
        gate=(a.gate, b.gate) if a.gate != b.gate else None,
        stages_added=tuple(name for name in new if name not in old),
        stages_removed=tuple(name for name in old if name not in new),
        stages_changed=tuple(name for name in both if old[name] != new[name]),
        stages_moved=both != [name for name in new if name in old],
    )


def _written_weights(spec: CompositionSpec) -> dict[str, float]:
    if spec.method is Method.SEQUENTIAL:
        return {
            f"{stage.name}: {name}": weight
            for stage in spec.stages
            for name, weight in _written_weights(stage.composition).items()
        }
    weights: dict[str, list[float]] = {}
    for term in spec.terms:
        weights.setdefault(_written(term), []).append(term.weight)
    return {name: math.fsum(parts) for name, parts in weights.items()}


def _written(term: Term) -> str:
    return term.adapter if term.layers is None else f"{term.adapter} [{term.layers[0]}–{term.layers[1]}]"
