"""What is held and what waits in this process, read at the moment when somebody asks for the metrics."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.engine import EngineOnDemand
from core.compose.cache import CompositionCache
from core.engine.records import EngineStatus
from core.errors import RmnError

# Name, what it is, where it stands.
ENGINE_GAUGES: tuple[tuple[str, str, Callable[[EngineStatus], float]], ...] = (
    ("rmn_engine_running_rows", "Answers that are generated now.", lambda e: e.running_rows),
    ("rmn_engine_waiting_rows", "Requests that wait for the engine.", lambda e: e.waiting_rows),
    ("rmn_engine_base_bytes", "Memory of the base model.", lambda e: e.base_bytes),
    ("rmn_engine_adapters_resident", "Adapters in memory.", lambda e: e.adapters_resident),
    ("rmn_engine_adapter_slots", "Adapters that have a place.", lambda e: e.adapter_slots),
    ("rmn_engine_adapter_bytes", "Memory of adapters.", lambda e: e.adapter_bytes),
    ("rmn_engine_adapter_budget_bytes", "Memory that adapters may take.", lambda e: e.adapter_budget_bytes),
    ("rmn_engine_kv_bytes", "Memory of keys and values.", lambda e: e.kv_bytes),
    ("rmn_engine_kv_budget_bytes", "Memory that keys and values may take.", lambda e: e.kv_budget_bytes),
    ("rmn_engine_prefix_entries", "Prompts that are kept.", lambda e: e.prefix.entries),
    ("rmn_engine_prefix_bytes", "Memory of kept prompts.", lambda e: e.prefix.bytes),
)
ENGINE_COUNTERS: tuple[tuple[str, str, Callable[[EngineStatus], float]], ...] = (
    ("rmn_engine_answers", "Answers that the engine has given.", lambda e: e.answered),
    ("rmn_engine_adapter_loads", "Adapters that were loaded.", lambda e: e.adapter_loads),
    (
        "rmn_engine_adapter_hits",
        "Adapters that were in memory when they were wanted.",
        lambda e: e.adapter_hits,
    ),
    ("rmn_engine_adapter_evictions", "Adapters that made room.", lambda e: e.adapter_evictions),
    ("rmn_engine_prefix_hits", "Prompts whose beginning was kept.", lambda e: e.prefix.hits),
    ("rmn_engine_prefix_misses", "Prompts whose beginning was not.", lambda e: e.prefix.misses),
    ("rmn_engine_prefix_saved_tokens", "Tokens that were not read again.", lambda e: e.prefix.tokens_saved),
)


class Gauges(Collector):
    """Engine, composition cache, answers under way. Opens no engine that is not open."""

    def __init__(self, engine: EngineOnDemand, cache: CompositionCache, inside: Callable[[], int]) -> None:
        self._engine, self._cache, self._inside = engine, cache, inside

    def collect(self) -> Iterator[Metric]:
        """Called at each reading."""
        yield _gauge("rmn_answers_under_way", "Answers that were let in and are not over.", self._inside())
        yield from self._of_engine()
        stats = self._cache.get_cache_stats()
        yield _gauge("rmn_composition_cache_entries", "Compositions that are ready.", stats.entries_held)
        yield _gauge("rmn_composition_cache_bytes", "Memory that they hold.", stats.bytes)
        yield _gauge("rmn_composition_cache_queued", "Compositions that wait to be prepared.", stats.queued)
        yield _counter("rmn_composition_cache_hits", "Lookups that found one ready.", stats.hits)
        yield _counter("rmn_composition_cache_misses", "Lookups that did not.", stats.misses)
        yield _counter("rmn_composition_cache_evictions", "Compositions that made room.", stats.evictions)
        yield _counter("rmn_composition_cache_failures", "Preparations that failed.", stats.failures)

    def _of_engine(self) -> Iterator[Metric]:
        try:
            status = self._engine().status() if self._engine.loaded else None
        except RmnError:
            status = None
        ready = status is not None and status.ready
        yield _gauge("rmn_engine_ready", "Whether the engine takes requests: 1 or 0.", float(ready))
        if status is not None:
            for name, text, value in ENGINE_GAUGES:
                yield _gauge(name, text, value(status))
            for name, text, value in ENGINE_COUNTERS:
                yield _counter(name, text, value(status))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)
