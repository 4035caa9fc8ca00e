"""Running a job: attempts, each in a child process of its own, until the job has an end.

The child writes progress and outcome itself, through `core.jobs.service` and the fence that it is given. This side
gives signs of life, passes a cancel on, and settles what a child that died without a word leaves behind.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from core.errors import ConflictError, UnavailableError
from core.jobs import service
from core.jobs.folder import JobFolder
from core.jobs.records import Job, JobError, JobState
from core.storage.database import Database

_log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of a request to run a job."""

    ENDED = "ended"  # the job has a final state
    HELD = "held"  # another process runs it
    INTERRUPTED = "interrupted"  # told to stop; the job goes on in the next attempt


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds, and how many deaths in a row a job may have.

    `lease_s`: an attempt on another machine that gave no sign of life for so long is taken to be dead; far more
    than clocks differ. `grace_s`: what a worker that has just taken an entry needs until it holds the job.
    """

    watch_s: float = 0.5
    heartbeat_s: float = 5.0
    terminate_s: float = 10.0
    linger_s: float = 30.0
    retry_s: float = 1.0
    lease_s: float = 60.0
    grace_s: float = 5.0
    deaths: int = 3


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs one after the other or in several threads. `stop` ends the children, `hurry` without patience."""

    database: Database
    jobs_dir: Path
    command: Callable[[Job], Sequence[str]]
    environment: Mapping[str, str]
    clock: Callable[[], datetime]
    pace: Pace = Pace()
    niceness: int = 5
    stop: threading.Event = field(default_factory=threading.Event)
    hurry: threading.Event = field(default_factory=threading.Event)

    def run(self, job_id: str) -> Outcome:
        """Run a job to its end, unless another process does or `stop` is set. Raises NotFoundError."""
        try:
            return self._run(job_id, JobFolder(self.jobs_dir, job_id))
        except OSError as error:
            return self._give_up(job_id, error)

    def is_abandoned(self, job: Job) -> bool:
        """Whether no process runs this unfinished job, as far as can be seen from here."""
        folder = JobFolder(self.jobs_dir, job.id)
        if folder.is_held():
            return False
        if job.state is JobState.QUEUED or job.heartbeat_at is None:
            return True
        return job.fence == folder.noted_fence() or job.heartbeat_at < self._lapsed_before()

    def _run(self, job_id: str, folder: JobFolder) -> Outcome:
        with folder.locked() as lock:
            if lock is None:
                return Outcome.HELD
            while not self.stop.is_set():
                job = self._claim(job_id, folder)
                if job is None:
                    return self._why_not_claimed(job_id)
                how = self._attempt(job, folder, lock)
                outcome = self._settle(job, folder, how)
                if outcome is not None:
                    return outcome
                self.stop.wait(self.pace.retry_s)
            return Outcome.INTERRUPTED

    def _give_up(self, job_id: str, error: OSError) -> Outcome:
        """Fail a job whose folder cannot be used, rather than let it wait for ever."""
        _log.error("job.folder_unusable", job=job_id, error=str(error))
        with self.database.transaction() as s:
            job = service.claim(s, job_id, now=self.clock(), lapsed_before=self._lapsed_before())
            if job is not None:
                why = JobError(
                    "The job could not be started.",
                    f"Its folder cannot be used: {error.strerror or error}.",
                    "Make room on the disk, or correct the rights of the folder; then submit the job again.",
                )
                service.fail(s, job_id, job.fence, error=why, now=self.clock())
                return Outcome.ENDED
        return self._why_not_claimed(job_id)

    def _claim(self, job_id: str, folder: JobFolder) -> Job | None:
        with self.database.transaction() as s:
            job = service.claim(
                s,
                job_id,
                now=self.clock(),
                lapsed_before=self._lapsed_before(),
                gone_fence=folder.noted_fence(),
            )
            if job is not None:
                # Before the commit: a fence that is noted but not claimed harms nobody.
                folder.note_fence(job.fence)
        return job

    def _why_not_claimed(self, job_id: str) -> Outcome:
        with self.database.reading() as s:
            return Outcome.ENDED if service.load_for_worker(s, job_id).state.final else Outcome.HELD

    def _attempt(self, job: Job, folder: JobFolder, lock: int) -> str:
        """Run the child to its end and return how it ended, in words."""
        if job.cancel_requested:
            return "never started"
        log = _log.bind(job=job.id, tenant=job.tenant_id, attempt=job.attempt)
        try:
            child = self._start(job, folder, lock)
        except OSError as error:
            log.error("job.child_not_started", error=str(error))
            return f"could not be started: {error.strerror}"
        log.info("job.child_started", pid=child.pid)
        try:
            self._watch(child, job, folder)
        finally:
            _kill(child)
        log.info("job.child_ended", status=child.returncode)
        return _how(child.returncode)

    def _start(self, job: Job, folder: JobFolder, lock: int) -> subprocess.Popen[bytes]:
        with folder.log_path.open("ab") as log:
            log.write(f"--- attempt {job.attempt}, {self.clock():%Y-%m-%d %H:%M:%S} UTC\n".encode())
            log.flush()
            child = subprocess.Popen(
                list(self.command(job)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.environment) | {"RMN_WORKER_PID": str(os.getpid())},
                process_group=0,
                pass_fds=(lock,),
            )
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, self.niceness)
        with suppress(OSError):
            # When memory runs out the kernel should choose the run, not the console.
            Path(f"/proc/{child.pid}/oom_score_adj").write_text("500")
        return child

    def _watch(self, child: subprocess.Popen[bytes], job: Job, folder: JobFolder) -> None:
        """Return when the child has ended, or has been ended because it must not go on."""
        beat = ended = time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                child.wait(self.pace.watch_s)
                return
            now = time.monotonic()
            if self.stop.is_set():
                break
            with suppress(OSError):
                folder.cut_log()
            try:
                current = self._look(job, beat_now=now - beat >= self.pace.heartbeat_s)
            except (DBAPIError, UnavailableError) as error:
                reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
                _log.warning("job.database_unreachable", job=job.id, error=reason)
                continue
            except ConflictError:
                break
            if now - beat >= self.pace.heartbeat_s:
                beat = now
            if current.cancel_requested or current.fence != job.fence:
                break
            if not current.state.final:
                ended = now
            elif now - ended >= self.pace.linger_s:
                break
        self._end(child)

    def _look(self, job: Job, *, beat_now: bool) -> Job:
        if beat_now:
            with self.database.transaction() as s:
                if not service.load_for_worker(s, job.id).state.final:
                    service.heartbeat(s, job.id, job.fence, now=self.clock())
        with self.database.reading() as s:
            return service.load_for_worker(s, job.id)

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """Ask the child to end; insist when it does not."""
        _signal_group(child, signal.SIGTERM)
        patience = time.monotonic() + self.pace.terminate_s
        while child.poll() is None and time.monotonic() < patience and not self.hurry.is_set():
            with suppress(subprocess.TimeoutExpired):
                child.wait(self.pace.watch_s)

    def _settle(self, job: Job, folder: JobFolder, how: str) -> Outcome | None:
        """Write what the child did not; None when the job is to be tried again."""
        with self.database.transaction() as s:
            current = service.load_for_worker(s, job.id)
            if current.state.final:
                return Outcome.ENDED
            if current.fence != job.fence:
                return Outcome.HELD
            if current.cancel_requested:
                service.cancelled(s, job.id, job.fence, now=self.clock())
                return Outcome.ENDED
            if self.stop.is_set():
                service.hand_back(s, job.id, job.fence)
                return Outcome.INTERRUPTED
            deaths = service.count_death(s, job.id, job.fence)
            _log.warning("job.child_died", job=job.id, tenant=job.tenant_id, how=how, deaths=deaths)
            if deaths < self.pace.deaths:
                return None
            error = explain_deaths(how, deaths, folder.last_log_line())
            service.fail(s, job.id, job.fence, error=error, now=self.clock())
            return Outcome.ENDED

    def _lapsed_before(self) -> datetime:
        return self.clock() - timedelta(seconds=self.pace.lease_s)


def explain_deaths(how: str, deaths: int, last_line: str) -> JobError:
    """Say why a job is given up whose child dies again and again."""
    said = f" The last line it wrote: {last_line}" if last_line else ""
    if "signal 9 " in how:
        return JobError(
            "The run was killed again and again.",
            f"Its process {how}, {deaths} times without getting further. "
            f"Most often that means that the machine ran out of memory.{said}",
            "Choose smaller batches, shorter examples or a smaller rank, or a machine with more memory.",
        )
    return JobError(
        "The run stopped again and again without saying why.",
        f"Its process {how}, {deaths} times without getting further.{said}",
        "Read the log in the job's folder; submit the job again when the cause is gone.",
    )


def _how(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by signal {-status} ({signal.Signals(-status).name})"
    return f"was ended by signal {-status} (unknown)"


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing of the child's process group behind: what is left would hold the job's lock."""
    _signal_group(child, signal.SIGKILL)
    child.wait()
