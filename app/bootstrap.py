"""Settings → Console: every service of one process, built once and handed to whoever needs it.

Importing this module loads no torch: the base model is opened when it is first needed.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from app.admission import Admission
from app.engine import BaseOnDemand, EngineOnDemand
from app.gauges import Gauges
from app.impression_book import ImpressionBook
from app.key_uses import KeyUses
from app.metrics import Metrics
from app.rates import Rates
from app.recording import RollUps, event_of, open_recorder
from app.shadow import Shadows
from app.token_texts import TokenTextsOnDemand
from app.variants import Variants
from app.watch import Watch
from core.analytics.recorder import Recorder
from core.compose.cache import CompositionCache
from core.compose.served import recover_swaps
from core.compose.swap import HotSwap
from core.errors import UnavailableError
from core.jobs.queue import JobQueue
from core.serve.composing import Preparations
from core.serve.runtime import Runtime
from core.settings import Settings, load_settings
from core.storage.database import Database
from core.storage.migrate import is_current


@dataclass(frozen=True)
class Console:
    """The services of one process. `engine()` answers the engine, `base()` the facts of the base it runs."""

    settings: Settings
    database: Database
    queue: JobQueue
    engine: EngineOnDemand
    base: BaseOnDemand
    runtime: Runtime
    swaps: HotSwap
    preparations: Preparations
    rates: Rates
    admission: Admission
    metrics: Metrics
    recorder: Recorder
    roll_ups: RollUps
    key_uses: KeyUses
    variants: Variants
    impressions: ImpressionBook
    shadows: Shadows
    watch: Watch
    clock: Callable[[], datetime]
    stopping: threading.Event = field(default_factory=threading.Event)  # the process was told to stop

    def begin_serving(self) -> None:
        """Once in a process that serves: what a process that died left half swapped has failed; the engine opens."""
        with self.database.transaction() as s:
            recover_swaps(s, self.clock())
        self.roll_ups.begin()
        self.watch.start()
        self.engine.open_in_background()

    def close(self) -> None:
        """Give everything back: engine, queue, database. What was used is written."""
        self.admission.close()
        self.watch.close()
        self.shadows.close()
        self.runtime.close()
        self.engine.close()
        self.impressions.close()
        self.roll_ups.close()
        self.admission.usage.close()
        self.recorder.close()
        self.queue.close()
        self.database.close()


def utc_now() -> datetime:
    """The clock of a running installation."""
    return datetime.now(UTC)


def build_console(settings: Settings, *, clock: Callable[[], datetime] = utc_now) -> Console:
    """Wire everything. Raises UnavailableError when the database has not the schema that this version needs."""
    if not is_current(settings.resolved_database_url):
        raise UnavailableError(
            "The database is not set up for this version.",
            "It has no tables yet, or those of another version.",
            "Run `python -m app db upgrade`.",
        )
    database = Database(settings.resolved_database_url)
    engine = EngineOnDemand(settings)
    cache = CompositionCache(engine)
    rates, metrics = Rates(settings.requests_per_minute), Metrics(by_tenant=settings.metrics_by_tenant)
    admission = Admission(database, settings, rates, metrics, clock)
    recorder = open_recorder(database, settings, clock)
    admission.observe(lambda outcome: recorder.record(event_of(outcome)))
    metrics.add(Gauges(engine, cache, lambda: admission.inside))
    runtime = Runtime(
        database,
        engine,
        cache=cache,
        max_new_tokens=settings.max_new_tokens,
        limits=admission.answer_limits,
        token_texts=TokenTextsOnDemand(settings),
        clock=clock,
    )
    impressions = ImpressionBook(database, clock)
    admission.observe(impressions)
    watch = Watch(database, settings, engine, clock)
    admission.observe(watch.note_outcome)
    return Console(
        settings=settings,
        database=database,
        queue=JobQueue(settings.resolved_queue_url),
        engine=engine,
        base=BaseOnDemand(settings),
        runtime=runtime,
        swaps=HotSwap(database, engine, cache, clock=clock),
        preparations=Preparations(cache),
        rates=rates,
        admission=admission,
        metrics=metrics,
        recorder=recorder,
        roll_ups=RollUps(database, settings, clock),
        key_uses=KeyUses(),
        variants=Variants(database, clock),
        impressions=impressions,
        shadows=Shadows(runtime, admission, impressions),
        watch=watch,
        clock=clock,
    )


class SharedConsole:
    """The one console of this process. Screens are run by their path and get no arguments, so they ask here."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._console: Console | None = None

    def __call__(self) -> Console:
        """The console that was set, or else one built from the settings."""
        with self._lock:
            if self._console is None:
                self._console = build_console(load_settings())
            return self._console

    def set(self, console: Console | None) -> None:
        """Share this one from now on; None: build one when it is next asked for."""
        with self._lock:
            self._console = console


shared_console = SharedConsole()
