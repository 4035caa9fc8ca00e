"""Where a run stands, written into its job row in short transactions; and whether it must stop."""

import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.exc import OperationalError

from core.errors import UnavailableError
from core.jobs import service as jobs
from core.jobs.records import Job, JobPoint
from core.storage.database import Database

LEAST_INTERVAL_S = 0.5
Clock = Callable[[], datetime]


class RunCancelledError(Exception):
    """Somebody asked to cancel the job."""


class RunInterruptedError(Exception):
    """The process was told to end, the job was not: the next attempt goes on."""


class Stop:
    """Set by a signal handler, read by the run."""

    def __init__(self) -> None:
        self.requested = False

    def request(self) -> None:
        """Ask the run to stop at its next step."""
        self.requested = True


class Progress:
    """Reports of one attempt. Transactions are at least half a second apart, but no point is lost.

    A database that cannot be reached for a while does not end the run: points are kept and written later.
    """

    def __init__(
        self,
        database: Database,
        job: Job,
        stop: Stop,
        clock: Clock,
        least_interval_s: float = LEAST_INTERVAL_S,
    ) -> None:
        self._database, self._job, self._stop, self._clock = database, job, stop, clock
        self._least_interval_s = least_interval_s
        self._points: list[JobPoint] = []
        self._stage, self._step, self._total, self._eta_s = job.stage, job.step, job.total_steps, job.eta_s
        self._written_at = float("-inf")
        self._cancelled = False

    def enter(self, stage: str, *, eta_s: float | None = None) -> None:
        """Begin a stage; written at once."""
        self._stage, self._eta_s = stage, eta_s
        self.write()

    def note(self, point: JobPoint) -> None:
        """Keep a point for the next transaction. A later point of the same step replaces it."""
        self._points = [p for p in self._points if p.step != point.step] + [point]

    def advance(
        self, *, step: int | None = None, total_steps: int | None = None, eta_s: float | None = None
    ) -> None:
        """Take note of how far the run is; write if the last transaction is long enough ago.

        Raises RunCancelledError, RunInterruptedError, and ConflictError when a newer attempt owns the job.
        """
        self._step = self._step if step is None else step
        self._total = self._total if total_steps is None else total_steps
        self._eta_s = eta_s
        if self._cancelled:  # a checkpoint, written meanwhile, has seen it
            raise RunCancelledError
        if self._stop.requested or time.monotonic() - self._written_at >= self._least_interval_s:
            self.write()

    def write(self) -> None:
        """Write all that is noted now. Raises as `advance` does."""
        wanted = self.flush()
        if not wanted:
            raise RunCancelledError
        if self._stop.requested:
            raise RunInterruptedError

    def flush(self) -> bool:
        """Write all that is noted, as far as the database can be reached; False when a cancel was asked for.

        Raises ConflictError when a newer attempt owns the job.
        """
        self._written_at = time.monotonic()
        wanted = True
        pending: list[JobPoint | None] = [*self._points] or [None]
        try:
            with self._database.transaction() as s:
                for point in pending:
                    wanted = jobs.report(
                        s,
                        self._job.id,
                        self._job.fence,
                        stage=self._stage,
                        step=self._step,
                        total_steps=self._total,
                        eta_s=self._eta_s,
                        point=point,
                        now=self._clock(),
                    )
        except (OperationalError, UnavailableError):
            return True
        self._points = []
        self._cancelled = not wanted
        return wanted
