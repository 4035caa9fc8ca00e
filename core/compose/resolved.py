"""What a spec means for one tenant at one moment: adapters, gates and stages instead of names."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.compose.gate_records import Gate
from core.compose.records import Stage
from core.compose.router import Routed, Router
from core.engine.records import Composition
from core.registry.records import Adapter


@dataclass(frozen=True, slots=True)
class ResolvedComposition:
    """A spec whose names became adapters of the tenant, ready for the engine.

    `adapters` stand beside the terms of `composition`, one for one, with the weight that each really gets; what has
    weight 0 is left out. With a `router`, `composition` holds every adapter that may act, and `choose` says for one
    prompt which of them do. `gate` is the trained gate, if there is one.
    """

    composition: Composition
    adapters: tuple[tuple[Adapter, float], ...]
    gate: Gate | None = None
    router: Router | None = None

    def choose(self, features: Sequence[float]) -> "tuple[ResolvedComposition, Routed]":
        """What acts on a prompt with these features (EnginePort.features), and why. For those with a router only."""
        if self.router is None:
            raise ValueError("this composition has no router")
        routed = self.router.choose(features)
        terms, adapters = [], []
        for term, (adapter, weight) in zip(self.composition.terms, self.adapters, strict=True):
            share = weight * routed.weights.get(adapter.digest, 0.0)
            if share != 0:
                terms.append(replace(term, weight=share))
                adapters.append((adapter, share))
        chosen = Composition(self.composition.base_digest, tuple(terms))
        return ResolvedComposition(chosen, tuple(adapters), self.gate), routed


@dataclass(frozen=True, slots=True)
class ResolvedStage:
    """One step of a pipeline and what answers in it."""

    stage: Stage
    resolved: ResolvedComposition


@dataclass(frozen=True, slots=True)
class ResolvedPipeline:
    """Stages in the order in which they run. Each sees the adapters of its own composition and no others."""

    stages: tuple[ResolvedStage, ...]


Resolved = ResolvedComposition | ResolvedPipeline
