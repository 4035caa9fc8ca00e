"""The recorder of one process: requests are put into a buffer at once and are in the database within a second.

What was put in since the last write is lost when the process is killed: at most about a second. While the database is
away, figures go on adding up here and are written when it is back; of single requests the oldest are given up beyond
`most` (they stay in the figures), and requests are given up beyond `most` between two looks or MOST_CELLS cells. Both
are counted, logged and told by `state`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from sqlalchemy.exc import DataError, IntegrityError

from core.analytics.batches import Batch, Identify, KnownNames, identify_adapter, write_batch
from core.analytics.costs import Prices
from core.analytics.records import CANCELLED, RecorderState, RequestEvent, Source, Tally
from core.analytics.tallies import CellKey, add_all, tallies_of
from core.errors import InvalidInputError
from core.storage.database import Database
from core.storage.ids import new_id
from core.storage.text import storable

LOG = structlog.get_logger(__name__)
WRITE_EVERY_S = 0.25
MOST_MS = 30 * 86_400_000.0  # 30 days
LEAST_MS = 1e-6  # a nanosecond; less is 0
MOST_TOKENS, MOST_BYTES = 10**9, 2**60
FIRST_S, LAST_S = 1_577_836_800.0, 3_786_912_000.0  # 2020 and 2090
UNNAMED = "(no name)"
MOST_CELLS = 200_000
TRIES_OF_REFUSED = 5  # how often what the database refuses (not: cannot take now) is tried
FAILED = "error"
_TUPLE = tuple.__new__


class Recorder:
    """Safe from any thread. `seconds` is the clock, in seconds since 1970; `identify` finds what a failed one asked for."""

    def __init__(
        self,
        database: Database,
        *,
        prices: Prices | None = None,
        most: int = 200_000,
        identify: Identify = identify_adapter,
        seconds: Callable[[], float] = time.time,
    ) -> None:
        self.writer = new_id("wri")
        self.prices = prices or Prices()
        self._database, self._most, self._identify, self._seconds = database, most, identify, seconds
        self._buffer: deque[RequestEvent] = deque()
        self._events: deque[RequestEvent] = deque()
        self._tallies: dict[CellKey, Tally] = {}
        self._batch: Batch | None = None
        self._number = self._refusals = 0
        self._known = KnownNames()
        self._writes, self._starting = threading.Lock(), threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._written = self._dropped = self._rows_dropped = 0
        self._last_error = ""
        self._last_written_at: datetime | None = None

    def record(self, event: RequestEvent) -> None:
        """Put a request in. Its numbers were checked; its texts are cut to what the database holds when it is written."""
        if len(self._buffer) >= self._most:
            self._give_up(1)
            return
        self._buffer.append(event)
        if self._thread is None:
            self._start()

    def record_request(
        self,
        tenant_id: str,
        adapter_id: str,
        adapter_type: str = "",
        latency_ms: float = 0.0,
        success: bool = True,
        task_type: str = "",
        *,
        error_type: str = "",
        request_id: str = "",
        tokens_in: int = 0,
        tokens_out: int = 0,
        queue_ms: float | None = None,
        composition_ms: float | None = None,
        memory_bytes: int = 0,
        at: float | None = None,
        source: str = "reported",
    ) -> None:
        """Record one adapter's part in a request that ended elsewhere. Raises InvalidInputError for what cannot be.

        `latency_ms` lies between 0 and 30 days. An adapter that is not in the registry is kept under its name.
        """
        if not (0.0 <= latency_ms <= MOST_MS and adapter_id and tokens_in >= 0 and tokens_out >= 0):
            raise _impossible(adapter_id, latency_ms)
        for known in (queue_ms, composition_ms):
            if known is not None and not 0.0 <= known <= MOST_MS:
                raise _impossible(adapter_id, known)
        event = _TUPLE(
            RequestEvent,
            (
                tenant_id,
                self._seconds() if at is None else at,
                request_id,
                adapter_id,
                "",
                ((adapter_id, adapter_type),),
                (),
                task_type,
                "" if success else error_type or FAILED,
                latency_ms,
                queue_ms,
                composition_ms,
                None,
                tokens_in,
                tokens_out,
                memory_bytes,
                source,
            ),
        )
        if len(self._buffer) >= self._most:
            self._give_up(1)
            return
        self._buffer.append(event)
        if self._thread is None:
            self._start()

    def of(self, tenant_id: str) -> "TenantRecorder":
        """The same for one workspace, which then need not be named."""
        return TenantRecorder(self, tenant_id)

    @property
    def state(self) -> RecorderState:
        """How it stands."""
        batch = self._batch
        waiting = len(self._buffer) + len(self._events) + (0 if batch is None else len(batch.events))
        return RecorderState(
            waiting, self._written, self._dropped, self._rows_dropped, self._last_error, self._last_written_at
        )

    def write(self) -> bool:
        """Write what is there now. False: the database did not take it; it is tried again."""
        with self._writes:
            self._take()
            while self._batch is not None or self._tallies:
                if self._batch is None:
                    self._number += 1
                    self._batch = Batch(self._number, self._tallies, tuple(self._events))
                    self._tallies, self._events = {}, deque()
                if not self._write(self._batch):
                    return False
                self._batch = None
            return True

    def close(self) -> None:
        """Write what is left. What is put in afterwards is written by nobody."""
        self._stop.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        self.write()

    def _write(self, batch: Batch) -> bool:
        now = datetime.fromtimestamp(self._seconds(), UTC)
        try:
            with self._database.transaction() as s:
                lost = write_batch(
                    s,
                    self.writer,
                    batch,
                    prices=self.prices,
                    identify=self._identify,
                    known=self._known,
                    now=now,
                )
        except Exception as error:  # noqa: BLE001 - a database that is away for a while must not end the recording
            self._known.found.clear()  # names that were not written after all
            self._last_error = f"{type(error).__name__}: {str(error)[:200]}"
            self._refusals += isinstance(error, (IntegrityError, DataError))
            LOG.warning("analytics.not_written", reason=self._last_error, waiting=len(self._buffer))
            if self._refusals < TRIES_OF_REFUSED:
                return False
            LOG.error("analytics.given_up", requests=_requests(batch), reason=self._last_error)
            self._refusals = 0
            self._dropped += _requests(batch)
            return True
        self._refusals, self._last_error, self._last_written_at = 0, "", now
        self._written += _requests(batch) - lost
        if lost:
            self._give_up(lost)
        return True

    def _take(self) -> None:
        """From the buffer into sums. Whoever appends meanwhile is taken the next time."""
        taken = []
        for _ in range(len(self._buffer)):
            event = self._buffer.popleft()
            try:
                taken.append(_stored(event))
            except (
                TypeError,
                ValueError,
                OverflowError,
                AttributeError,
            ) as error:  # one that no type checker has seen
                self._last_error = f"{type(error).__name__}: {error}"
                self._give_up(1)
        if not taken:
            return
        more = tallies_of(taken, self.prices)
        if len(self._tallies) + len(more) > MOST_CELLS:
            self._give_up(len(taken))
            return
        add_all(self._tallies, more)
        self._events.extend(taken)
        while len(self._events) > self._most:
            self._events.popleft()
            self._rows_dropped += 1

    def _give_up(self, requests: int) -> None:
        if not self._dropped:
            LOG.error("analytics.dropping", reason=self._last_error or "more requests than can be kept")
        self._dropped += requests

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="analytics", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(WRITE_EVERY_S):
            if self._buffer or self._batch is not None or self._tallies:
                self.write()


class TenantRecorder:
    """The recorder of one workspace."""

    def __init__(self, recorder: Recorder, tenant_id: str) -> None:
        self._record, self._tenant_id = recorder.record_request, tenant_id

    def record_request(
        self,
        adapter_id: str,
        adapter_type: str = "",
        latency_ms: float = 0.0,
        success: bool = True,
        task_type: str = "",
        **more: object,
    ) -> None:
        """As `Recorder.record_request`."""
        self._record(self._tenant_id, adapter_id, adapter_type, latency_ms, success, task_type, **more)  # type: ignore[arg-type]


def checked_ms(value: float | None) -> float | None:
    """Milliseconds as they may be recorded: a clock that was set back gives none, not a negative time."""
    return value if value is not None and 0.0 <= value <= MOST_MS else None


def _stored(event: RequestEvent) -> RequestEvent:
    """As every database holds it. Times of less than a nanosecond are 0. A clock beyond 2020–2090 counts as its end."""
    return RequestEvent(
        event.tenant_id,
        min(max(event.at, FIRST_S), LAST_S),
        _text(event.request_id, 64) or new_id("req"),
        _text(event.model, 200),
        event.composition[:64],
        tuple(
            dict.fromkeys(
                (_text(adapter, 200) or UNNAMED, _text(kind, 40)) for adapter, kind in event.adapters
            )
        ),
        tuple(_text(name, 200) for name in event.named),
        _text(event.task, 80),
        event.error if event.error == CANCELLED else _text(event.error, 40),
        _stored_ms(event.latency_ms) or 0.0,
        _stored_ms(event.queued_ms),
        _stored_ms(event.composing_ms),
        _stored_ms(event.first_token_ms),
        min(max(event.prompt_tokens, 0), MOST_TOKENS),
        min(max(event.completion_tokens, 0), MOST_TOKENS),
        min(max(event.memory_bytes, 0), MOST_BYTES),
        Source(event.source).value,
    )


def _stored_ms(value: float | None) -> float | None:
    value = checked_ms(value)
    return 0.0 if value is not None and value < LEAST_MS else value


@lru_cache(maxsize=4096)
def _text(text: str, most: int) -> str:
    """Without spaces at the ends: MariaDB takes «a » for «a» in a key."""
    return storable(text)[:most].strip()


def _requests(batch: Batch) -> int:
    return sum(tally.requests for key, tally in batch.tallies.items() if key.kind == "all")


def _impossible(adapter_id: str, milliseconds: float) -> InvalidInputError:
    if not adapter_id:
        return InvalidInputError(
            "An adapter has to be named.", "«adapter_id» is empty.", "Give its id or name."
        )
    return InvalidInputError(
        "This request cannot be recorded.",
        f"Its time is {milliseconds} ms; times lie between 0 and 30 days, and tokens are not negative.",
        "Measure with a clock that only goes forward, and send finite numbers.",
    )
