"""Every request that is over becomes a record of analytics; minutes become hours and days in the background."""

import threading
from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from core.analytics.costs import Prices
from core.analytics.recorder import Recorder, checked_ms
from core.analytics.records import RequestEvent, Source
from core.analytics.rollups import MOST_MINUTES, Retention, retire, roll_up
from core.compose.records import CompositionSpec
from core.compose.stamps import names_of
from core.errors import InvalidInputError, NotFoundError, PermissionDeniedError, RmnError
from core.registry import service as registry
from core.registry.records import Adapter
from core.serve.models import find_model
from core.serve.records import InferenceRequest, RequestOutcome
from core.settings import Settings
from core.storage.database import Database

LOG = structlog.get_logger(__name__)
ROLL_UP_EVERY_S, RETIRE_EVERY_S = 20.0, 3600.0
BREATH_S = 0.05  # between two transactions, for those that wait to write
INLINE = "composition"  # the label of a composition that a request wrote out
# What the request itself got wrong counts for the workspace, and not against an adapter.
OF_THE_ASKER = frozenset(each.code for each in (InvalidInputError, NotFoundError, PermissionDeniedError))


def open_recorder(database: Database, settings: Settings, clock: Callable[[], datetime]) -> Recorder:
    """The recorder of this process, as the settings say."""
    return Recorder(
        database,
        prices=prices_of(settings),
        most=settings.record_buffer,
        identify=adapters_of_model,
        seconds=lambda: clock().timestamp(),
    )


def prices_of(settings: Settings) -> Prices:
    """What a million tokens cost."""
    return Prices(settings.prompt_price, settings.completion_price, settings.currency)


def event_of(outcome: RequestOutcome) -> RequestEvent:
    """As the recorder takes it. No text of the request or the answer is in it."""
    request, answer = outcome.request, outcome.answer
    if answer is None:
        named = () if outcome.error in OF_THE_ASKER else _named(request)
        latency = checked_ms(outcome.seconds * 1000) or 0.0
        return RequestEvent(
            outcome.tenant_id, outcome.at.timestamp(), outcome.request_id, request.model or INLINE, "", (), named,
            request.task or "", outcome.error, latency, None, None, None, 0, 0, 0, Source.SERVED.value,
        )  # fmt: skip
    adapters = {used.id: used.type for used in answer.adapters}
    return RequestEvent(
        outcome.tenant_id,
        outcome.at.timestamp(),
        outcome.request_id,
        answer.model,
        answer.composition_key,
        tuple(adapters.items()),
        (),
        request.task or "",
        outcome.error,
        answer.latency_ms,
        answer.queued_ms,
        answer.composing_ms,
        answer.first_token_ms if answer.completion_tokens else None,
        answer.prompt_tokens,
        answer.completion_tokens,
        answer.adapter_bytes,
        Source.SERVED.value,
    )


def adapters_of_model(s: Session, tenant_id: str, name: str) -> tuple[Adapter, ...]:
    """Adapters that a request means by the name of an adapter or of a federation."""
    try:
        found = names_of(find_model(s, tenant_id, name, base_name="").spec)
    except RmnError:
        return ()
    adapters: dict[str, Adapter] = {}
    for each in sorted(found):
        try:
            adapter = registry.resolve(s, tenant_id, each)
        except RmnError:  # the name of a gate, or an adapter that is archived since
            continue
        adapters[adapter.id] = adapter
    return tuple(adapters.values())


def _named(request: InferenceRequest) -> tuple[str, ...]:
    if request.model is not None:
        return (request.model,)
    return tuple(sorted(_adapters_in(request.composition))) if request.composition is not None else ()


def _adapters_in(spec: CompositionSpec) -> set[str]:
    found = {term.adapter for term in spec.terms}
    for stage in spec.stages:
        found |= _adapters_in(stage.composition)
    return found


class RollUps:
    """Rolls up and deletes what is too old, in a thread of its own, until it is closed."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        self._retention = Retention(settings.request_days, settings.hour_days)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Once in a process that serves; again: nothing."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._run, name="roll-ups", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the transaction that runs."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def once(self) -> None:
        """Roll up all that is settled."""
        while not self._stop.is_set():
            with self._database.transaction() as s:
                if roll_up(s, self._clock()) < MOST_MINUTES // 2:
                    return
            self._stop.wait(BREATH_S)

    def _run(self) -> None:
        retired = -RETIRE_EVERY_S
        passed = 0.0
        while not self._stop.wait(ROLL_UP_EVERY_S):
            passed += ROLL_UP_EVERY_S
            try:
                self.once()
                if passed - retired >= RETIRE_EVERY_S:
                    retired = passed
                    with self._database.transaction() as s:
                        retire(s, self._clock(), self._retention)
            except Exception as error:  # noqa: BLE001 - a database that is away is asked again a while later
                LOG.warning("analytics.not_rolled_up", reason=f"{type(error).__name__}: {str(error)[:200]}")
