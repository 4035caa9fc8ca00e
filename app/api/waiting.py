"""Threads that wait for the model, apart from those that serve everything else, and shared between workspaces."""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from anyio import CapacityLimiter, Event, to_thread

from core.errors import BusyError

T = TypeVar("T")
THREADS = 256


@dataclass(slots=True, eq=False)
class _Turn:
    """A call that waits for a thread."""

    priority: int
    number: int
    come: Event = field(default_factory=Event)


class AnswerThreads:
    """Runs blocking calls of the engine. Beyond its threads callers wait, and beyond `most_waiting` they are refused.

    A workspace may have as many threads as are left for everybody, and wait with as many calls as there are places
    left (Choudhury & Hahne 1998, «Dynamic Queue Length Thresholds»): one alone gets half, and a newcomer always finds
    a thread at once. Of those that wait the one of the highest priority is next, then the one with the fewest threads.
    Used by one event loop.
    """

    def __init__(self, most_waiting: int, threads: int = THREADS) -> None:
        self._most_waiting, self._threads = most_waiting, threads
        self._limiter: CapacityLimiter | None = None
        self._running: Counter[str] = Counter()
        self._queues: dict[str, deque[_Turn]] = {}
        self._next = count()

    def of(self, owner: str, priority: int = 0) -> "OwnThreads":
        """As one workspace sees them."""
        return OwnThreads(self, owner, priority)

    async def run(self, call: Callable[[], T], owner: str = "", priority: int = 0) -> T:
        """What `call` returns. Raises BusyError when too many wait already."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._threads)
        await self._begin(owner, priority)
        try:
            return await to_thread.run_sync(call, limiter=self._limiter)
        finally:
            self._end(owner)

    async def _begin(self, owner: str, priority: int) -> None:
        queue = self._queues.get(owner, deque())
        if not queue and self._fits(owner):
            self._running[owner] += 1
            return
        left = self._most_waiting - sum(map(len, self._queues.values()))
        if left <= 0 or (queue and len(queue) >= left):
            raise BusyError(
                "Too many requests wait for an answer.",
                "The model is busy.",
                "Come back in a few seconds.",
                retry_after_s=5,
            )
        turn = _Turn(priority, next(self._next))
        queue.append(turn)
        self._queues[owner] = queue
        try:
            await turn.come.wait()
        except BaseException:  # who waits no longer must not keep the place
            if turn.come.is_set():
                self._end(owner)
            else:
                self._drop(owner, turn)
            raise

    def _fits(self, owner: str) -> bool:
        return self._running[owner] < self._threads - self._running.total()

    def _end(self, owner: str) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        while (chosen := self._choose()) is not None:
            turn = self._queues[chosen][0]
            self._drop(chosen, turn)
            self._running[chosen] += 1
            turn.come.set()

    def _choose(self) -> str | None:
        waiting = [owner for owner in self._queues if self._fits(owner)]

        def rank(owner: str) -> tuple[int, int, int]:
            head = self._queues[owner][0]
            return -head.priority, self._running[owner], head.number

        return min(waiting, key=rank, default=None)

    def _drop(self, owner: str, turn: _Turn) -> None:
        self._queues[owner].remove(turn)
        if not self._queues[owner]:
            del self._queues[owner]


class OwnThreads:
    """The same threads, for the calls of one workspace."""

    def __init__(self, threads: AnswerThreads, owner: str, priority: int) -> None:
        self._all, self._owner, self._priority = threads, owner, priority

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns. Raises BusyError when too many wait already."""
        return await self._all.run(call, self._owner, self._priority)
