"""Preparing compositions in the background: a queue by priority, a few threads, a ticket for each who asked."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable
from enum import StrEnum

import structlog

from core.compose.handles import CompositionHandle
from core.engine.records import Composition
from core.errors import BusyError, ConflictError, UnavailableError
from core.storage.ids import new_id

LOG = structlog.get_logger(__name__)
Outcome = CompositionHandle | Exception
Callback = Callable[[str, Outcome], None]


class TicketState(StrEnum):
    """Where a preparation stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"


class Ticket:
    """A preparation that was asked for. Made by the queue; safe from any thread."""

    def __init__(self, composition: Composition, callback: Callback | None) -> None:
        self.id = new_id("cmp")
        self.composition = composition
        self._callback = callback
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._state = TicketState.WAITING
        self._outcome: Outcome | None = None

    @property
    def state(self) -> TicketState:
        """Where it stands now."""
        return self._state

    @property
    def done(self) -> bool:
        """Whether nothing will change any more."""
        return self._over.is_set()

    def cancel(self) -> bool:
        """Want it no longer: its result is not kept and its callback not called. False: it was over already.

        What runs is finished all the same, because others may wait for the same composition.
        """
        with self._lock:
            if self._over.is_set():
                return False
            self._state = TicketState.CANCELLED
            self._over.set()
            return True

    def result(self, timeout: float | None = None) -> CompositionHandle:
        """The handle, waited for at most `timeout` seconds. Raises what the preparation failed with.

        BusyError: it is not there yet. ConflictError: it was cancelled.
        """
        if not self._over.wait(timeout):
            raise BusyError(
                "The composition is not ready yet.", f"{timeout:g} s have passed.", "Wait longer."
            )
        if isinstance(self._outcome, CompositionHandle):
            return self._outcome
        if self._outcome is None:
            raise ConflictError("The preparation of this composition was cancelled.", "", "Ask for it again.")
        raise self._outcome

    def begin(self) -> bool:
        """Claim it for a worker. False: nobody wants it any more."""
        with self._lock:
            if self._over.is_set():
                return False
            self._state = TicketState.RUNNING
            return True

    def finish(self, outcome: Outcome) -> None:
        """Hand the outcome out, once. An error of the callback is logged and changes nothing."""
        with self._lock:
            if self._over.is_set():
                return
            self._state, self._outcome = TicketState.DONE, outcome
            self._over.set()
        if self._callback is None:
            return
        try:
            self._callback(self.id, outcome)
        except Exception:
            LOG.exception("composition.callback_failed", ticket=self.id)


class ComposeQueue:
    """Tickets in order of priority, then of arrival, worked on by at most `workers` threads."""

    def __init__(
        self, prepare: Callable[[Composition], CompositionHandle], *, workers: int, max_waiting: int
    ) -> None:
        self._prepare = prepare
        self._workers, self._max_waiting = max(1, workers), max_waiting
        self._waiting: list[tuple[int, int, Ticket]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Tickets that somebody still wants and nobody works on."""
        with self._changed:
            return sum(not ticket.done for _, _, ticket in self._waiting)

    def submit(self, composition: Composition, *, priority: int, callback: Callback | None) -> Ticket:
        """Queue a composition. Raises BusyError when too many wait, UnavailableError once closed."""
        ticket = Ticket(composition, callback)
        with self._changed:
            if self._closed:
                raise _closed()
            if len(self._waiting) >= self._max_waiting:
                self._waiting = [entry for entry in self._waiting if not entry[2].done]
                heapq.heapify(self._waiting)
            if len(self._waiting) >= self._max_waiting:
                raise BusyError(
                    "Too many compositions wait to be prepared.",
                    f"{len(self._waiting):,} do already.",
                    "Try again in a moment.",
                )
            heapq.heappush(self._waiting, (-priority, next(self._numbers), ticket))
            if self._idle == 0 and len(self._threads) < self._workers:
                thread = threading.Thread(target=self._work, name="compose", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
        return ticket

    def close(self, timeout_s: float = 10.0) -> None:
        """Fail what waits, let what runs end, for at most `timeout_s`. Callbacks may close it too."""
        with self._changed:
            self._closed = True
            lost, self._waiting = self._waiting, []
            self._changed.notify_all()
        for _, _, ticket in lost:
            ticket.finish(_closed())
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _work(self) -> None:
        while (ticket := self._next()) is not None:
            if not ticket.begin():
                continue
            try:
                outcome: Outcome = self._prepare(ticket.composition)
            except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
                outcome = error
            ticket.finish(outcome)

    def _next(self) -> Ticket | None:
        with self._changed:
            self._idle += 1
            try:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._changed.wait()
                return heapq.heappop(self._waiting)[2]
            finally:
                self._idle -= 1


def _closed() -> UnavailableError:
    return UnavailableError("The composition cache is closed.", "The process is ending.", "Ask again later.")
