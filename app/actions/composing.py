"""Having compositions ready before they are asked, and what is in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.bootstrap import Console
from core.compose import service as compose
from core.compose.handles import CacheStats
from core.compose.records import CompositionSpec
from core.compose.resolved import ResolvedComposition
from core.engine.records import EngineStatus
from core.registry import service as registry
from core.serve.composing import Preparation
from core.serve.models import find_model
from core.tenants.records import Permission, Principal

PREFETCH_PRIORITY = -10


@dataclass(frozen=True, slots=True)
class MemoryView:
    """What is held for one workspace; sums are of the whole machine, lists of this workspace's adapters alone."""

    cache: CacheStats
    engine: EngineStatus
    own_digests: frozenset[str]


def compose_async(
    c: Console, p: Principal, *, model: str | None, spec: CompositionSpec | None, priority: int = 0
) -> Preparation:
    """Have a model, or a composition said in full, prepared in the background.

    Raises NotFoundError, ConflictError, InvalidInputError, BusyError.
    """
    p.require(Permission.TRAIN)
    label, parts = _parts(c, p, model, spec)
    compositions = [part.composition for part in parts]
    return c.preparations.submit(p.tenant_id, label, compositions, priority=priority, now=c.clock())


def compose_sync(
    c: Console, p: Principal, *, model: str | None, spec: CompositionSpec | None, timeout_s: float = 60.0
) -> Preparation:
    """The same, and wait until it is ready. Raises what kept it from being ready, too, and BusyError after the time."""
    asked = compose_async(c, p, model=model, spec=spec, priority=1)
    for ticket in asked.tickets:
        ticket.result(timeout_s)
    return asked


def prefetch(
    c: Console, p: Principal, *, model: str | None = None, spec: CompositionSpec | None = None
) -> Preparation:
    """Prepare what will be wanted soon, after everything more urgent."""
    return compose_async(c, p, model=model, spec=spec, priority=PREFETCH_PRIORITY)


def get_preparation(c: Console, p: Principal, preparation_id: str) -> Preparation:
    """How far it is. Raises NotFoundError."""
    p.require(Permission.VIEW)
    return c.preparations.get(p.tenant_id, preparation_id)


def cancel_preparation(c: Console, p: Principal, preparation_id: str) -> Preparation:
    """Want it no longer. One that is over stays as it is. Raises NotFoundError."""
    p.require(Permission.TRAIN)
    found = c.preparations.get(p.tenant_id, preparation_id)
    found.cancel()
    return found


def memory_view(c: Console, p: Principal) -> MemoryView:
    """What the cache and the engine hold. Raises UnavailableError while the engine cannot be opened."""
    p.require(Permission.VIEW)
    with c.database.reading() as s:
        own = registry.list_adapters(s, p.tenant_id, include_archived=True)
    digests = frozenset(adapter.digest for adapter in own)
    return MemoryView(c.runtime.cache.get_cache_stats().seen_by(digests), c.engine().status(), digests)


def _parts(
    c: Console, p: Principal, model: str | None, spec: CompositionSpec | None
) -> tuple[str, Sequence[ResolvedComposition]]:
    engine = c.engine()
    with c.database.reading() as s:
        label = "composition"
        if model is not None:
            chosen = find_model(s, p.tenant_id, model, engine.status().base_name)
            label, spec = chosen.label, chosen.spec
        return label, compose.resolve_parts(
            s,
            p.tenant_id,
            spec or CompositionSpec(),
            base_digest=engine.base_digest,
            modules=engine.module_names(),
        )
