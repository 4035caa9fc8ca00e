"""One answer of one composition: a gate chooses, the cache prepares and pins, the engine is asked."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from core.compose.cache import CompositionCache
from core.compose.handles import Pin
from core.compose.resolved import ResolvedComposition
from core.compose.router import Routed
from core.engine.records import Composition, EnginePort, Message
from core.registry.records import Adapter
from core.serve.records import AdapterUsed, Routing


@dataclass(frozen=True, slots=True)
class Step:
    """What answers, chosen and pinned within `composing_ms`. Leave it, or call `release`, when the answer is over."""

    resolved: ResolvedComposition
    routing: Routing | None
    pin: Pin | None
    composing_ms: float = 0.0

    @property
    def adapter_bytes(self) -> int:
        """What the adapters occupy together."""
        return self.pin.handle.bytes if self.pin is not None else 0

    @property
    def composition(self) -> Composition:
        """What the engine is given."""
        return self.pin.handle.composition if self.pin is not None else self.resolved.composition

    @property
    def adapters(self) -> tuple[AdapterUsed, ...]:
        """Who takes part."""
        return tuple(
            AdapterUsed(a.id, a.name, a.version, a.type.value, a.digest, weight, term.layers)
            for (a, weight), term in zip(self.resolved.adapters, self.resolved.composition.terms, strict=True)
        )

    def release(self) -> None:
        """Let go of what was pinned. Again: nothing."""
        if self.pin is not None:
            self.pin.release()

    def __enter__(self) -> "Step":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def begin_step(
    engine: EnginePort, cache: CompositionCache, resolved: ResolvedComposition, messages: Sequence[Message]
) -> Step:
    """Choose and pin. Raises what `CompositionCache.pin` raises, InvalidInputError for messages that do not fit."""
    started, routing = time.perf_counter(), None
    if resolved.router is not None:
        whole = resolved
        resolved, routed = whole.choose(engine.features(messages))
        routing = _told(whole, routed)
    pin = cache.pin(resolved.composition) if resolved.composition.terms else None
    return Step(resolved, routing, pin, (time.perf_counter() - started) * 1000)


def _told(resolved: ResolvedComposition, routed: Routed) -> Routing:
    names: dict[str, Adapter] = {adapter.digest: adapter for adapter, _ in resolved.adapters}
    labels: Mapping[str, str] = {digest: adapter.label for digest, adapter in names.items()}
    chosen = routed.chosen
    return Routing(
        gate=resolved.gate.label if resolved.gate is not None else "",
        chosen=None if chosen is None else labels.get(chosen, chosen[:12]),
        probability=max(routed.probabilities.values()) if chosen is None else routed.probabilities[chosen],
        probabilities={
            labels.get(digest, digest[:12]) if digest else "base": share
            for digest, share in routed.probabilities.items()
        },
        entropy=routed.entropy,
        abstained=routed.abstained,
        reason=routed.reason,
    )
