"""Between callers and the inference thread: who is let in, who waits, whose turn it is, and when all is over."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from core.engine.batch import PROMPT_TOKENS_PER_PASS, RunningBatch
from core.engine.records import FinishReason, GenerationRequest
from core.engine.row import Row
from core.engine.schedule import FairQueue
from core.errors import BusyError, UnavailableError

ALIVE_SECONDS = 1.0  # how often a waiting caller looks whether the inference thread still lives
GATHER_SECONDS = 0.004  # how long an idle engine waits for requests that are just being prepared
MOST_AWAY = 8  # requests that get their adapters again at the same time


@dataclass(slots=True, eq=False)
class Chore:
    """Something that only the inference thread may do, between two steps. `error` is what it ended with."""

    work: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None

    def finish(self) -> None:
        """Do it, whatever comes of it."""
        try:
            self.work()
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self.done.set()


@dataclass(frozen=True, slots=True)
class Turn:
    """What the inference thread does next: chores, answers that are over before they began, rows that join, and rows
    that gave way and have to get their adapters again (they come back by `enter`)."""

    chores: tuple[Chore, ...] = ()
    over: tuple[tuple[Row, FinishReason], ...] = ()
    joining: tuple[Row, ...] = ()
    away: tuple[Row, ...] = ()


class Turns:
    """The requests that are here. Every method may be called from any thread.

    An owner may wait with as many requests as there are places left for everybody (Choudhury & Hahne 1998, «Dynamic
    Queue Length Thresholds»): one owner alone gets half of the queue, and a newcomer always finds a place.
    Who waits holds its adapters, unless `crowded` (others wait for room for theirs) and those others hold less.
    """

    def __init__(self, max_rows: int, crowded: Callable[[], bool] = lambda: False) -> None:
        self._max_rows, self._crowded = max_rows, crowded
        self._wake = threading.Condition()
        self._queue: FairQueue[Row] = FairQueue()
        # Callers between admission and the queue: they encode, load adapters or wait for a slot.
        self._arriving: Counter[str] = Counter()
        self._running: list[Row] = []
        self._away = 0
        self._chores: deque[Chore] = deque()
        self._finished: deque[tuple[float, int]] = deque(maxlen=64)  # when answers were over, and how many
        self._closing = self._stopped = False
        self._drain_until: float | None = None
        self.failure: BaseException | None = None

    @property
    def waiting(self) -> int:
        """Requests that do not run yet."""
        with self._wake:
            return len(self._queue) + self._arriving.total()

    @property
    def ready(self) -> bool:
        """Whether new requests are taken."""
        return self.failure is None and not self._closing

    @property
    def drained(self) -> bool:
        """Whether the time to finish is over."""
        return self._drain_until is not None and time.perf_counter() >= self._drain_until

    def check_open(self) -> None:
        """Raises UnavailableError when the engine has stopped or closes."""
        if self.failure is not None:
            raise self.dead()
        if self._closing:
            raise _closing()

    def dead(self) -> UnavailableError:
        """Why nothing is answered any more."""
        why = f"{type(self.failure).__name__}: {self.failure}." if self.failure else ""
        return UnavailableError("The engine has stopped.", why, "Restart it; its log says more.")

    # --- callers ---

    def admit(self, request: GenerationRequest) -> None:
        """Let a request in; `enter` has to follow. Raises BusyError or UnavailableError."""
        owner = request.owner
        with self._wake:
            self.check_open()
            waiting = len(self._queue) + self._arriving.total()
            own = self._queue.size_of(owner) + self._arriving[owner]
            left = self._max_rows - waiting
            if left <= 0 or (own and own >= left):
                in_the_way = own if left > 0 else waiting
                whose = f"{own:,} of your requests wait" if left > 0 else f"{waiting:,} requests wait"
                raise BusyError(
                    "The engine is busy.",
                    f"{whose} already.",
                    "Try again in a moment.",
                    retry_after_s=self._estimate_wait(in_the_way, request),
                )
            self._arriving[owner] += 1

    def enter(self, owner: str, row: Row | None, *, was_away: bool = False) -> None:
        """End the admission of a request; with None it did not get as far as the queue."""
        refusal: UnavailableError | None = None
        with self._wake:
            self._away -= was_away
            self._arriving[owner] -= 1
            if not self._arriving[owner]:
                del self._arriving[owner]
            if self.failure is not None:
                refusal = self.dead()
            elif self._stopped or self.drained:
                refusal = _closing()
            elif row is not None:
                self._queue.push(row)
            self._wake.notify_all()
        if row is not None and refusal is not None:
            row.fail(refusal)

    def withdraw(self, row: Row) -> bool:
        """Take a row out of the queue. False when it does not wait there."""
        with self._wake:
            return self._queue.remove(row)

    def run(self, work: Callable[[], None]) -> None:
        """Have `work` done by the inference thread and wait. Raises what it raises, or UnavailableError."""
        chore = Chore(work)
        with self._wake:
            if self.failure is not None:
                raise self.dead()
            if self._stopped:
                raise _closing()
            self._chores.append(chore)
            self._wake.notify_all()
        while not chore.done.wait(ALIVE_SECONDS):
            if self.failure is not None:
                raise self.dead()
        if chore.error is not None:
            raise chore.error

    def close(self, timeout_s: float | None) -> None:
        """Take nothing any more. After `timeout_s` what is left is ended; a second call may only shorten that."""
        with self._wake:
            self._closing = True
            if timeout_s is not None:
                until = time.perf_counter() + timeout_s
                self._drain_until = min(until, self._drain_until or until)
            self._wake.notify_all()

    # --- the inference thread ---

    def next_turn(self, batch: RunningBatch) -> Turn | None:
        """What to do now; None when the engine is closed and everything is answered. Waits while there is nothing."""
        with self._wake:
            self._settle()
            while not (self._queue or batch.size or self._chores):
                if self._closing and (self.drained or not self._arriving):
                    self._stopped = True
                    return None
                left = None if self._drain_until is None else self._drain_until - time.perf_counter()
                self._wake.wait(left)
            if not batch.size:
                self._gather()
            chores = [
                self._chores.popleft() for _ in range(1 if batch.size else len(self._chores)) if self._chores
            ]
            if self.drained:
                self._abandon()
                return Turn(tuple(chores))
            turn = self._select(tuple(chores), batch)
            if self._crowded():
                self._give_way()
            if turn == Turn() and not batch.size:
                self._wake.wait(GATHER_SECONDS)  # whose turn it is comes back before anything can be done
        return turn

    def fail(self, error: BaseException) -> None:
        """The inference thread is about to end: everybody who waits is told so."""
        with self._wake:
            self.failure = error
            lost = [*self._queue.take_all(), *(row for row in self._running if not row.done)]
            chores = [*self._chores]
        for row in lost:
            row.fail(self.dead())
        for chore in chores:
            chore.error = self.dead()
            chore.done.set()

    def _select(self, chores: tuple[Chore, ...], batch: RunningBatch) -> Turn:
        """Whose answers are over before they began, and who joins, in the order of turns.

        Beside running rows only one pass's worth of prompts is read at a time, so that a crowd of new ones does not
        hold up those who are being answered.
        """
        over: list[tuple[Row, FinishReason]] = [
            (row, "timeout") for row in self._queue.take_late(time.perf_counter())
        ]
        joining: list[Row] = []
        away: list[Row] = []
        to_read = 0
        while (row := self._queue.peek()) is not None:
            if row.cancelled.is_set():
                self._queue.remove(row)
                over.append((row, "cancelled"))
                continue
            to_read += row.prompt_length
            if (joining and batch.size and to_read > PROMPT_TOKENS_PER_PASS) or not batch.has_room(
                joining, row
            ):
                break
            if row.take_back():
                self._queue.start(row)
                self._running.append(row)
                joining.append(row)
            elif self._away < MOST_AWAY:
                to_read -= row.prompt_length
                self._send_away(row)
                away.append(row)
            else:
                break
        return Turn(chores, tuple(over), tuple(joining), tuple(away))

    def _send_away(self, row: Row) -> None:
        self._queue.remove(row)
        self._arriving[row.owner] += 1
        self._away += 1

    def _give_way(self) -> None:
        """Rows that wait, the last first, leave their adapters to owners that wait for room and hold less. What is
        not needed after all stays in memory, and is pinned again in no time."""
        firm: set[str] = set()
        for row in sorted(self._queue.waiting(), key=lambda row: row.submitted, reverse=True):
            if row.lease.pins and row.owner not in firm:
                if row.lease.gives_way:
                    row.lend()
                else:
                    firm.add(row.owner)

    def _settle(self) -> None:
        """Charge the owners for what their rows were served since the last turn."""
        done = 0
        for row in self._running:
            prompt, answer = row.take_bill()
            self._queue.charge(row, prompt=prompt, answer=answer)
            if row.done:
                done += 1
                self._queue.end(row)
        if done:
            self._running = [row for row in self._running if not row.done]
            self._finished.append((time.perf_counter(), done))

    def _gather(self) -> None:
        """Requests that come together start together: one pass over their prompts instead of one for each."""
        until = time.perf_counter() + GATHER_SECONDS
        while self._arriving and not self._chores and (left := until - time.perf_counter()) > 0:
            self._wake.wait(left)

    def _abandon(self) -> None:
        """The time to finish is over: who waits is refused, who runs gets what is there."""
        for row in self._queue.take_all():
            row.fail(_closing())
        for row in self._running:
            row.deadline = 0.0

    def _estimate_wait(self, waiting: int, request: GenerationRequest) -> float:
        """Seconds until `waiting` requests of this owner are answered, from the pace of the last answers and its
        part of the engine; 1 to 60."""
        if len(self._finished) < 2:
            return 1.0
        seconds = time.perf_counter() - self._finished[0][0]
        pace = sum(count for _, count in self._finished) / max(seconds, 1e-3)
        part = self._queue.part_of(request.owner, request.share)
        return min(60.0, max(1.0, waiting / (pace * part)))


def _closing() -> UnavailableError:
    return UnavailableError(
        "The engine is closing.", "It finishes what runs.", "Try again after the restart."
    )
