"""What the routes of compositions take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.actions.composing import MemoryView
from app.api.schemas import Answered
from core.compose.handles import CacheEntry
from core.compose.records import CompositionSpec, FederationDiff, GateSpec, Method, Term
from core.compose.swap_records import ServedKind, SwapState
from core.compose.tickets import TicketState
from core.engine.records import PrefixStatus, ResidentAdapter
from core.serve.composing import Preparation

SEQUENCE_NOTE = (
    "Adding adapters one after another is the same as adding them at once: the order does not matter. "
    "For steps that build on each other save a federation of the method sequential."
)


class DiffOut(Answered):
    """What changed from the older version to the newer one. Weights are as written, by adapter."""

    same: bool
    added: dict[str, float]
    removed: dict[str, float]
    changed: dict[str, tuple[float, float]]
    normalize_changed: bool
    description_changed: bool
    method: tuple[Method, Method] | None = Field(description="Before and after; null: unchanged.")
    gate: tuple[GateSpec | None, GateSpec | None] | None = Field(
        description="Before and after; null: unchanged."
    )
    stages_added: list[str]
    stages_removed: list[str]
    stages_changed: list[str]
    stages_moved: bool

    @classmethod
    def of(cls, diff: FederationDiff) -> "DiffOut":
        """As the route answers it."""
        return cls.model_validate(diff)


class RollbackIn(BaseModel):
    """Which version shall serve again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 1}, {}]})

    version: int | None = Field(None, ge=1, le=10**9, description="Left out: what the name meant before.")


class SwapIn(BaseModel):
    """Another version for a name: `name` with `to_version`, or two versions of one adapter by id or «name@2»."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "retailer_alpha", "to_version": 2},
                {
                    "old_adapter_id": "retailer_alpha@1",
                    "new_adapter_id": "retailer_alpha@2",
                    "warm_swap": True,
                },
                {"kind": "federation", "name": "Alpha in Acme's voice", "to_version": 3},
            ]
        },
    )

    kind: ServedKind = ServedKind.ADAPTER
    name: str | None = Field(None, min_length=1, max_length=100)
    to_version: int | None = Field(None, ge=1, le=10**9)
    old_adapter_id: str | None = Field(None, min_length=1, max_length=200)
    new_adapter_id: str | None = Field(None, min_length=1, max_length=200)
    warm_swap: bool = Field(
        True, description="Keep the old version in memory for a rollback; false gives its memory back."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "SwapIn":
        by_name = (self.name is not None, self.to_version is not None)
        by_id = (self.old_adapter_id is not None, self.new_adapter_id is not None)
        if not (all(by_name) and not any(by_id)) and not (all(by_id) and not any(by_name)):
            raise ValueError("give name and to_version, or old_adapter_id and new_adapter_id")
        if all(by_id) and self.kind is not ServedKind.ADAPTER:
            raise ValueError("a federation is named by name and to_version")
        return self


class SwapOut(Answered):
    """One change of the version that a name serves. `figures` are milliseconds of its steps."""

    id: str
    kind: ServedKind
    name: str
    from_version: int | None
    to_version: int
    state: SwapState
    reason: str
    figures: dict[str, Any]
    created_by: str
    created_at: datetime
    finished_at: datetime | None


AdapterName = Annotated[str, Field(min_length=1, max_length=200)]


class CompositionIn(BaseModel):
    """What to have ready: `model` by name, or `composition` in full, or `adapter_ids` with weight 1 each."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"model": "Alpha in Acme's voice"},
                {
                    "adapter_ids": ["retailer_alpha", "task_planning"],
                    "composition_strategy": "sequential",
                },
            ]
        },
    )

    model: str | None = Field(None, min_length=1, max_length=200)
    composition: CompositionSpec | None = None
    adapter_ids: list[AdapterName] | None = Field(None, min_length=1, max_length=16)
    composition_strategy: Literal["additive", "sequential"] = Field(
        "additive", description="For adapter_ids; in sequence they add up to the same."
    )

    @model_validator(mode="after")
    def _one_way(self) -> "CompositionIn":
        if sum(each is not None for each in (self.model, self.composition, self.adapter_ids)) != 1:
            raise ValueError("give one of model, composition and adapter_ids")
        return self

    def spec(self) -> CompositionSpec | None:
        """The composition, unless it is named by `model`."""
        if self.adapter_ids is None:
            return self.composition
        return CompositionSpec(terms=tuple(Term(adapter=each) for each in self.adapter_ids))

    def note(self) -> str:
        """What the caller should know."""
        return SEQUENCE_NOTE if self.adapter_ids and self.composition_strategy == "sequential" else ""


class ComposeIn(CompositionIn):
    """The same, with a priority; `wait` answers once it is ready."""

    priority: int = Field(0, ge=-100, le=100)
    wait: bool = False


class PreparationOut(BaseModel):
    """How far a preparation is. `keys` name the content: one, or one for each stage."""

    id: str
    model: str
    keys: list[str]
    state: TicketState
    error: str = Field(description="Why it failed; empty while it has not.")
    asked_at: datetime
    note: str = ""

    @classmethod
    def of(cls, preparation: Preparation, note: str = "") -> "PreparationOut":
        """As the routes answer it."""
        p = preparation
        return cls(
            id=p.id,
            model=p.label,
            keys=list(p.keys),
            state=p.state,
            error=p.error,
            asked_at=p.asked_at,
            note=note,
        )


class CacheEntryOut(Answered):
    """One composition that is held."""

    key: str
    adapters: list[str]
    bytes: int
    age_s: float
    idle_s: float
    uses: int
    pins: int

    @classmethod
    def of(cls, entry: CacheEntry) -> "CacheEntryOut":
        """As the route answers it."""
        return cls.model_validate(entry)


class ResidentOut(Answered):
    """One adapter of your workspace in memory."""

    digest: str
    bytes: int
    pins: int
    uses: int
    load_ms: float
    idle_s: float

    @classmethod
    def of(cls, resident: ResidentAdapter) -> "ResidentOut":
        """As the route answers it."""
        return cls.model_validate(resident)


class PrefixOut(Answered):
    """Keys and values kept for prompts that begin alike."""

    entries: int
    bytes: int
    budget_bytes: int
    hits: int
    misses: int
    tokens_saved: int

    @classmethod
    def of(cls, prefix: PrefixStatus) -> "PrefixOut":
        """As the route answers it."""
        return cls.model_validate(prefix)


class CompositionStatsOut(BaseModel):
    """Cache and memory. Sums are of the whole installation; `entries` and `residents` of your workspace alone.

    `best_hit_rate` is what no cache of this size can exceed on the last `trace_length` lookups (Belady).
    """

    cached_compositions: int
    total_compositions: int = Field(description="Lookups since the start.")
    cache_hit_rate: float | None
    best_hit_rate: float | None
    share_of_best: float | None
    trace_length: int
    evictions: int
    expired: int
    in_flight: int
    queued: int
    entries: list[CacheEntryOut]
    adapter_bytes: int
    adapter_budget_bytes: int
    adapters_resident: int
    adapter_slots: int
    adapter_evictions: int
    base_bytes: int
    kv_bytes: int
    kv_budget_bytes: int
    prefix: PrefixOut
    residents: list[ResidentOut]

    @classmethod
    def of(cls, view: MemoryView) -> "CompositionStatsOut":
        """As the route answers it."""
        cache, engine = view.cache, view.engine
        return cls(
            cached_compositions=cache.entries_held,
            total_compositions=cache.hits + cache.misses,
            cache_hit_rate=cache.hit_rate,
            best_hit_rate=cache.best_hit_rate,
            share_of_best=cache.share_of_best,
            trace_length=cache.trace_length,
            evictions=cache.evictions,
            expired=cache.expired,
            in_flight=cache.in_flight,
            queued=cache.queued,
            entries=[CacheEntryOut.of(entry) for entry in cache.entries],
            adapter_bytes=engine.adapter_bytes,
            adapter_budget_bytes=engine.adapter_budget_bytes,
            adapters_resident=engine.adapters_resident,
            adapter_slots=engine.adapter_slots,
            adapter_evictions=engine.adapter_evictions,
            base_bytes=engine.base_bytes,
            kv_bytes=engine.kv_bytes,
            kv_budget_bytes=engine.kv_budget_bytes,
            prefix=PrefixOut.of(engine.prefix),
            residents=[ResidentOut.of(each) for each in engine.residents if each.digest in view.own_digests],
        )
