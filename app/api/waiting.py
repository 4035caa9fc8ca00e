"""Threads that wait for the model, apart from those that serve everything else."""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from core.errors import BusyError

T = TypeVar("T")
THREADS = 256


class AnswerThreads:
    """Runs blocking calls of the engine. Beyond its threads callers wait, and beyond `most_waiting` they are refused."""

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._limiter: CapacityLimiter | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns. Raises BusyError when too many wait already."""
        if self._limiter is None:
            self._limiter = CapacityLimiter(THREADS)
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            raise BusyError(
                "Too many requests wait for an answer.",
                "The model is busy.",
                "Come back in a few seconds.",
                retry_after_s=5,
            )
        return await to_thread.run_sync(call, limiter=self._limiter)
