"""A workspace on a tiny random base: adapters with versions, a cache, swaps, and requests that come in by name."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.compose import service
from core.compose.cache import CompositionCache
from core.compose.records import CompositionSpec, Federation, Term
from core.compose.served import served_version
from core.compose.swap import HotSwap
from core.compose.swap_records import ServedKind
from core.engine.local import LocalEngine
from core.engine.records import Composition, EnginePort, EngineStatus, Generation
from core.registry import service as registry
from core.registry.bases import read_base_facts
from core.registry.package import build_manifest
from core.registry.records import Adapter, AdapterSource, AdapterType
from core.registry.verify import verify_folder
from core.storage.database import Database
from core.tenants import service as tenants
from core.tenants.records import Tenant
from tests.core.engine.conftest import Bench, ask

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


class WatchedEngine:
    """The real engine; what goes through `prepare` and `unload` is written down, and a test may hold it or break it."""

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self.prepared: list[str] = []
        self.unloaded: list[str] = []
        self.before_prepare: Callable[[Composition], None] = lambda _: None
        self.before_generate: Callable[[Composition], None] = lambda _: None

    def prepare(self, composition: Composition) -> None:
        self.prepared.append(composition.key)
        self.before_prepare(composition)
        self.engine.prepare(composition)

    def generate(self, composition: Composition, request: Any, **options: Any) -> Generation:
        self.before_generate(composition)
        return self.engine.generate(composition, request, **options)

    def unload(self, digest: str) -> bool:
        self.unloaded.append(digest)
        return self.engine.unload(digest)

    def status(self) -> EngineStatus:
        return self.engine.status()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


@dataclass
class Answer:
    """Which version the name meant when it was asked, and what came."""

    version: int | None
    token_ids: tuple[int, ...]


class SwapBench:
    """Everything that a swap touches, on a database of the test."""

    def __init__(self, bench: Bench, database: Database, **cache_options: Any) -> None:
        self.bench, self.database = bench, database
        self.engine = WatchedEngine(bench.engine)
        self.base_facts = read_base_facts(bench.base_folder, name="tiny")
        self.cache = CompositionCache(self.port, **cache_options)
        self.swaps = HotSwap(database, self.port, self.cache, clock=lambda: NOW, drain_s=10.0)
        self.tenant = self.add_tenant("Alpha Stores")
        self._numbers = itertools.count()

    def port(self) -> EnginePort:
        port: Any = self.engine
        return port

    def add_tenant(self, name: str) -> Tenant:
        with self.database.transaction() as s:
            return tenants.create_tenant(s, name=name, now=NOW)

    def register(
        self,
        name: str,
        *,
        tenant: Tenant | None = None,
        seed: int | None = None,
        parents: Any = (),
        **options: Any,
    ) -> Adapter:
        """The next version of `name`, with random weights of its own unless a seed repeats them."""
        number = next(self._numbers)
        options["seed"] = number + 1 if seed is None else seed
        folder = self.bench.adapter(f"{name}-{id(self)}-{number}", **options).path
        facts = verify_folder(folder, base=self.base_facts)
        manifest = build_manifest(
            facts, name=name, type=AdapterType.RETAILER, base=self.base_facts, now=NOW, parents=list(parents)
        )
        with self.database.transaction() as s:
            return registry.register_adapter(
                s,
                (tenant or self.tenant).id,
                folder=folder,
                manifest=manifest,
                source=AdapterSource.TRAINED,
                now=NOW,
            )

    def federate(self, name: str, *terms: tuple[str, float]) -> Federation:
        with self.database.transaction() as s:
            return service.save_federation(
                s,
                self.tenant.id,
                name=name,
                description="",
                spec=CompositionSpec(terms=tuple(Term(adapter=a, weight=w) for a, w in terms)),
                created_by="a",
                now=NOW,
            )

    def composition(self, name: str, version: int | None = None, tenant: Tenant | None = None) -> Composition:
        """What a name, or one of its versions, means now."""
        with self.database.reading() as s:
            term = name if version is None else f"{name}@{version}"
            tenant_id, digest = (tenant or self.tenant).id, self.bench.base.digest
            federation = service.find_federation(s, tenant_id, term)
            spec = federation.spec if federation else CompositionSpec(terms=(Term(adapter=term),))
            (part,) = service.resolve_parts(s, tenant_id, spec, base_digest=digest)
            return part.composition

    def answer(self, name: str, prompt: str = "hello", version: int | None = None, tokens: int = 6) -> Answer:
        """One request by name, as the runtime serves it: resolve, pin, generate, let go."""
        with self.cache.pin(self.composition(name, version)) as handle:
            generation = self.engine.engine.generate(handle.composition, ask(prompt, tokens=tokens))
        return Answer(version, generation.token_ids)

    def serves(self, name: str, kind: ServedKind = ServedKind.ADAPTER) -> int | None:
        with self.database.reading() as s:
            return served_version(s, self.tenant.id, kind, name)

    def swap(self, name: str, version: int, **options: Any) -> Any:
        return self.swaps.swap_adapter(self.tenant.id, name, version, actor="a", **options)

    def rollback(self, name: str, **options: Any) -> Any:
        return self.swaps.rollback(self.tenant.id, name, actor="a", **options)

    def corrupt(self, adapter: Adapter) -> None:
        """Flip one bit of the weights on the disk."""
        file = Path(adapter.path) / "adapter_model.safetensors"
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)


@contextlib.contextmanager
def opened(bench: Bench, database: Database, **cache_options: Any) -> Iterator[SwapBench]:
    """A bench whose background threads end with it. Its adapters leave the engine."""
    made = SwapBench(bench, database, **cache_options)
    try:
        yield made
    finally:
        made.cache.close()
        for resident in bench.engine.status().residents:
            bench.engine.unload(resident.digest)
