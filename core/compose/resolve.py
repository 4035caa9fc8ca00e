"""From names to what the engine is given: adapters of the tenant, weights, segments, gates and stages."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy.orm import Session

from core.compose import gates
from core.compose.gate_records import Gate
from core.compose.gates import OpenGates
from core.compose.pipeline import check_stages
from core.compose.records import CompositionSpec, GateKind, GateSpec, Method, Term
from core.compose.resolved import Resolved, ResolvedComposition, ResolvedPipeline, ResolvedStage
from core.compose.served import served_history
from core.compose.swap_records import ServedKind
from core.engine.records import AdapterRef, Composition, TokenGate, WeightedAdapter
from core.errors import ConflictError, InvalidInputError
from core.registry import service as registry
from core.registry.records import Adapter, AdapterState

MAX_WEIGHT = 8.0
BLOCK = re.compile(r"\.layers\.(\d+)\.")
Segment = tuple[int, int] | None
Used = tuple[Adapter, Segment, float]


def resolve(
    s: Session,
    tenant_id: str,
    spec: CompositionSpec,
    *,
    base_digest: str,
    modules: Sequence[str] = (),
    gates: OpenGates | None = None,
) -> Resolved:
    """What `spec` means for this tenant on this base. `modules` are the base's linear layers (EnginePort.module_names),
    against whose blocks depth segments are checked; `gates` keeps the files of gates that were read.

    Raises NotFoundError, ConflictError (not active, another base, a parent is missing, a gate of other adapters),
    InvalidInputError (weight, segment, slot, contract), IntegrityError (the file of a gate changed).
    """
    opened = gates or OpenGates()
    if spec.method is not Method.SEQUENTIAL:
        return _resolve_one(s, tenant_id, spec, base_digest, modules, opened)
    check_stages(spec.stages)
    return ResolvedPipeline(
        tuple(
            ResolvedStage(stage, _resolve_one(s, tenant_id, stage.composition, base_digest, modules, opened))
            for stage in spec.stages
        )
    )


def resolve_parts(
    s: Session,
    tenant_id: str,
    spec: CompositionSpec,
    *,
    base_digest: str,
    modules: Sequence[str] = (),
    gates: OpenGates | None = None,
) -> tuple[ResolvedComposition, ...]:
    """What has to be in memory for `spec`: one composition, or that of each stage. Raises as `resolve`."""
    found = resolve(s, tenant_id, spec, base_digest=base_digest, modules=modules, gates=gates)
    if isinstance(found, ResolvedPipeline):
        return tuple(stage.resolved for stage in found.stages)
    return (found,)


def find_adapter(s: Session, tenant_id: str, id_or_name: str) -> Adapter:
    """An id, «name v2» or «name@2», or a name: the version that it serves, else the newest active one.

    When the served version cannot serve, those it replaced come before newer ones that never served. Raises as
    `registry.resolve`.
    """
    newest = registry.resolve(s, tenant_id, id_or_name)
    if newest.name != id_or_name or newest.id == id_or_name:
        return newest
    for version in served_history(s, tenant_id, ServedKind.ADAPTER, newest.name):
        if version == newest.version:
            return newest
        served = registry.resolve(s, tenant_id, f"{newest.name}@{version}")
        if served.state is AdapterState.ACTIVE:
            return served
    return newest


def count_blocks(modules: Iterable[str]) -> int | None:
    """How many blocks a base has, from the names of its layers; None when they do not tell."""
    numbers = [int(match[1]) for name in modules if (match := BLOCK.search(name))]
    return max(numbers) + 1 if numbers else None


def _resolve_one(
    s: Session,
    tenant_id: str,
    spec: CompositionSpec,
    base_digest: str,
    modules: Sequence[str],
    opened: OpenGates,
) -> ResolvedComposition:
    """Weights of the same content on the same blocks are added up; what sums to zero is left out, so W' = W exactly."""
    blocks = count_blocks(modules)
    weights: dict[tuple[str, Segment], list[float]] = {}
    adapters: dict[str, Adapter] = {}
    for term in spec.terms:
        adapter = find_adapter(s, tenant_id, term.adapter)
        _check_servable(adapter, base_digest)
        adapters.setdefault(adapter.digest, adapter)
        weights.setdefault((adapter.digest, _segment(term, blocks)), []).append(term.weight)
    total = math.fsum(term.weight for term in spec.terms) if spec.normalize else 1.0
    sums = [(adapters[digest], where, math.fsum(w) / total) for (digest, where), w in weights.items()]
    used = tuple(each for each in sums if each[2] != 0)
    _check_weights(used)
    _check_parents(used, blocks)
    gate = _find_gate(s, tenant_id, spec.gate, base_digest, tuple(adapters))
    if spec.gate is not None and spec.gate.kind is not GateKind.STATIC:
        _check_alone(used)
    gains = opened.gains(gate) if gate is not None and gate.kind is GateKind.STATIC else {}
    terms = tuple(
        WeightedAdapter(AdapterRef(a.digest, Path(a.path)), weight, where, gains.get(a.digest, ()))
        for a, where, weight in used
    )
    token = spec.gate if terms and spec.gate is not None and spec.gate.kind is GateKind.TOKEN else None
    composition = (
        Composition(base_digest, terms)
        if token is None
        # More than there are is all of them: equal content has one key.
        else Composition(
            base_digest, terms, "gated", TokenGate(min(token.top_k, len(adapters)), token.temperature)
        )
    )
    router = opened.router(gate) if gate is not None and gate.kind is GateKind.ROUTER else None
    return ResolvedComposition(
        composition, tuple((adapter, weight) for adapter, _, weight in used), gate, router
    )


def _find_gate(
    s: Session, tenant_id: str, spec: GateSpec | None, base_digest: str, digests: tuple[str, ...]
) -> Gate | None:
    if spec is None or spec.gate is None:
        return None
    gate = gates.find_gate(s, tenant_id, spec.gate)
    gates.check_fits(gate, spec.kind, base_digest, digests)
    return gate


def _segment(term: Term, blocks: int | None) -> Segment:
    """The blocks of a term; all of them is none in particular."""
    if term.layers is None or blocks is None:
        return term.layers
    if term.layers[1] >= blocks:
        raise InvalidInputError(
            f"The segment {term.layers[0]}–{term.layers[1]} of «{term.adapter}» ends beyond the base.",
            f"The base has {blocks} blocks, 0 to {blocks - 1}.",
            "Correct the segment.",
        )
    return None if term.layers == (0, blocks - 1) else term.layers


def _check_servable(adapter: Adapter, base_digest: str) -> None:
    if adapter.state is not AdapterState.ACTIVE:
        raise ConflictError(
            f"The adapter {adapter.label} is {adapter.state}.",
            "Its files changed after they were registered."
            if adapter.state is AdapterState.QUARANTINED
            else "It was put away.",
            "Restore it, or choose another version.",
        )
    if adapter.base_digest != base_digest:
        raise ConflictError(
            f"The adapter {adapter.label} was made for another base model.",
            f"It needs {adapter.base_name} ({adapter.base_digest[:12]}…); {base_digest[:12]}… is loaded.",
            "Serve that base, or train the adapter again on this one.",
        )


def _check_weights(used: Sequence[Used]) -> None:
    """No adapter may get more than MAX_WEIGHT on any block, over all its segments."""
    for adapter, where, _ in used:
        first = where[0] if where else 0
        here = math.fsum(w for a, at, w in used if a.digest == adapter.digest and _covers(at, first))
        if abs(here) > MAX_WEIGHT:
            raise InvalidInputError(
                f"{adapter.label} would get the weight {here:.4g}.",
                f"Weights beyond ±{MAX_WEIGHT:g} drown the base: terms were doubled or nearly cancel.",
                "Lower its weight, or do not normalize.",
            )


def _check_parents(used: Sequence[Used], blocks: int | None) -> None:
    """What was trained on top of another adapter acts only where that one acts too."""
    everywhere = None if blocks is None else (0, blocks - 1)
    for adapter, where, _ in used:
        for parent in adapter.manifest.parents:
            places = [at for other, at, _ in used if other.digest == parent]
            if not places:
                raise ConflictError(
                    f"The adapter {adapter.label} needs another one that is not in this composition.",
                    f"It was trained on top of the adapter with the digest {parent[:12]}….",
                    "Add the parent with a weight other than zero, or leave this adapter out.",
                )
            if None not in places and not _within(where or everywhere, places):
                raise ConflictError(
                    f"The adapter {adapter.label} acts on blocks where its parent does not.",
                    f"It was trained on top of the adapter with the digest {parent[:12]}….",
                    "Give the parent at least the same blocks.",
                )


def _check_alone(used: Sequence[Used]) -> None:
    """A gate that picks one adapter may leave its parent out, and then it would not be what was trained."""
    for adapter, _, _ in used:
        if adapter.manifest.parents:
            raise ConflictError(
                f"The adapter {adapter.label} cannot be chosen by a gate.",
                "It was trained on top of another adapter, and a gate may leave that one out.",
                "Merge both into one adapter first, or use the additive method.",
            )


def _covers(segment: Segment, block: int) -> bool:
    return segment is None or segment[0] <= block <= segment[1]


def _within(where: Segment, places: Sequence[Segment]) -> bool:
    """Whether each block of `where` is in one of `places`, none of which is all."""
    return where is not None and all(
        any(_covers(place, block) for place in places) for block in range(where[0], where[1] + 1)
    )
